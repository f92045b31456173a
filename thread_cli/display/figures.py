"""The figures of an episode for programs: its measures, and the costs and times of each thread, as one JSON object."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from thread_cli.display.state import TreeState
from thread_cli.record.costs import costs_of
from thread_cli.record.measures import acceleration, activated, self_parallelism, wall_speedup
from thread_cli.record.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.events import Event, Totals
    from thread_cli.record.costs import Spent

__all__ = ["as_json", "measures"]


def measures(totals: Totals) -> dict[str, Any]:
    """The measures of parallel threads by name; None where an episode has none of a measure."""
    return {
        "activated": activated(totals),
        "forks": totals.forks,
        "parallel_forks": totals.parallel_forks,
        "total_tokens": totals.generated_tokens,
        "token_latency": totals.token_latency,
        "context_window": totals.context_window,
        "self_parallelism": self_parallelism(totals),
        "acceleration": acceleration(totals),
        "model_seconds": totals.model_seconds,
        "seconds": totals.seconds,
        "wall_speedup": wall_speedup(totals),
    }


def as_json(events: Sequence[Event]) -> str:
    """One object on one line, in ASCII. Times are in seconds since the episode began, cost is in US dollars.

    `spans` of a thread are triples: what it did (`model`, `action`, `waiting`, `other`), from when, until when.
    """
    state, timeline, costs = TreeState.of(events), Timeline.of(events), costs_of(events)
    threads = [
        {
            "path": path,
            "parent": line.parent,
            "depth": line.depth,
            "context": line.context,
            "state": state.threads[path].phase.value,
            "result": state.threads[path].result,
            "start": line.start,
            "end": line.end,
            "own": _spent(costs[path].own),
            "subtree": _spent(costs[path].subtree),
            "spans": [[span.doing.value, round(span.start, 6), round(span.end, 6)] for span in line.spans],
        }
        for path, line in timeline.lines.items()
    ]
    told = {
        "environment": state.environment,
        "task": state.task,
        "category": state.category,
        "status": None if state.status is None else state.status.value,
        "reward": state.reward,
        "message": state.message,
        "measures": measures(state.totals),
        "totals": state.totals.model_dump(mode="json"),
        "threads": threads,
    }
    return json.dumps(told, separators=(",", ":")) + "\n"


def _spent(spent: Spent) -> dict[str, Any]:
    return asdict(spent) | {"tokens": spent.tokens, "seconds": round(spent.seconds, 6)}
