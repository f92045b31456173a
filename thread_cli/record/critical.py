"""The critical path of an episode, from the graph of its events: the tokens that no parallelism could spare.

Each thread has a clock, the tokens generated one after the other up to where it is. A child's begins where its parent's
stood when it was spawned, and moves no clock but its own until somebody waits for it; a thread that joins children goes
on no earlier than the last of them ended, and one that ends after children that it has not joined ends no earlier.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import Ending

if TYPE_CHECKING:
    from thread_cli.contracts.events import Event

__all__ = ["CriticalPath"]

_KINDS: Final = frozenset(("thread_started", "generated", "failed", "spawned", "awaiting", "joined", "thread_ended"))


class CriticalPath:
    """The critical path of the events so far. `tokens` is its length: the token latency of the THREAD paper."""

    def __init__(self) -> None:
        self.tokens = 0
        self._clocks = defaultdict[str, int](int)
        self._ends: dict[int, int] = {}
        """The clock at the end of each thread, by the number of that event."""
        self._awaited: dict[str, tuple[str, ...]] = {}
        """For each thread that waits for children in the background: the paths of these children."""

    def add(self, event: Event) -> None:
        """Add the next event."""
        if event.kind not in _KINDS:
            return
        clocks = self._clocks
        match event.kind:
            case "thread_started":
                clocks[event.thread] = clocks[event.parent] if event.parent is not None else 0
            # The lost answers of a failed call were generated before anything that the thread does next.
            case "generated" | "failed":
                clocks[event.thread] += event.generated_tokens
                self.tokens = max(self.tokens, clocks[event.thread])
            case "spawned":
                # The second try of a child begins where the first one ended.
                clocks[event.thread] = max(clocks[event.thread], self._ends.get(event.cause or 0, 0))
            case "awaiting":
                self._awaited[event.thread] = event.children
            case "joined":
                self._awaited.pop(event.thread, None)
                clocks[event.thread] = max(clocks[event.thread], *(clocks[child] for child in event.children), 0)
            case "thread_ended":
                left = self._awaited.pop(event.thread, ()) if event.how is Ending.returned else ()
                if left:
                    clocks[event.thread] = max(clocks[event.thread], *(clocks[child] for child in left))
                self._ends[event.n] = clocks[event.thread]
            case _:
                pass
