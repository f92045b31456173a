"""The critical path, from events made by hand: threads that wait for each other at once, later, or never."""

from __future__ import annotations

import json
from typing import Any

import pytest

from thread_cli.contracts.events import parse_event
from thread_cli.display import TreeState, render_thread, render_tree
from thread_cli.record.critical import CriticalPath


def made(*steps: str) -> list[Any]:
    """Events of a short text each: `0 + 10` generates tokens, `0 & 0.0 0.1` joins, and so on, as the code says."""
    events = []
    for n, step in enumerate(steps):
        thread, sign, *rest = step.split()
        parent = thread.rpartition(".")[0] or None
        common = {"episode": "e", "n": n, "thread": thread, "parent": parent, "cause": n - 1 if n else None, "time": n}
        match sign:
            case "(":
                told = {"kind": "thread_started", "depth": thread.count("."), "context": f"do {thread}"}
            case ")":
                told = {"kind": "thread_ended", "result": "r", "failed": rest != [], "how": (rest or ["returned"])[0]}
            case "+":
                numbers = dict.fromkeys(("prompt_tokens", "cached_tokens", "repeated_tokens", "seconds", "waited"), 0)
                told = {"kind": "generated", "text": "t", "stop": "end", "cost": None, "retries": 0, **numbers}
                told["generated_tokens"] = int(rest[0])
            case "<" | "<<":
                later = {"waits": False, "text": "handles"} if sign == "<<" else {}
                told = {"kind": "spawned", "children": rest, **later}
            case "?" | "*":
                told = {"kind": "awaiting", "children": rest, "which": "any" if sign == "?" else "all"}
            case "&":
                told = {"kind": "joined", "children": rest, "text": "j"}
        events.append(parse_event(json.dumps(common | told)))
    return events


def length(events: list[Any]) -> int:
    path = CriticalPath()
    for event in events:
        path.add(event)
    assert TreeState.of(events).totals.token_latency == path.tokens
    return path.tokens


FORK = ("0 (", "0 + 100", "0 < 0.0 0.1", "0.0 (", "0.1 (", "0.0 + 200", "0.1 + 150", "0.0 )", "0.1 )", "0 & 0.0 0.1")
LATER = ("0 (", "0 + 100", "0 << 0.0 0.1", "0.0 (", "0.1 (", "0.0 + 200", "0.1 + 150", "0 + 30", "0.0 )", "0.1 )")


@pytest.mark.parametrize(
    ("steps", "tokens"),
    [
        ((*FORK, "0 + 7", "0 )"), 307),  # waited for at once: the longer child
        ((*LATER, "0 + 7", "0 )"), 300),  # by nobody: the longest chain there is
        ((*LATER, "0 * 0.1", "0 & 0.1", "0 + 7", "0 + 60", "0 )"), 317),  # the shorter one alone
        ((*LATER, "0 * 0.0 0.1", "0 & 0.0 0.1", "0 + 7", "0 )"), 307),
        ((*LATER, "0 + 300", "0 * 0.0 0.1", "0 & 0.0 0.1", "0 + 7", "0 )"), 437),  # they had ended before
        ((*LATER, "0 ? 0.0 0.1", "0 & 0.1", "0 + 100", "0 )"), 350),  # `any`: what it came to
        ((*LATER, "0 ?", "0 & 0.0", "0 + 100", "0 )"), 400),
    ],
)
def test_a_thread_goes_on_no_earlier_than_those_it_waits_for(steps: tuple[str, ...], tokens: int) -> None:
    assert length(made(*steps)) == tokens


@pytest.mark.parametrize(
    ("end", "tokens"),
    [
        (("0.0 * 0.0.0", "0.0.0 )", "0.0 )"), 365),  # it ends after its child, and so its parent goes on then
        (("0.0 )",), 360),
        (("0.0.0 ) stopped", "0.0 ) failed"), 360),
        (("0.0 * 0.0.0", "0.0.0 ) stopped", "0.0 ) pruned"), 360),
    ],
)
def test_a_thread_that_ends_after_its_children_ends_no_earlier_than_they(end: tuple[str, ...], tokens: int) -> None:
    begun = ("0 (", "0 + 50", "0 < 0.0", "0.0 (", "0.0 + 10", "0.0 << 0.0.0", "0.0.0 (", "0.0.0 + 300")
    assert length(made(*begun, *end, "0 & 0.0", "0 + 5", "0 )")) == tokens


# --- how it is shown


def test_the_tree_shows_who_waits_for_whom() -> None:
    shown = [line.plain for line in render_tree(TreeState.of(made(*LATER[:8])), 80)]
    assert [line.split()[:2] for line in shown[1:]] == [["●", "do"], ["├─●", "0.0"], ["╰─●", "0.1"]]
    for wait, words in (
        ("0 * 0.1", "waits for 0.1"),
        ("0 * 0.0 0.1", "waits for 0.0, 0.1"),
        ("0 ? 0.0 0.1", "waits for any of 0.0, 0.1"),
        ("0 ?", "waits for any of its threads"),
        ("0 * " + " ".join(f"0.{n}" for n in range(2, 11)), "waits for 9 threads"),
    ):
        shown = [line.plain for line in render_tree(TreeState.of(made(*LATER[:8], wait)), 80)]
        assert shown[1].startswith("○ do 0 ")
        assert words in shown[1]
        shown = [line.plain for line in render_tree(TreeState.of(made(*LATER, wait, "0 & 0.1")), 80)]
        assert "waits" not in shown[1]
    shown = [line.plain for line in render_tree(TreeState.of(made(*LATER[:9], "0 * 0.0 0.1")), 80)]
    assert "waits for 0.1 " in shown[1]  # the other one has ended


def test_a_thread_shows_what_it_has_read_of_handles_and_for_whom_it_has_waited() -> None:
    shown = [line.plain for line in render_thread(made(*LATER, "0 ? 0.0 0.1", "0 & 0.1", "0 )"), "0")]
    assert shown == [
        "thread 0 · depth 0",
        "+ do 0",
        "Y",
        "+ thandlest",
        "○ waits for any of 0.0, 0.1",
        "+ j",
        "✓ done → r",
    ]
