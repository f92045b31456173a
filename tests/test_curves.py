"""Accuracy against context window, total tokens and latency: the curves of runs, and how they are drawn."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from processes import thread
from pytest import approx
from typer.testing import CliRunner

from thread_cli.bench import FailureClass, Result
from thread_cli.bench.arms import arms_of
from thread_cli.bench.curves import curve_of, write_curves
from thread_cli.bench.plots import write_plot
from thread_cli.bench.report import Run, read_run
from thread_cli.cli.app import app
from thread_cli.contracts.errors import Status, UserError

LOGS = Path(__file__).parent / "logs"


def generated(_: Run, result: Result) -> float:
    return result.totals.generated_tokens


@pytest.fixture
def forked(played, rewritten) -> Path:
    """A run whose episodes generated 100, 200, … 1,200 tokens, half of them on the critical path; every third failed."""
    places = count(1)

    def edit(result: Result) -> dict[str, Any]:
        place = next(places)
        sums = {"generated_tokens": 100 * place, "token_latency": 50 * place, "forks": 1, "parallel_forks": 1}
        failed = {"status": Status.failed, "reward": 0.0, "failure": FailureClass.other}
        return {"totals": result.model_dump()["totals"] | sums} | (failed if place % 3 == 0 else {})

    return rewritten(played("teacher"), edit)


def test_a_curve_counts_what_was_solved_within_each_budget(forked) -> None:
    curve = curve_of(read_run(forked), generated)
    assert curve is not None
    assert curve.budgets == (0, *(100 * place for place in range(1, 13) if place % 3), 1200)
    assert curve.shares == (0, *(approx(solved / 12) for solved in range(1, 9)), approx(8 / 12))
    assert curve.mean == 650


def test_what_the_infrastructure_failed_is_in_no_curve(forked, rewritten) -> None:
    broken = {"status": Status.model_error, "reward": None, "failure": FailureClass.infrastructure}
    run = rewritten(forked, lambda result: broken if result.totals.generated_tokens > 300 else {})
    curve = curve_of(read_run(run), generated)
    assert curve is not None
    assert curve.budgets == (0, 100, 200, 300)
    assert curve.shares == (0, approx(1 / 3), approx(2 / 3), approx(2 / 3))


def test_the_curves_are_drawn_the_same_for_the_same_results(forked, played, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `report`")
    arms = arms_of([read_run(forked), read_run(played("teacher"))])
    for name in ("a.svg", "b.svg", "a.png"):
        write_curves(tmp_path / name, arms)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    write_curves(tmp_path / "untimed.svg", arms, times=False)
    assert len((tmp_path / "untimed.svg").read_bytes()) < len((tmp_path / "a.svg").read_bytes())
    write_curves(tmp_path / "many.png", arms * 5)


def test_the_plot_has_views_of_parallel_threads_where_there_are_some(forked, played, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `report`")
    parallel, other = arms_of([read_run(forked)]), arms_of([read_run(played("teacher"))])
    for name, arms in (("with", parallel * 2), ("without", other * 2), ("rows", parallel * 7), ("plain", other * 7)):
        write_plot(tmp_path / f"{name}.png", arms)
    heights = [int.from_bytes((tmp_path / f"{name}.png").read_bytes()[20:24]) for name in ("with", "without")]
    assert heights[0] == approx(1.5 * heights[1], rel=0.01)
    assert (tmp_path / "rows.png").read_bytes() != (tmp_path / "plain.png").read_bytes()


def test_context_windows_that_an_older_run_did_not_sum_up_come_from_its_logs(tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `report`")
    run = shutil.copytree(LOGS / "bench-variants", tmp_path / "run")
    drawn = CliRunner().invoke(app, ["report", str(run), "--curves", str(tmp_path / "with.svg"), "--no-times"])
    assert (drawn.exit_code, drawn.stderr) == (0, f"curves: {tmp_path / 'with.svg'}\n")
    shutil.rmtree(run / "episodes")
    CliRunner().invoke(app, ["report", str(run), "--curves", str(tmp_path / "without.svg"), "--no-times"])
    assert (tmp_path / "with.svg").read_bytes() != (tmp_path / "without.svg").read_bytes()


def test_runs_that_nothing_judges_have_no_curves(played, rewritten, tmp_path) -> None:
    run = read_run(rewritten(played("teacher"), lambda _: {"status": Status.answered, "reward": None}))
    with pytest.raises(UserError, match="nothing judges the episodes of these runs"):
        write_curves(tmp_path / "a.png", arms_of([run]))


def test_a_file_that_no_curves_can_be_drawn_into_is_refused(played, tmp_path) -> None:
    refused = thread("report", str(played("teacher")), "--curves", "a.jpg", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("thread: --curves a.jpg: choose a name that ends in .png")
