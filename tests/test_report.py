"""What reports say of bench runs: failure classes, figures, comparisons; and the command."""

from __future__ import annotations

import json
import shutil
import tomllib
from typing import Any

import pytest
import tomli_w
from processes import thread

from thread_cli import Config
from thread_cli import play as play_task
from thread_cli.bench import FailureClass, Result
from thread_cli.bench.arms import arms_of
from thread_cli.bench.classes import classify
from thread_cli.bench.formats import as_text
from thread_cli.bench.report import compare, rate, read_run, summarise
from thread_cli.bench.statistics import standard_error, wilson
from thread_cli.bench.tables import as_json, tables
from thread_cli.contracts.errors import Status, UserError
from thread_cli.record import read_events

# --- failure classes


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["> inventory =>", "print('that is all')"], FailureClass.inadequate_plan),
        (["> dance =>", "print('done')"], FailureClass.invalid_action),
        (["> dance =>", "> inventory =>", "print('done')"], FailureClass.inadequate_plan),
        (["> dance =>", "> dance =>", "print('done')"], FailureClass.misread_feedback),
        (["> dance =>", "> inventory =>", "> dance =>", "print('done')"], FailureClass.invalid_action),
        (["> dance =>", "Ask, for it =>", "print('it')", "> dance =>", "print('done')"], FailureClass.invalid_action),
        (["> dance =>", "Ask, for it =>", "print('it')", "print('done')"], FailureClass.inadequate_plan),
        (["Ask, for it =>", "x = 1", "print('done')"], FailureClass.inadequate_plan),
        (["Ask, for it =>", "print(1 / 0)", "print('done')"], FailureClass.other),
        (["> inventory =>"] * 8, FailureClass.misread_feedback),
        (["n = 1 / 0\nprint(n)"], FailureClass.other),
        (["=>", "print('done')"], FailureClass.invalid_action),
    ],
)
async def test_failures_are_classed_by_what_threads_did(tmp_path, answers, expected) -> None:
    (tmp_path / "script.txt").write_text("\n---\n".join(answers))
    config = Config.of(environment="textcraft", model=f"scripted:{tmp_path / 'script.txt'}", log=tmp_path / "run")
    episode = await play_task(config)
    assert episode.episode.status is Status.failed
    assert classify(read_events(episode.folder.episode(None))) is expected


@pytest.mark.parametrize(
    ("model", "limits", "expected"),
    [
        ("teacher", {}, None),
        ("teacher", {"calls": 3}, FailureClass.limit),
        ("faulty:500=1+teacher", {}, FailureClass.infrastructure),
    ],
)
async def test_limits_and_infrastructure_are_classes_of_their_own(tmp_path, model, limits, expected) -> None:
    how = {"spec": model, "attempts": 1, "retry_wait": 0.01}
    config = Config.of(environment="textcraft", model=how, limits=limits, log=tmp_path / "run")
    played_task = await play_task(config)
    events = read_events(played_task.folder.episode(None))
    assert classify(events) is expected
    assert classify(events[:-1]) is FailureClass.infrastructure, "a log without an end was torn"


def test_a_run_classes_its_failures(played) -> None:
    run = read_run(played("faulty:garbage=0.4+teacher"))
    assert any(result.failure for result in run.results)
    for result in run.results:
        assert classify(read_events(run.log(result))) is result.failure


# --- figures


def test_the_teacher_solves_all_and_the_report_says_so(played) -> None:
    (found,) = json.loads(as_json([read_run(played("teacher"))]))
    assert found["suite"] == "few"
    assert (found["method"], found["model"]) == ("thread", "teacher")
    assert (found["episodes"], found["successes"], found["success_rate"]) == (12, 12, 1.0)
    assert found["interval"]["low"] == pytest.approx(wilson(12, 12).low)
    assert sum(category["episodes"] for category in found["categories"].values()) == 12
    assert found["tokens"]["total"] == found["tokens"]["prompt"] + found["tokens"]["generated"] > 0
    assert set(found["failures"].values()) == {0}
    assert found["published"][0]["success"] == 93.5


def test_estimates_are_shown_as_such(played) -> None:
    summary = summarise(read_run(played("teacher")))
    assert (summary.tokens.estimated, summary.tokens.cached_known) == (True, False)
    text = "".join(map(as_text, tables(arms_of([read_run(played("teacher"))]))))
    assert f"~{summary.tokens.prompt:,}" in text
    assert "unknown" in text


