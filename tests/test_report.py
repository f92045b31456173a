"""Reports of bench runs: figures, intervals, comparisons, failure classes, formats, plots and the page in a browser."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from processes import outputs_under_hash_seeds, thread

from thread_cli import Config
from thread_cli import play as play_task
from thread_cli.bench import FailureClass, Result
from thread_cli.bench.classes import classify
from thread_cli.bench.page import write_page
from thread_cli.bench.plots import write_plot
from thread_cli.bench.report import compare, rate, read_run, summarise
from thread_cli.bench.statistics import mcnemar, paired_bootstrap, standard_error, wilson
from thread_cli.bench.tables import arms_of, as_csv, as_json, as_latex, as_markdown, as_text, episodes_csv, tables
from thread_cli.engine.errors import Status, UserError
from thread_cli.record import read_events

SUITE = """
description = "a few goals"
[[parts]]
environment = "textcraft"
split = "test"
tasks = 12
[[published]]
method = "THREAD"
model = "GPT-3.5"
success = 93.5
tasks = 200
source = "arXiv 2405.17402v2"
"""

HOSTILE = "<img src=x onerror=window.stolen=1></script><script>window.stolen=1</script>\x1b[31m\u202e&amp;"

Edit = Callable[[Result], dict[str, Any]]


@pytest.fixture(scope="session")
def played(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a run of a small suite by a model, played once by the command line."""
    home = tmp_path_factory.mktemp("runs")
    (home / "few.toml").write_text(SUITE)
    (home / "hostile.toml").write_text(
        f'[[thread]]\npath = "0"\ntext = """ask {json.dumps(HOSTILE)[1:-1]} =>\n> {json.dumps(HOSTILE)[1:-1]} =>\n"""\n'
        f'[[thread]]\ntext = """print({json.dumps(json.dumps(HOSTILE))[1:-1]})"""\n'
    )

    def run(model: str) -> Path:
        folder = home / hashlib.sha256(model.encode()).hexdigest()[:8]
        if not folder.exists():
            done = thread("bench", "few.toml", "--model", model, "--log", str(folder), "--display", "none", cwd=home)
            assert done.returncode == 0, done.stderr
        return folder

    return run


@pytest.fixture
def rewritten(tmp_path) -> Callable[[Path, Edit], Path]:
    """A copy of a run in which results are changed."""

    def rewrite(run: Path, edit: Edit) -> Path:
        copy = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(run, copy)
        for file in sorted((copy / "results").iterdir(), reverse=True):
            result = Result.model_validate_json(file.read_bytes())
            result = Result.model_validate(result.model_dump() | edit(result))
            file.unlink()
            (copy / "results" / f"{result.key}.json").write_text(result.model_dump_json())
        return copy

    return rewrite


def everything(run: Path, target: Path, *, times: bool) -> list[bytes]:
    """A run's report in all formats."""
    read = [read_run(run)]
    arms = arms_of(read, times=times)
    write_page(target, arms, times=times)
    texts = [write(table) for table in tables(arms) for write in (as_text, as_markdown, as_latex)]
    texts += [as_csv(arms), episodes_csv(arms, times=times), as_json(read, times=times)]
    return [*(text.encode() for text in texts), target.read_bytes()]


# --- statistics


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 1), (7, 12), (187, 200), (1999, 5000)])
def test_wilson_intervals_agree_with_scipy_and_statsmodels(successes, trials) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    stats = pytest.importorskip("scipy.stats")
    for confidence in (0.95, 0.9):
        ours = wilson(successes, trials, confidence)
        theirs = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        others = proportion.proportion_confint(successes, trials, 1 - confidence, method="wilson")
        assert (ours.low, ours.high) == pytest.approx(others, abs=1e-9)


def test_standard_errors_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rates = [0.91, 0.935, 0.9, 0.955]
    assert standard_error(rates) == pytest.approx(stats.sem(rates))
    assert standard_error([0.5]) is None


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (9, 2), (20, 10), (300, 200)])
def test_mcnemar_agrees_with_statsmodels(better, worse) -> None:
    tables_of = pytest.importorskip("statsmodels.stats.contingency_tables")
    if better + worse:
        theirs = tables_of.mcnemar([[40, better], [worse, 20]], exact=True).pvalue
        assert mcnemar(better, worse) == pytest.approx(theirs)
    else:
        assert mcnemar(better, worse) == 1


def test_the_paired_bootstrap_agrees_with_scipy() -> None:
    numpy = pytest.importorskip("numpy")
    stats = pytest.importorskip("scipy.stats")
    draw = numpy.random.default_rng(3)
    ours, theirs = draw.uniform(size=150), draw.uniform(size=150) * 0.8
    found = paired_bootstrap([float(value) for value in ours - theirs])
    expected = stats.bootstrap(
        (ours, theirs),
        lambda one, other, axis: numpy.mean(one - other, axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=10_000,
        rng=numpy.random.default_rng(1),
    ).confidence_interval
    assert found.mean == pytest.approx(float(numpy.mean(ours - theirs)))
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=0.004)
    assert found.better + found.worse == 150


