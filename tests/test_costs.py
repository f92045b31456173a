"""What each thread cost, alone and with all below it; as lines and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pytest import approx
from rich.cells import cell_len
from steps import fork, made
from typer.testing import CliRunner

from thread_cli.cli.app import app
from thread_cli.contracts.events import Generated
from thread_cli.display import TreeState, as_json, render_costs
from thread_cli.record import read_events
from thread_cli.record.costs import costs_of

LOGS = Path(__file__).parent / "logs"
FILES = sorted(LOGS.rglob("*.jsonl"))
NESTED = ("0 (", "0 . ", "0 + 10", "0 < 0.0 0.1", "0.0 (", "0.1 (", "0.0 + 90", *fork("0.1", 30, 60), "0.1 !", "0.1 ^")


def drawn(events: list[Any], width: int) -> list[str]:
    return [line.plain for line in render_costs(TreeState.of(events), costs_of(events), width)]


def test_a_subtree_costs_what_its_threads_cost() -> None:
    costs = costs_of(made(*NESTED, prompt_tokens=100, cost=0.25, seconds=2.0))
    assert {path: cost.own.generated_tokens for path, cost in costs.items()} == {
        "0": 10,
        "0.0": 90,
        "0.1": 0,
        "0.1.0": 30,
        "0.1.1": 60,
    }
    below = costs["0.1"].subtree
    assert (below.threads, below.calls, below.actions) == (3, 2, 1)
    assert (below.prompt_tokens, below.generated_tokens, below.tokens) == (200, 90, 290)
    assert (below.cost, below.model_seconds, below.action_seconds, below.seconds) == (0.5, 4, 1, 5)
    assert costs["0"].subtree.tokens == 400 + 190
    assert costs["0.0"].own == costs["0.0"].subtree


def test_a_cost_that_is_unknown_below_is_unknown_above_and_not_beside() -> None:
    events = made(*NESTED, prompt_tokens=100, cost=0.25)
    unknown = [
        e.model_copy(update={"cost": None}) if isinstance(e, Generated) and e.thread == "0.0" else e for e in events
    ]
    costs = costs_of(unknown)
    assert [costs[path].subtree.cost for path in ("0", "0.0", "0.1")] == [None, None, 0.5]
    assert costs["0.1"].own.cost == 0  # it called no model


def test_lost_answers_are_paid_by_the_thread_that_lost_them() -> None:
    costs = costs_of(made("0 (", "0 + 1", "0 < 0.0", "0.0 (", "0.0 x 70", "0.0 ) failed", "0 & 0.0", cost=0.5))
    assert (costs["0.0"].own.generated_tokens, costs["0"].own.generated_tokens) == (70, 1)
    assert costs["0"].subtree.generated_tokens == 71


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parts[-2]}/{file.stem}")
def test_the_main_threads_subtree_is_the_whole_episode(file: Path) -> None:
    events = read_events(file)
    totals, below = TreeState.of(events).totals, costs_of(events)["0"].subtree
    for name in ("threads", "calls", "actions", "prompt_tokens", "cached_tokens", "generated_tokens"):
        assert getattr(below, name) == getattr(totals, name)
    assert below.cost == (totals.cost if totals.calls else 0)
    calls = [event for event in events if isinstance(event, Generated)]
    assert below.model_seconds == approx(sum(max(0, call.seconds - call.waited) for call in calls), abs=1e-4)


@pytest.mark.parametrize("width", [40, 60, 80, 119, 120, 160])
def test_lines_of_costs_fit_the_terminal(width: int) -> None:
    shown = drawn(made("0 [", *NESTED, prompt_tokens=123_456, cost=123.4567), width)
    assert max(map(cell_len, shown)) <= width


def test_each_thread_has_a_line_with_its_share() -> None:
    shown = drawn(made("0 [", *NESTED, prompt_tokens=100, cost=0.25, seconds=2.0), 120)
    rows = {line.split("do ")[1].split()[0]: line.split()[-9:] for line in shown if "do 0" in line}
    assert rows["0"] == ["1", "110", "2.00s", "$0.2500", "4", "590", "9.00s", "$1.00", "100.0%"]
    assert rows["0.1"] == ["0", "0", "1.00s", "$0.00", "2", "290", "5.00s", "$0.5000", "49.2%"]
    assert "$" not in "".join(drawn(made(*NESTED, cost=0.0), 80))  # nothing costs money


def test_show_prints_costs_and_json_of_a_run() -> None:
    run = str(LOGS / "teacher-textcraft")
    shown = CliRunner().invoke(app, ["show", run, "--cost"], env={"COLUMNS": "120"})
    assert "with all below" in shown.stdout
    assert "100.0%" in shown.stdout
    told = json.loads(CliRunner().invoke(app, ["show", run, "--json"]).stdout)
    assert told["status"] == "solved"
    assert told["measures"]["total_tokens"] == told["measures"]["token_latency"] == told["totals"]["generated_tokens"]
    assert told["threads"][0]["subtree"]["threads"] == told["totals"]["threads"] == len(told["threads"])
    assert {span[0] for thread in told["threads"] for span in thread["spans"]} <= {
        "model",
        "action",
        "waiting",
        "other",
    }


def test_json_is_ascii_whatever_a_model_wrote() -> None:
    events = made("0 (", "0 )")
    hostile = events[0].model_copy(update={"context": "\x1b[31m\u202e\x7f"})
    assert as_json([hostile, events[1]]).replace("\n", "").isprintable()


def test_show_wants_one_of_its_forms() -> None:
    run = str(LOGS / "teacher-textcraft")
    refused = CliRunner().invoke(app, ["show", run, "--cost", "--timeline"])
    assert refused.exit_code != 0
