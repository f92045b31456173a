"""The measures of parallel threads in reports of bench runs."""

from __future__ import annotations

import csv
import io
import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pytest import approx
from typer.testing import CliRunner

from thread_cli.bench import Result
from thread_cli.bench.arms import arms_of
from thread_cli.bench.page import _row
from thread_cli.bench.report import read_run
from thread_cli.cli.app import app


@pytest.fixture
def forked(played, rewritten) -> Path:
    """A bench run in which every other episode generated 450 tokens, 200 of them on its critical path."""
    sums = {"generated_tokens": 450, "token_latency": 200, "forks": 2, "parallel_forks": 1}
    times = {"model_seconds": 6.0, "seconds": 3.0}
    places = count()

    def edit(result: Result) -> dict[str, Any]:
        of = result.model_dump()["totals"] | {"generated_tokens": 100, "token_latency": 100} | times
        return {"totals": of | sums if next(places) % 2 else of}

    return rewritten(played("teacher"), edit)


def test_a_report_has_the_measures_of_a_run_that_forked_in_parallel(forked, played) -> None:
    told = CliRunner().invoke(app, ["report", str(forked), "--json"])
    (run,) = json.loads(told.stdout)
    assert run["parallel"] == {
        "activation_ratio": 0.5,
        "total_tokens": (450 + 100) / 2,
        "token_latency": (200 + 100) / 2,
        "self_parallelism": approx((2.25 + 1) / 2),
        "acceleration": approx((250 / 450 + 0) / 2),
        "wall_speedup": 2,
    }
    text = CliRunner().invoke(app, ["report", str(forked), str(played("teacher"))], env={"COLUMNS": "300"}).stdout
    table = text[text.index("Parallel threads") :].splitlines()
    headings = "activation % total tokens token latency self-parallelism acceleration % wall speed-up"
    assert " ".join(table[2].split()) == headings
    assert [line.split()[-6:] for line in table[4:5]] == [["50.0", "~275", "~150", "~1.62", "~27.8", "2.00"]]
    assert table[5].split()[-6] == "0.0"  # the run beside it forked nowhere, and is compared with
    rows = list(csv.DictReader(io.StringIO(CliRunner().invoke(app, ["report", str(forked), "--csv"]).stdout)))
    assert rows[0]["parallel.activation_ratio"] == "0.5"
    rows = list(
        csv.DictReader(io.StringIO(CliRunner().invoke(app, ["report", str(forked), "--csv", "--episodes"]).stdout))
    )
    assert {row["totals.parallel_forks"] for row in rows} == {"0", "1"}


def test_a_report_without_times_leaves_the_wall_speedup_out(forked) -> None:
    told = CliRunner().invoke(app, ["report", str(forked), "--no-times"]).stdout
    assert "self-parallelism" in told
    assert "wall speed-up" not in told
    rows = csv.DictReader(
        io.StringIO(CliRunner().invoke(app, ["report", str(forked), "--csv", "--episodes", "--no-times"]).stdout)
    )
    assert not {"totals.model_seconds", "totals.seconds"} & set(rows.fieldnames or ())


def test_a_report_has_no_measures_where_nothing_forked_in_parallel(played) -> None:
    run = str(played("teacher"))
    assert "Parallel threads" not in CliRunner().invoke(app, ["report", run]).stdout
    for form in (["--json"], ["--csv"], ["--csv", "--episodes"]):
        assert "parallel" not in CliRunner().invoke(app, ["report", run, *form]).stdout


def test_the_page_tells_the_acceleration_of_an_episode_that_forked_in_parallel(forked) -> None:
    arms = arms_of([read_run(forked)])
    told = [_row(arms[0], result, number)["parallel"] for number, result in enumerate(arms[0].run.results)]
    assert sorted(set(told)) == ["", "55.6% acceleration"]
