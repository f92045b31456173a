"""The critical path of an episode, from the graph of its events: the tokens that no parallelism could spare.

Each thread has a clock, the number of tokens generated one after the other up to its present event. A child's begins
where its parent's stood when it was spawned; a thread that joins children goes on no earlier than the last of them
ended.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from thread_cli.contracts.events import Generated, Joined, Spawned, ThreadEnded, ThreadStarted

if TYPE_CHECKING:
    from thread_cli.contracts.events import Event

__all__ = ["CriticalPath"]


class CriticalPath:
    """The critical path of the events so far. `tokens` is its length: the token latency of the THREAD paper."""

    def __init__(self) -> None:
        self.tokens = 0
        self._clocks = defaultdict[str, int](int)
        self._ends: dict[int, int] = {}
        """The clock at the end of each thread, by the number of that event."""

    def add(self, event: Event) -> None:
        """Add the next event."""
        clocks = self._clocks
        match event:
            case ThreadStarted():
                clocks[event.thread] = clocks[event.parent] if event.parent is not None else 0
            case Generated():
                clocks[event.thread] += event.generated_tokens
                self.tokens = max(self.tokens, clocks[event.thread])
            case Spawned():
                # A child that is retried begins where the first try has ended.
                clocks[event.thread] = max(clocks[event.thread], self._ends.get(event.cause or 0, 0))
            case Joined():
                clocks[event.thread] = max(clocks[event.thread], *(clocks[child] for child in event.children), 0)
            case ThreadEnded():
                self._ends[event.n] = clocks[event.thread]
            case _:
                pass
