"""When each thread did what: from events made by hand, from older logs, and how it is drawn."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from steps import fork, made
from typer.testing import CliRunner

from thread_cli.cli.app import app
from thread_cli.display import TreeState, render_timeline
from thread_cli.display.layout import ASCII
from thread_cli.record import read_events
from thread_cli.record.timeline import Timeline

LOGS = Path(__file__).parent / "logs"
CALL = ("0 (", "0 .", "0 + 5")


def spans(events: list[Any], thread: str = "0") -> list[tuple[str, float, float]]:
    return [(str(span.doing), span.start, span.end) for span in Timeline.of(events).lines[thread].spans]


def drawn(events: list[Any], width: int = 120, **options: Any) -> list[str]:
    return [line.plain for line in render_timeline(TreeState.of(events), Timeline.of(events), width, **options)]


def test_a_thread_asks_waits_for_children_and_ends() -> None:
    events = made(*CALL, *fork("0", 1, 2), "0 .", "0 + 1", "0 )")
    joined = next(event.time for event in events if event.kind == "joined")
    assert spans(events) == [
        ("other", 0, 1),
        ("model", 1, 2),
        ("other", 2, 3),
        ("waiting", 3, joined),
        ("other", joined, joined + 1),
        ("model", joined + 1, joined + 2),
        ("other", joined + 2, joined + 3),
    ]
    assert spans(events, "0.1") == [("other", 5, 7), ("model", 7, 9), ("other", 9, 11)]


def test_what_queues_before_a_call_or_an_action_is_a_wait() -> None:
    assert spans(made("0 (", "0 .", "0.9 (", "0.9 (", "0 + 5", "0 )", waited=2))[1:3] == [
        ("waiting", 1, 3),
        ("model", 3, 4),
    ]
    # Three seconds from the action to its observation, of which the environment took one.
    assert spans(made("0 (", "0 !", "0.9 (", "0.9 (", "0 ^", "0 )"))[1:3] == [("waiting", 1, 3), ("action", 3, 4)]


def test_children_in_the_background_are_waited_for_when_they_are_awaited() -> None:
    events = made(*CALL, "0 << 0.0 0.1", "0.0 (", "0.1 (", "0 .", "0 + 3", "0 * 0.1", "0.1 )", "0 & 0.1", "0 )")
    assert [each for each in spans(events) if each[0] == "waiting"] == [("waiting", 8, 10)]
    arrows = [(each.kind, each.source, each.left, each.target, each.arrived) for each in Timeline.of(events).arrows]
    assert arrows == [("spawn", "0", 3, "0.0", 4), ("spawn", "0", 3, "0.1", 5), ("join", "0.1", 9, "0", 10)]


def test_a_thread_that_ends_after_its_children_is_freed_by_them() -> None:
    begun = ("0 (", "0 << 0.0", "0.0 (", "0 * 0.0", "0.0 )")
    assert [each.kind for each in Timeline.of(made(*begun, "0 )")).arrows] == ["spawn", "join"]
    assert [each.kind for each in Timeline.of(made(*begun, "0 ) failed")).arrows] == ["spawn"]


def test_threads_of_a_log_that_breaks_off_last_until_its_last_event() -> None:
    events = made("0 (", "0 .", "0.0 (", "0.0 .", "0.1 (")
    assert spans(events) == [("other", 0, 1), ("model", 1, 4)]
    assert spans(events, "0.0") == [("other", 2, 3), ("model", 3, 4)]


def test_a_failed_call_is_a_call() -> None:
    assert ("model", 1, 2) in spans(made("0 (", "0 .", "0 x 7", "0 ) failed"))


def test_a_thread_that_begins_again_stays_one_row() -> None:
    events = made("0 (", "0.0 (", "0.0 .", "0.0 + 1", "0.0 ) failed", "0.0 (", "0.0 .", "0.0 + 1", "0.0 )", "0 )")
    assert [each for each in spans(events, "0.0") if each[0] == "model"] == [("model", 2, 3), ("model", 6, 7)]


@pytest.mark.parametrize("file", sorted(LOGS.rglob("*.jsonl")), ids=lambda file: f"{file.parts[-2]}/{file.stem}")
def test_the_spans_of_a_thread_follow_one_another_from_its_start_to_its_end(file: Path) -> None:
    events = read_events(file)
    timeline = Timeline.of(events)
    assert timeline.lines.keys() == TreeState.of(events).threads.keys()
    for line in timeline.lines.values():
        assert (line.spans[0].start, line.spans[-1].end) == (line.start, line.end)
        assert all(one.end == other.start for one, other in pairwise(line.spans))


# --- drawn


def test_a_row_shows_calls_actions_and_waits_by_characters_alone() -> None:
    events = made(*CALL, "0 !", "0 ^", *fork("0", 1), "0 )", spacing=10)
    shown = drawn(events, 120)
    assert shown[0].startswith("none") or shown[0].startswith("starting")
    assert "|0ms" in shown[0]
    assert shown[0].endswith("1m50s|")
    (row,) = [line for line in shown if line.startswith("✓ do 0 ")]
    bar = row[36:]
    assert [bar[int(second / 110 * 84)] for second in (5, 15, 25, 35, 55, 85, 105)] == list("─█─▒··─")
    assert shown[-1] == "█ model call   ▒ action   · waiting   ─ engine or Python"
    plain = drawn(events, 120, glyphs=ASCII)
    assert all(line.isascii() for line in plain)
    assert set("#=.-") <= set("".join(plain))


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_rows_are_as_wide_as_the_terminal_at_most(width: int) -> None:
    events = made("0 [", *CALL, *fork("0", *range(20)), "0 )")
    shown = drawn(events, width)
    assert max(map(cell_len, shown)) <= width
    assert len([line for line in shown if "do 0" in line]) == 21


def test_a_thread_that_lived_for_no_time_has_a_mark() -> None:
    events = [*made("0 (", "0.0 (", "0.0 )", spacing=0), *made("0 .", "0 + 3", "0 )", spacing=50)]
    (row,) = [line for line in drawn(events, 80) if "do 0.0" in line]
    assert row[24:] == "─"


def test_an_episode_without_time_is_drawn() -> None:
    assert len(drawn(made("0 (", "0 )", spacing=0), 80)) >= 2


def test_the_timeline_of_an_older_log_is_shown() -> None:
    shown = CliRunner().invoke(app, ["show", str(LOGS / "teacher-textcraft"), "--timeline"], env={"COLUMNS": "100"})
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert sum(line.lstrip(" │├╰─").startswith("✓") for line in lines) > 3
    assert "█ model call" in shown.stdout
    assert "solved" in lines[-4] or "solved" in shown.stdout
