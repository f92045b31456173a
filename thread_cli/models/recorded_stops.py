"""Threads that a recorded run stopped because another thread ended, or because one ended the whole episode.

How far such a thread had come by then depended on time; in a replay, the order of the recorded events decides it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import Ending, Status
from thread_cli.contracts.events import (
    Awaiting,
    Conflicted,
    EpisodeEnded,
    EpisodeStarted,
    Failed,
    Generated,
    Observed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Piece
    from thread_cli.contracts.watcher import Watched

__all__ = ["RecordedStops"]

_NO_STEPS: Final = (EpisodeStarted, EpisodeEnded, ThreadEnded)
_QUIET: Final = 60.0
"""Seconds without an event after which nobody is waited for: the replay has gone another way."""


class RecordedStops:
    """A watcher that ends nothing: it knows how far the threads of a replay have come.

    A thread that stopped others in the recorded episode is given its last answer once these have come to their last
    events, and all that ended before have ended (`lead`). The last answers of these, in which they are to be stopped,
    wait for that too (`follow`). Steps that threads took between that answer and the end itself are left to time.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        story = _Story(events)
        self._stopped_by = story.stopped_by()
        self._steps: Counter[str] = Counter()
        """Events of each thread up to the one at which it is stopped."""
        self._answers: Counter[str] = Counter()
        last: dict[str, Event] = {}
        for event in events:
            if not isinstance(event, _NO_STEPS):
                self._steps[event.thread] += 1
                self._answers[event.thread] += isinstance(event, Generated)
                last[event.thread] = event
        for thread in self._stopped_by:
            if isinstance(last[thread], Generated):
                # It was stopped before it could use that answer, perhaps while the answer was being written.
                self._steps[thread] -= 1
                self._answers[thread] -= 1
        self._missing = story.before(self._stopped_by)
        """For each thread that stops others: the threads that have not come as far as they had."""
        self._needed: defaultdict[str, list[str]] = defaultdict(list)
        """For each thread those that wait until it has come as far."""
        for other, threads in self._missing.items():
            for thread in threads:
                self._needed[thread].append(other)
        self._there: dict[str, asyncio.Event] = {}
        self._seen: Counter[str] = Counter()
        self._events = 0
        self.any = bool(self._missing)
        """Whether any thread's end stopped others, or might have."""

    def begin(self, episode: Watched) -> None:  # noqa: ARG002 - nothing is done to it
        """An episode begins that is to go as recorded."""
        self._there = {thread: asyncio.Event() for thread in self._missing}

    def see(self, event: Event) -> None:
        """Count an event."""
        self._events += 1
        thread = event.thread
        if not isinstance(event, _NO_STEPS):
            self._seen[thread] += 1
        over = isinstance(event, ThreadEnded)
        for other in self._needed.get(thread, ()) if over or self._seen[thread] >= self._steps[thread] else ():
            if over or self._stopped_by.get(thread) == other:
                self._missing[other].discard(thread)
                if not self._missing[other]:
                    self._there[other].set()

    def hear(self, thread: str, piece: Piece) -> None:
        """Pieces tell nothing that the recording does not."""

    async def lead(self, thread: str, call: int) -> None:
        """Wait, before the answer to a thread's call number `call` (from 0), for the threads that its end stops."""
        if thread in self._there and call == self._answers[thread] - 1:
            await self._until(self._there[thread])

    def stops(self, thread: str, call: int) -> bool:
        """Whether a thread is to be stopped in its call number `call`, or right after it."""
        return self._stopped_by.get(thread) in self._there and call >= self._answers[thread]

    async def follow(self, thread: str) -> None:
        """Wait until the thread that stops this one may end."""
        await self._until(self._there[self._stopped_by[thread]])

    async def _until(self, there: asyncio.Event) -> None:
        before = -1
        while not there.is_set() and self._events != before:
            before = self._events
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET):  # unlike `wait_for` of Python 3.11, it loses no cancellation
                    await there.wait()