def test_figures_are_sums_over_the_results(played) -> None:
    run = read_run(played("faulty:garbage=0.4+teacher"))
    found = summarise(run)
    totals = [result.totals for result in run.results]
    assert found.tokens.generated == sum(each.generated_tokens for each in totals)
    assert found.calls.mean == pytest.approx(sum(each.calls for each in totals) / len(totals))
    assert found.depth.max == max(each.depth for each in totals)
    assert sum(found.depths.values()) == len(totals)
    assert found.successes + sum(found.failures.values()) == found.episodes == len(totals)


def test_failures_of_the_infrastructure_are_in_no_rate(played, rewritten) -> None:
    def broken(result: Result) -> dict[str, Any]:
        bad = int(result.task) < 3
        wrong = {"status": Status.model_error, "reward": 0.0, "failure": FailureClass.infrastructure, "attempts": 3}
        return wrong if bad else {}

    found = summarise(read_run(rewritten(played("teacher"), broken)))
    assert (found.episodes, found.judged, found.successes, found.success_rate) == (12, 9, 9, 1.0)
    assert found.failures[FailureClass.infrastructure] == 3
    assert found.retried_episodes == 6


def test_a_run_of_nothing_but_failures_of_the_infrastructure_has_no_means(played, rewritten) -> None:
    def broken(_: Result) -> dict[str, Any]:
        return {"status": Status.model_error, "reward": 0.0, "failure": FailureClass.infrastructure}

    run = read_run(rewritten(played("teacher"), broken))
    found = summarise(run)
    assert (found.success_rate, found.calls.mean, found.depth.max, found.critical_path.mean) == (None, None, None, None)
    spent = next(table for table in tables(arms_of([run])) if table.title == "Spent")
    assert spent.rows[0][5:10] == ("\u2013",) * 5


def test_published_figures_beside_several_suites_say_of_which_they_are(played, rewritten) -> None:
    other = rewritten(played("teacher"), lambda _: {})
    plan = tomllib.loads((other / "bench.toml").read_text())
    plan["suite"]["name"] = "others"
    plan["suite"]["published"][0]["categories"] = {"depth 4": 50.0}
    (other / "bench.toml").write_text(tomli_w.dumps(plan))
    success, categories, *_ = tables(arms_of([read_run(played("teacher")), read_run(other)]))
    labels = [row[0] for row in success.rows]
    assert labels[2:] == ["few · THREAD · GPT-3.5 [1]", "others · THREAD · GPT-3.5 [1]"]
    assert categories.headings[-1] == "others · THREAD · GPT-3.5"


def test_what_nothing_judges_has_no_rate(played, rewritten) -> None:
    run = rewritten(played("teacher"), lambda _: {"status": Status.answered, "reward": None})
    found = summarise(read_run(run))
    assert (found.judged, found.success_rate, found.interval) == (0, None, None)
    assert "\u2013" in as_text(tables(arms_of([read_run(run)]))[0])


def test_costs_are_unknown_as_soon_as_one_is(played, rewritten) -> None:
    def priced(result: Result) -> dict[str, Any]:
        return {"totals": result.totals.model_copy(update={"cost": 0.25}).model_dump()}

    def partly(result: Result) -> dict[str, Any]:
        return priced(result) if int(result.task) else {}

    found = summarise(read_run(rewritten(played("teacher"), priced)))
    assert (found.cost, found.cost_per_success) == (3.0, 0.25)
    assert summarise(read_run(rewritten(played("teacher"), partly))).cost is None


def test_epochs_are_means_with_a_standard_error_and_count_each_task_once(played) -> None:
    first = read_run(played("faulty:garbage=0.4+teacher")).results
    second = [
        result.model_copy(update={"epoch": 1, "key": result.key[::-1]})
        for result in read_run(played("teacher")).results
    ]
    both = [*first, *second]
    found = rate(both)
    solved = sum(result.solved for result in first)
    assert found.success_rate == pytest.approx((solved + 12) / 24)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(wilson((solved + 12) / 2, 12).low)