def test_the_bootstrap_says_the_same_everywhere() -> None:
    script = "from thread_cli.bench.statistics import *; print(paired_bootstrap([1.0] * 9 + [-1.0] * 4 + [0.0] * 30))"
    assert len(outputs_under_hash_seeds(script)) == 1


def test_rates_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no rate"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="no task"):
        paired_bootstrap([])


# --- failure classes


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["> inventory =>", "print('that is all')"], FailureClass.inadequate_plan),
        (["> dance =>", "print('done')"], FailureClass.invalid_action),
        (["> dance =>", "> inventory =>", "print('done')"], FailureClass.inadequate_plan),
        (["> dance =>", "> dance =>", "print('done')"], FailureClass.misread_feedback),
        (["> dance =>", "> inventory =>", "> dance =>", "print('done')"], FailureClass.invalid_action),
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


def test_an_unfinished_run_says_so(played, tmp_path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(played("teacher"), folder)
    plan = tomllib.loads((folder / "bench.toml").read_text())
    plan["suite"]["parts"][0]["hash"] = "0"
    (folder / "bench.toml").write_text(tomli_w.dumps(plan))
    next((folder / "results").iterdir()).unlink()
    assert "11 of 12" in as_text(tables(arms_of([read_run(folder)]))[0])


# --- formats


def test_reports_of_the_same_results_are_the_same_bytes(played, rewritten, tmp_path) -> None:
    run = played("faulty:garbage=0.4+teacher")
    later = rewritten(run, lambda result: {"seconds": result.seconds + 7, "finished": "2031-01-01T00:00:00Z"})
    now = everything(run, tmp_path / "a.html", times=False)
    assert now == everything(later, tmp_path / "b.html", times=False)
    assert now != everything(later, tmp_path / "c.html", times=True)


def test_every_format_escapes_what_it_must(played, rewritten) -> None:
    name = "a|b & c_d \x1b[31m<b>$x$\n=1"
    run = rewritten(played("teacher"), lambda _: {"category": name})
    arms = arms_of([read_run(run)])
    by_category = tables(arms)[1]
    assert "\x1b" not in as_text(by_category)
    assert r"a\|b & c\_d \<b\>$x$⏎=1" in as_markdown(by_category)
    assert r"a|b \& c\_d $<$b$>$\$x\$" in as_latex(by_category)
    rows = list(csv.DictReader(io.StringIO(episodes_csv(arms))))
    assert [row["category"] for row in rows] == [name] * 12


def test_csv_has_a_line_for_each_run_or_each_episode(played) -> None:
    arms = arms_of([read_run(played("teacher")), read_run(played("faulty:garbage=0.4+teacher"))])
    summary = list(csv.DictReader(io.StringIO(as_csv(arms))))
    assert [int(row["episodes"]) for row in summary] == [12, 12]
    episodes = list(csv.DictReader(io.StringIO(episodes_csv(arms))))
    assert len(episodes) == 24
    assert sum(row["status"] == "solved" for row in episodes) == sum(int(row["successes"]) for row in summary)


def test_columns_of_text_are_aligned(played) -> None:
    from rich.cells import cell_len

    table = tables(arms_of([read_run(played("teacher"))]))[2]
    lines = as_text(table).splitlines()[2:5]
    assert len({cell_len(line) for line in lines}) == 1


def test_runs_of_the_same_name_are_told_apart(played, rewritten) -> None:
    runs = [read_run(played("teacher")), read_run(rewritten(played("teacher"), lambda _: {}))]
    assert len({arm.label for arm in arms_of([*runs, runs[0]])}) == 3


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
        (["RUN", "--html", "no/such/folder.html"], "cannot be written"),
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


# --- plots


def test_plots_are_the_same_bytes_for_the_same_results(played, rewritten, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `report`")
    runs = [
        read_run(played("teacher")),
        read_run(rewritten(played("faulty:garbage=0.4+teacher"), lambda _: {"category": "$x"})),
    ]
    for name in ("a.svg", "b.svg", "a.png", "a.pdf"):
        write_plot(tmp_path / name, arms_of(runs))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_many_runs_are_drawn_below_each_other(played, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `report`")
    run = read_run(played("teacher"))
    write_plot(tmp_path / "few.png", arms_of([run]))
    write_plot(tmp_path / "many.png", arms_of([run] * 9))
    wide = [int.from_bytes((tmp_path / name).read_bytes()[16:20]) for name in ("few.png", "many.png")]
    assert wide[0] < wide[1]


def test_without_matplotlib_the_remedy_is_told(played, tmp_path) -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv = ['thread', 'report', sys.argv[1], '--plot', 'a.png']\n"
        "from thread_cli.cli.app import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(played("teacher"))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "--plot needs matplotlib" in ran.stderr


# --- the page, in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with driver.sync_playwright() as started:
        # Chromium's own sandbox does not work for root, who has nothing to lose in a container.
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield opened
        opened.close()


@pytest.fixture
def look(browser, tmp_path) -> Iterator[Callable[..., Any]]:
    """The page of some runs, opened; anything that the browser complains of, or asks for elsewhere, fails the test."""
    complaints: list[str] = []
    opened: list[Any] = []

    def show(*runs: Path) -> Any:
        write_page(tmp_path / "page.html", arms_of([read_run(run) for run in runs]))
        page = browser.new_page()
        opened.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request", lambda asked: None if asked.url.startswith(("file:", "data:")) else complaints.append(asked.url)
        )
        page.goto(f"file://{tmp_path / 'page.html'}")
        page.wait_for_selector("#list tbody tr")
        return page

    yield show
    for page in opened:
        page.close()
    assert complaints == []


def test_the_page_opens_trees_and_threads(look, played) -> None:
    run = played("teacher")
    page = look(run)
    assert "100.0" in page.inner_text(".tables")
    page.click("#list tbody tr:nth-child(2) a")
    page.wait_for_selector("#tree .open")
    result = read_run(run).results[1]
    assert page.locator("#tree .open").count() == result.totals.threads
    page.click("#tree .open >> nth=1")
    shown = page.inner_text("#thread")
    events = read_events(read_run(run).log(result))
    child = next(event for event in events if event.kind == "thread_started" and event.thread == "0.0")
    assert child.context.strip() in shown
    page.go_back()
    page.wait_for_selector("#overview:not([hidden])")


def test_the_page_filters_and_sorts_the_list(look, played) -> None:
    solved, other = played("teacher"), played("faulty:garbage=0.4+teacher")
    page = look(solved, other)
    assert page.inner_text("#count") == "24 of 24 episodes"
    page.select_option("#run", label="thread · teacher")
    assert page.inner_text("#count") == "12 of 24 episodes"
    page.select_option("#run", "")
    failed = sum(result.failure is FailureClass.inadequate_plan for result in read_run(other).results)
    page.fill("#search", "inadequate plan")
    assert page.inner_text("#count") == f"{failed} of 24 episodes"
    page.fill("#search", "no such words")
    assert page.inner_text("#count") == "0 of 24 episodes"
    page.fill("#search", "")
    page.click("#list th:nth-child(10) button")
    tokens = [int(text.replace(",", "")) for text in page.locator("#list td:nth-child(10)").all_inner_texts()]
    assert tokens == sorted(tokens)


def test_hostile_text_of_a_model_is_text_on_the_page(look, played, rewritten) -> None:
    run = played(f"scripted:{played('teacher').parent / 'hostile.toml'}")
    run = rewritten(run, lambda _: {"task": HOSTILE, "category": HOSTILE, "message": HOSTILE, "text": HOSTILE})
    page = look(run)
    visible = HOSTILE.replace("\x1b[31m\u202e", "")
    assert visible in page.inner_text("#list tbody tr:nth-child(1)")
    page.click("#list tbody tr:nth-child(1) a")
    page.wait_for_selector("#tree .open")
    page.click("#tree .open >> nth=1")
    assert visible in page.inner_text("#tree")
    assert visible in page.inner_text("#thread")
    assert "\u202e" not in page.content()
    assert page.evaluate("window.stolen") is None
    assert page.locator("img").count() == 0


def test_an_episode_can_be_linked_to(look, played) -> None:
    page = look(played("teacher"))
    link = page.get_attribute("#list tbody tr:nth-child(5) a", "href")
    page.goto(f"{page.url}{link}")
    page.wait_for_selector("#tree .open")
    assert page.is_hidden("#overview")


def test_an_episode_without_its_log_is_shown_without_a_tree(look, rewritten, played) -> None:
    run = rewritten(played("teacher"), lambda _: {})
    shutil.rmtree(run / "episodes")
    page = look(run)
    page.click("#list tbody tr:nth-child(1) a")
    page.wait_for_selector("#tree p")
    assert "is not in the run's folder" in page.inner_text("#tree")


@pytest.mark.slow
def test_a_page_of_five_thousand_episodes_opens_at_once(look, played, tmp_path) -> None:
    source = read_run(played("faulty:garbage=0.4+teacher"))
    run = tmp_path / "many"
    (run / "results").mkdir(parents=True)
    (run / "episodes").mkdir()
    shutil.copy(source.path / "bench.toml", run)
    for number in range(5000):
        result = source.results[number % 12]
        key = hashlib.sha256(str(number).encode()).hexdigest()[:20]
        os.link(source.log(result), run / "episodes" / f"{key}.jsonl")
        copy = result.model_copy(update={"key": key, "task": str(number)})
        (run / "results" / f"{key}.json").write_text(copy.model_dump_json())
    page = look(run)
    assert page.inner_text("#count") == "5,000 of 5,000 episodes"
    page.click("#forward")
    page.click("#list tbody tr:nth-child(50) a")
    page.wait_for_selector("#tree .open")
    assert page.inner_text("#name").startswith("textcraft · 149")
