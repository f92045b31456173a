"""Exports the timeline of an episode as a trace in Chrome's Trace Event Format, which Perfetto and speedscope read too.

Each thread of the episode is a thread of the trace: a slice for its life, and within it one for each model call, action
and wait. Flow arrows lead from a parent to the children that it starts, and from these to the thread that they free.
Times are in whole microseconds. The format: docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

from __future__ import annotations

import json
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.events import Generated
from thread_cli.display.figures import measures
from thread_cli.display.state import TreeState
from thread_cli.display.text import clean, cut, headline
from thread_cli.files import written_whole
from thread_cli.record.costs import costs_of
from thread_cli.record.timeline import Doing, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from thread_cli.contracts.events import Event
    from thread_cli.record.costs import Cost
    from thread_cli.record.timeline import Line, Span

__all__ = ["export_trace"]

_PROCESS: Final = 1
_TITLE: Final = 80  # terminal cells
_ARGS: Final = ("prompt_tokens", "cached_tokens", "generated_tokens", "cost", "waited", "retries", "stop")
_LOOKED_AT: Final = 8 * _TITLE  # characters; hostile text can hold any number of invisible ones


def export_trace(events: Sequence[Event], path: Path) -> None:
    """Write the trace of an episode. It takes time and space linear in the events.

    Raises:
        OSError: `path` cannot be written.
    """
    state, timeline, costs = TreeState.of(events), Timeline.of(events), costs_of(events)
    about = measures(state.totals) | {"environment": state.environment, "task": state.task}
    with written_whole(path) as part, part.open("w", encoding="ascii", newline="\n") as file:
        file.write('{"displayTimeUnit":"ms","otherData":' + _json(about) + ',"traceEvents":[\n')
        for number, told in enumerate(_events(state, timeline, costs)):
            file.write((",\n" if number else "") + _json(told))
        file.write("\n]}\n")


def _events(state: TreeState, timeline: Timeline, costs: dict[str, Cost]) -> Iterator[dict[str, Any]]:
    places = {path: place for place, path in enumerate(_in_tree(state), 1)}
    name = clean(f"{state.environment} {state.task}"[:_LOOKED_AT]) or "episode"
    yield {"ph": "M", "name": "process_name", "pid": _PROCESS, "tid": 0, "args": {"name": name}}
    for path, place in places.items():
        line = timeline.lines[path]
        common = {"pid": _PROCESS, "tid": place}
        title = _title(line)
        yield {"ph": "M", "name": "thread_name", **common, "args": {"name": f"{path} {title}"}}
        yield {"ph": "M", "name": "thread_sort_index", **common, "args": {"sort_index": place}}
        yield {
            "ph": "X",
            "cat": "thread",
            "name": title,
            **common,
            **_from_to(line.start, line.end),
            "args": _about(line, costs[path]),
        }
        yield from (_slice(span) | common for span in line.spans if span.doing is not Doing.other)
    yield from _arrows(timeline, places)
    yield from _under_way(timeline)


def _slice(span: Span) -> dict[str, Any]:
    name = "model call" if span.doing is Doing.model else span.doing.value
    told: dict[str, Any] = {"ph": "X", "cat": span.doing.value, "name": name, **_from_to(span.start, span.end)}
    if isinstance(span.event, Generated):
        told["args"] = {name: getattr(span.event, name) for name in _ARGS}
    return told


def _about(line: Line, cost: Cost) -> dict[str, Any]:
    own, below = cost.own, cost.subtree
    return {
        "path": line.path,
        "ended": None if line.how is None else line.how.value,
        "calls": own.calls,
        "prompt_tokens": own.prompt_tokens,
        "generated_tokens": own.generated_tokens,
        "cost": own.cost,
        "subtree_threads": below.threads,
        "subtree_prompt_tokens": below.prompt_tokens,
        "subtree_generated_tokens": below.generated_tokens,
        "subtree_cost": below.cost,
    }


def _arrows(timeline: Timeline, places: dict[str, int]) -> Iterator[dict[str, Any]]:
    """A flow's two ends have to lie within slices of their threads; an end of a slice is outside of it."""
    for number, arrow in enumerate(timeline.arrows, 1):
        common = {"cat": arrow.kind, "name": arrow.kind, "id": number, "pid": _PROCESS}
        source, target = timeline.lines[arrow.source], timeline.lines[arrow.target]
        leaves = _within(source, _micros(arrow.left))
        arrives = max(leaves, _within(target, _micros(arrow.arrived)))
        yield {"ph": "s", **common, "tid": places[arrow.source], "ts": leaves}
        yield {"ph": "f", "bp": "e", **common, "tid": places[arrow.target], "ts": arrives}


def _within(line: Line, at: int) -> int:
    return max(_micros(line.start), min(at, _micros(line.end) - 1))


def _under_way(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """A counter of the model calls under way."""
    spans = [span for line in timeline.lines.values() for span in line.spans if span.doing is Doing.model]
    changes = sorted(chain.from_iterable(((_micros(span.start), 1), (_micros(span.end), -1)) for span in spans))
    calls = 0
    for (at, change), place in zip(changes, count(1), strict=False):
        calls += change
        if place == len(changes) or changes[place][0] != at:
            args = {"under way": calls}
            yield {"ph": "C", "name": "model calls", "pid": _PROCESS, "tid": 0, "ts": at, "args": args}


def _from_to(start: float, end: float) -> dict[str, int]:
    return {"ts": _micros(start), "dur": _micros(end) - _micros(start)}


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _title(line: Line) -> str:
    return cut(clean(headline(line.context)[:_LOOKED_AT]), _TITLE) or "(empty)"


def _in_tree(state: TreeState) -> list[str]:
    """The paths of all threads in the order of the tree. A thread that began again is there once."""
    found: dict[str, None] = {}
    left = [state.main] if state.main is not None else []
    while left:
        thread = left.pop()
        found[thread.path] = None
        left += reversed(thread.children)
    return [*found]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
