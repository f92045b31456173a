"""The part of watchers in a recorded run, played again: threads are pruned and the episode is ended where they were."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import Ending
from thread_cli.contracts.events import EpisodeEnded, EpisodeStarted, Generated, ThreadEnded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Piece
    from thread_cli.contracts.watcher import Watched

__all__ = ["RecordedEnds"]

_NO_STEPS: Final = (EpisodeStarted, EpisodeEnded, ThreadEnded)


class RecordedEnds:
    """A watcher that ends what watchers ended in the recorded events of an episode.

    It prunes a thread when that thread, and each thread below it that was stopped with it, has come to the last event
    before its end, and all others below it have ended; the episode is ended likewise. A thread that was pruned in the
    moment in which the episode was ended, so that it had no result, is pruned in that moment. The answer to a thread's
    last call of the model is not given until then (`holds`).
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._ends: dict[str, ThreadEnded] = {}
        self._steps: Counter[str] = Counter()
        """Events of each thread up to the one at which it is ended from outside."""
        self._calls: Counter[str] = Counter()
        self._last: dict[str, Event] = {}
        self._stop: EpisodeEnded | None = None
        for event in events:
            self._read(event)
        for thread, event in self._last.items():
            if isinstance(event, Generated):
                # The thread was ended before it could use that answer, perhaps while the answer was being written.
                self._steps[thread] -= 1
            self._calls[thread] -= isinstance(event, Generated)
        self._family: defaultdict[str, list[str]] = defaultdict(list)
        """For each thread all threads at and below it; those of the episode by the empty path."""
        for thread in self._ends:
            for above in (*_upwards(thread), ""):
                self._family[above].append(thread)
        self._left = {thread for thread, end in self._ends.items() if end.how is Ending.pruned}
        self._at_once = [thread for thread in sorted(self._left) if self._stop and self._has_no_result(thread)]
        """The pruned threads that ended with the episode, and all below them that had not ended before."""
        self.any = bool(self._left or self._stop)
        """Whether watchers have ended anything."""
        self._left -= {*self._at_once}
        self._held = {thread for thread in self._ends if self.any and self._from_outside(thread)}
        self._seen: Counter[str] = Counter()
        self._gone: set[str] = set()
        self._episode: Watched | None = None

    def begin(self, episode: Watched) -> None:
        """An episode begins that is to go as recorded."""
        self._episode = episode

    def see(self, event: Event) -> None:
        """Count an event, and end the threads, or the episode, that have come to their recorded ends."""
        if isinstance(event, ThreadEnded):
            self._gone.add(event.thread)
        elif not isinstance(event, _NO_STEPS):
            self._seen[event.thread] += 1
        if self._episode is None:
            return
        for thread in _upwards(event.thread):
            if thread in self._left and self._all_are_there(thread):
                self._left.remove(thread)
                self._episode.prune(thread, self._ends[thread].reason)
        if self._stop is not None and self._all_are_there(""):
            stop, self._stop = self._stop, None
            for thread in self._at_once:
                self._episode.prune(thread, self._ends[thread].reason)
            self._episode.stop(stop.reason, stop.answer)

    def hear(self, thread: str, piece: Piece) -> None:
        """Pieces tell nothing that the recording does not."""

    def holds(self, thread: str, call: int) -> bool:
        """Whether a thread was ended from outside in its call number `call` (from 0), or right after it."""
        return self._episode is not None and thread in self._held and call >= self._calls[thread]

    def _read(self, event: Event) -> None:
        if isinstance(event, ThreadEnded):
            self._ends[event.thread] = event
        elif isinstance(event, EpisodeEnded):
            self._stop = event if event.reason else None
        elif not isinstance(event, EpisodeStarted):
            self._steps[event.thread] += 1
            self._calls[event.thread] += isinstance(event, Generated)
            self._last[event.thread] = event

    def _from_outside(self, thread: str) -> bool:
        """Whether a watcher ended a thread by pruning it or a thread above it, or by stopping the episode."""
        how = self._ends[thread].how
        return how is Ending.pruned or (how is Ending.stopped and (self._stop is not None or self._root(thread) != ""))

    def _has_no_result(self, root: str) -> bool:
        """Whether neither a thread nor any of those that were stopped with it has a result."""
        ends = [self._ends[thread] for thread in self._family[root] if self._root(thread) == root]
        return all(end.result is None for end in ends if end.how in {Ending.pruned, Ending.stopped})

    def _root(self, thread: str) -> str:
        """Path of the pruned thread with which this one ended: its own path, or the nearest above; empty if none."""
        ends = ((above, self._ends.get(above)) for above in _upwards(thread))
        return next((above for above, end in ends if end is not None and end.how is Ending.pruned), "")

    def _all_are_there(self, root: str) -> bool:
        """Whether all threads at and below `root` (empty: all threads) have come to where they were when it ended."""
        return all(self._is_there(thread, root) for thread in self._family[root])

    def _is_there(self, thread: str, root: str) -> bool:
        if thread in self._gone:  # the thread itself: below one that has ended, a detached one may go on
            return True
        # A thread that ends with the episode has no result: there is no parent left to read one.
        with_it = self._ends[thread].result is None if not root else self._root(thread) == root
        return with_it and self._from_outside(thread) and self._seen[thread] >= self._steps[thread]


def _upwards(thread: str) -> Iterator[str]:
    """The path of a thread, and of all threads above it, the nearest first."""
    while thread:
        yield thread
        thread = thread.rpartition(".")[0]