class _Story:
    """Places of events, from which one sees whose end stopped a thread."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._ends: dict[str, ThreadEnded] = {}
        self._ended: dict[str, int] = {}
        self._started: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        """Place of each thread's last answer."""
        self._last: dict[str, Event] = {}
        """Each thread's last event before its end."""
        self._parents: set[str] = set()
        """The threads that returned or failed, and had children in the background."""
        for place, event in enumerate(events):
            match event:
                case ThreadEnded(thread=thread):
                    self._ends[thread], self._ended[thread] = event, place
                    continue
                case ThreadStarted(thread=thread):
                    self._started[thread] = place
                case Generated(thread=thread):
                    self._answered[thread] = place
                case Spawned(thread=thread, waits=False):
                    self._parents.add(thread)
                case _:
                    pass
            self._last[event.thread] = event
        by_themselves = {path for path, end in self._ends.items() if end.how in {Ending.returned, Ending.failed}}
        self._parents &= by_themselves

    def stopped_by(self) -> dict[str, str]:
        """For each thread that another one's end stopped: the path of that other one.

        Left out are threads that ended by a watcher, an interruption or a limit of time, and those that began by the
        last answer of the thread that stopped them.
        """
        last = self._ended_the_episode()
        stopped = [(path, end) for path, end in self._ends.items() if end.how is Ending.stopped]
        found = {path: last if end.result is None else self._above(path) for path, end in stopped}
        return {path: other for path, other in found.items() if other not in {"", path} and self._is_older(path, other)}

    def before(self, stopped_by: Mapping[str, str]) -> dict[str, set[str]]:
        """For each thread that stops others, or might have: those, and the threads that had ended before it ended."""
        found: dict[str, set[str]] = {other: set() for other in (*stopped_by.values(), *self._parents)}
        everybody = {other for thread, other in stopped_by.items() if not thread.startswith(f"{other}.")}
        for thread, other in stopped_by.items():
            found[other].add(thread)
        for thread, end in self._ends.items():
            if end.how is not Ending.stopped:
                for other in everybody | (_above(thread) & found.keys()):
                    if self._ended[thread] < self._ended[other] and self._is_older(thread, other):
                        found[other].add(thread)
        return {other: threads for other, threads in found.items() if threads}

    def _above(self, path: str) -> str:
        """The thread above that stopped this one when it returned or failed; empty where none did."""
        at, above = path, path.rpartition(".")[0]
        while above:
            end = self._ends.get(above)
            if end is not None and self._ended[above] > self._ended[at]:  # else this one was detached from it
                if self._ends[at].reason or end.how is not Ending.stopped:
                    return "" if end.how is Ending.pruned or self._is_late(above) else above
                at = above
            above = above.rpartition(".")[0]
        return ""

    def _ended_the_episode(self) -> str:
        """The thread that ended the episode while others were alive; empty where it was none of them."""
        last = self._events[-1] if self._events else None
        if not isinstance(last, EpisodeEnded) or last.reason or last.status is Status.cancelled:
            return ""
        for event in reversed(self._events):
            ended = self._ends.get(event.thread)
            if isinstance(event, Failed) or (isinstance(event, Observed) and event.done):
                alive = ended is not None and (ended.result is None or ended.parent is None)
                return event.thread if alive and not self._is_late(event.thread) else ""
            if isinstance(event, ThreadEnded) and event.result is not None and event.parent is not None:
                # Its parent waited for it, and the episode was over in their common world.
                waits = isinstance(self._last.get(event.parent), (Awaiting, Spawned, Conflicted))
                return event.parent if waits and self._ends[event.parent].result is None else ""
        return ""

    def _is_older(self, path: str, other: str) -> bool:
        """Whether a thread, or the child of `other` above it, began before the last answer to `other`."""
        if path.startswith(f"{other}."):
            path = ".".join(path.split(".")[: other.count(".") + 2])
        return self._started.get(path, 0) < self._answered.get(other, -1)

    def _is_late(self, path: str) -> bool:
        """Whether a thread failed since its time was up, which no answer brings about."""
        event = self._last.get(path)
        return isinstance(event, Failed) and event.limit == "wall_time"


def _above(path: str) -> set[str]:
    """The paths of all threads above one."""
    parts = path.split(".")
    return {".".join(parts[:depth]) for depth in range(1, len(parts))}
