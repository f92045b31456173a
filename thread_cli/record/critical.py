"""The critical path of an episode, from the graph of its events: the tokens that no parallelism could spare.

Each thread has a clock, the tokens generated one after the other up to where it is. A child's begins where its parent's
stood when it was spawned, and moves no clock but its own until somebody waits for it; a thread that joins children goes
on no earlier than the last of them ended, and one that ends after children that it has not joined ends no earlier.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, ClassVar

from thread_cli.contracts.errors import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from thread_cli.contracts.events import (
        Awaiting,
        Event,
        Failed,
        Generated,
        Joined,
        Spawned,
        ThreadEnded,
        ThreadStarted,
    )

__all__ = ["CriticalPath"]


class CriticalPath:
    """The critical path of the events so far. `tokens` is its length: the token latency of the papers on fork-join."""

    def __init__(self) -> None:
        self.tokens = 0
        self._clocks = defaultdict[str, int](int)
        self._ends: dict[int, int] = {}
        """The clock at the end of each thread, by the number of that event."""
        self._awaited: dict[str, tuple[str, ...]] = {}
        """For each thread that waits for children in the background: the paths of these children."""

    def add(self, event: Event) -> None:
        """Add the next event."""
        move = self.moves.get(event.kind)
        if move is not None:
            move(self, event)

    def _started(self, event: ThreadStarted) -> None:
        self._clocks[event.thread] = self._clocks[event.parent] if event.parent is not None else 0

    def _generated(self, event: Generated | Failed) -> None:
        clock = self._clocks[event.thread] = self._clocks[event.thread] + event.generated_tokens
        self.tokens = max(self.tokens, clock)

    def _spawned(self, event: Spawned) -> None:
        # The second try of a child begins where the first one ended.
        self._forward(event.thread, self._ends.get(event.cause or 0, 0))

    def _awaits(self, event: Awaiting) -> None:
        self._awaited[event.thread] = event.children

    def _joined(self, event: Joined) -> None:
        self._awaited.pop(event.thread, None)
        for child in event.children:
            self._forward(event.thread, self._clocks[child])

    def _ended(self, event: ThreadEnded) -> None:
        left = self._awaited.pop(event.thread, ()) if event.how is Ending.returned else ()
        for child in left:
            self._forward(event.thread, self._clocks[child])
        self._ends[event.n] = self._clocks[event.thread]

    def _forward(self, thread: str, clock: int) -> None:
        """Put a thread's clock forward to at least `clock`."""
        self._clocks[thread] = max(self._clocks[thread], clock)

    moves: ClassVar[Mapping[str, Callable[..., None]]] = {
        "thread_started": _started,
        "generated": _generated,
        # The lost answers of a failed call were generated before anything that the thread does next.
        "failed": _generated,
        "spawned": _spawned,
        "awaiting": _awaits,
        "joined": _joined,
        "thread_ended": _ended,
    }
    """What an event of each kind does; events of other kinds do nothing."""
