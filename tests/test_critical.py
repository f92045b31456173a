"""The critical path, from events made by hand: threads that wait for each other at once, later, or never."""

from __future__ import annotations

from typing import Any

import pytest
from steps import fork, made

from thread_cli.display import TreeState, render_thread, render_tree
from thread_cli.record.critical import CriticalPath


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


def test_a_fork_of_100_200_and_150_tokens_has_latency_200() -> None:
    assert length(made("0 (", *fork("0", 100, 200, 150), "0 )")) == 200


@pytest.mark.parametrize(
    ("steps", "tokens"),
    [
        (("0 (", "0 + 10", *fork("0", 100, 200), "0 + 20", *fork("0", 50, 5, 40), "0 + 7", "0 )"), 10 + 200 + 20 + 50 + 7),
        (("0 (", "0 < 0.0 0.1", "0.0 (", "0.1 (", "0.0 + 90", "0.1 + 10", *fork("0.1", 30, 60), "0.1 + 5", "0.1 )",
          "0.0 )", "0 & 0.0 0.1", "0 + 1", "0 )"), max(90, 10 + 60 + 5) + 1),
        (("0 (", "0 < 0.0 0.1", "0.0 (", "0.1 (", "0.0 + 90", "0.1 + 10", *fork("0.1", 30, 85), "0.1 + 5", "0.1 )",
          "0.0 )", "0 & 0.0 0.1", "0 + 1", "0 )"), max(90, 10 + 85 + 5) + 1),
        (("0 (", "0 + 10", "0 x 40", "0 + 5", "0 )"), 55),  # the lost answer of a call came before the next one
        (("0 (", "0 < 0.0 0.1", "0.0 (", "0.1 (", "0.0 x 70", "0.0 ) failed", "0.1 + 30", "0.1 )", "0 & 0.0 0.1",
          "0 + 1", "0 )"), 71),
    ],
    ids=["two blocks", "nested, shorter", "nested, longer", "a lost answer", "a child that failed"],
)  # fmt: skip
def test_the_longest_thread_of_each_block_is_on_the_path(steps: tuple[str, ...], tokens: int) -> None:
    assert length(made(*steps)) == tokens


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