def test_the_standard_error_over_epochs_is_that_of_their_rates(played, tmp_path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(played("teacher"), folder)
    for result in read_run(played("faulty:garbage=0.4+teacher")).results:
        other = result.model_copy(update={"epoch": 1})
        (folder / "results" / f"{other.key}.json").write_text(other.model_dump_json())
    run = read_run(folder)
    rates = [sum(r.solved for r in run.results if r.epoch == epoch) / 12 for epoch in (0, 1)]
    assert summarise(run).standard_error == pytest.approx(standard_error(rates))
    assert "± epochs" in tables(arms_of([run]))[0].headings


def test_two_runs_are_compared_on_the_tasks_that_they_share(played, rewritten) -> None:
    stats, numpy = pytest.importorskip("scipy.stats"), pytest.importorskip("numpy")
    one = read_run(played("teacher"))
    other = read_run(
        rewritten(played("faulty:garbage=0.4+teacher"), lambda r: {"task": "gone"} if r.task == "0" else {})
    )
    found = compare(one, other)
    assert found is not None
    shared, difference = found
    assert shared == 11
    theirs = {result.task: float(result.solved) for result in other.results}
    pairs = [float(result.solved) - theirs[result.task] for result in one.results if result.task in theirs]
    assert difference.mean == pytest.approx(sum(pairs) / 11)
    expected = stats.bootstrap(
        (numpy.array(pairs),), numpy.mean, method="percentile", n_resamples=10_000, rng=numpy.random.default_rng(0)
    ).confidence_interval
    # The interval ends on a multiple of one task.
    assert difference.interval.low == pytest.approx(expected.low, abs=1.01 / 11)
    assert difference.interval.high == pytest.approx(expected.high, abs=1.01 / 11)


def test_runs_without_a_shared_task_are_not_compared(played, rewritten) -> None:
    other = rewritten(played("teacher"), lambda result: {"split": "rest"})
    assert compare(read_run(played("teacher")), read_run(other)) is None


def test_variants_stand_side_by_side_in_the_order_of_the_suite(played, rewritten) -> None:
    run = rewritten(played("teacher"), lambda result: {"variant": "zeta" if int(result.task) < 6 else "alpha"})
    plan = tomllib.loads((run / "bench.toml").read_text())
    plan["suite"]["variants"] = [{"name": "zeta"}, {"name": "alpha"}]
    (run / "bench.toml").write_text(tomli_w.dumps(plan))
    read = read_run(run)
    assert [arm.label for arm in arms_of([read])] == ["zeta", "alpha"]
    (found,) = json.loads(as_json([read]))
    assert [variant["episodes"] for variant in found["variants"]] == [6, 6]
    assert [variant["planned"] for variant in found["variants"]] == [6, 6]


def test_an_unfinished_run_says_so(played, tmp_path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(played("teacher"), folder)
    next((folder / "results").iterdir()).unlink()
    assert "11 of 12" in as_text(tables(arms_of([read_run(folder)]))[0])
    assert summarise(read_run(folder)).planned == 12


# --- the command


def test_the_command_prints_tables_beside_the_published_figures(played, tmp_path) -> None:
    shown = thread("report", str(played("teacher")), str(played("faulty:garbage=0.4+teacher")), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "THREAD · GPT-3.5 [1]" in shown.stdout
    assert "Compared with thread · teacher" in shown.stdout
    assert "[1] arXiv 2405.17402v2" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no bench run"),
        (["RUN", "--json", "--csv"], "choose one"),
        (["RUN", "--episodes"], "goes with --csv"),
        (["RUN", "--plot", "a.jpg"], "ends in .png"),
        (["RUN", "--html", "no/such/folder.html"], "no/such/folder.html: No such file"),
        (["RUN", "--html", "."], "choose the name of a file"),
        (["RUN", "--html", "/"], "choose the name of a file"),
        (["RUN", "--html", "/dev/null/page.html"], "/dev/null/page.html: Not a directory"),
        (["RUN", "--plot", "/dev/null/a.png"], "cannot be written"),
    ],
)
def test_wrong_input_is_one_clear_line(played, tmp_path, arguments, words) -> None:
    run = str(played("teacher"))
    shown = thread("report", *(run if argument == "RUN" else argument for argument in arguments), cwd=tmp_path)
    assert shown.returncode == 2
    assert words in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_results_and_a_broken_result_are_told(played, rewritten) -> None:
    run = rewritten(played("teacher"), lambda _: {})
    file = next((run / "results").iterdir())
    file.write_text("{")
    with pytest.raises(UserError, match="is no result"):
        read_run(run)
    shutil.rmtree(run / "results")
    (run / "results").mkdir()
    with pytest.raises(UserError, match="holds no results yet"):
        read_run(run)
