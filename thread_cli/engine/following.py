"""A recorded episode, played again: its events come in the order in which they were recorded.

Time decides which of two threads is faster, where a deadline cuts a thread off, and in which moment a watcher acts.
None of that is left to time here. A thread that has waited for anything (its model, its code, the environment, its
children) waits on for its turn: until all events have come that were recorded before its next one. A thread whose time
was up, in the recorded episode, fails where it failed then; a thread that was pruned or stopped, and an episode that a
watcher ended, end after the same events as then. No clock and no watcher decides anything.

An episode that takes another way than was recorded is led no further: it goes on by itself, and fails where the
recorded model has no answer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from thread_cli.contracts.errors import Ending, LimitReached, ModelError, Status, ThreadFailure, WatcherFailed
from thread_cli.contracts.events import Awaiting, EpisodeEnded, Failed, Generating, Joined, ThreadEnded, ThreadStarted
from thread_cli.engine.limits import time_is_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Completion
    from thread_cli.engine.limits import Clock
    from thread_cli.engine.thread import Thread

__all__ = ["Following"]

GRACE: Final = 60.0
"""Seconds by which all deadlines are later in an episode that is led: they end only calls that hang."""

_TIMED: Final = ("wall_time", "working_time")
_FROM_OUTSIDE: Final = (Ending.pruned, Ending.stopped)
_WATCHER_FAILED: Final = WatcherFailed("").kind
_INTERRUPTED: Final = "the recorded run was interrupted here"
_EVERY: Final = 0.05  # seconds
_QUIET: Final = 20
"""So many times is looked, and nothing moves and no thread is in a call, until the episode is led no further."""
_BUSY: Final = 600
"""The same, if a thread is in a call of its interpreter or environment."""


class Led(Protocol):
    """The threads of an episode that is led."""

    def end_from_outside(self, thread: str, how: Ending, reason: str, *, with_episode: bool = False) -> None:
        """End a thread, now or in the moment in which the episode ends."""
        ...

    def stop(self, reason: str, answer: str | None = None) -> None:
        """End the episode as a watcher does."""
        ...

    def finish(self, outcome: BaseException | None) -> None:
        """End the episode with an error, or by the environment."""
        ...


class Following:
    """Leads one episode along a recording; as a sink, it sees the episode's events.

    Args:
        recording: the events of a recorded episode, in order.
    """

    def __init__(self, recording: Iterable[Event]) -> None:
        self._events: Sequence[Event] = [*recording]
        self._left: defaultdict[str, deque[int]] = defaultdict(deque)
        """For each thread the places of its events that have not come."""
        self.choices: dict[str, list[str]] = {}
        """For each thread that awaited any one of several children: the paths of the children that joined, in order."""
        any_will_do: set[str] = set()
        for place, event in enumerate(self._events):
            self._left[event.thread].append(place)
            if isinstance(event, Awaiting) and event.which == "any":
                any_will_do.add(event.thread)
            elif isinstance(event, Joined) and event.thread in any_will_do:
                any_will_do.remove(event.thread)
                self.choices.setdefault(event.thread, []).extend(event.children)
        self._end = _end(self._events)
        self._fault = _fault(self._events[: self._end], self._events[self._end :])
        self._come = bytearray(len(self._events))
        self._at = 0
        """The place of the first event that has not come."""
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._postponed: list[BaseException | None] = []
        self._timer: asyncio.TimerHandle | None = None
        self._moved = 0
        """How many events have come."""
        self._seen, self._idle = -1, 0
        self.leads = bool(self._events)
        """Whether the episode has gone as recorded until now."""

    def begin(self, threads: Led, clock: Clock) -> None:
        """Lead these threads, whose deadlines that clock keeps."""
        self._threads = threads
        self._clock = clock
        clock.grace = GRACE
        self._let_go = asyncio.get_running_loop().create_future()

    def __call__(self, event: Event) -> None:
        """Note that an event has come, and let those go on whose turn it is.

        Raises:
            WatcherFailed: a watcher failed at this event in the recorded episode.
        """
        if not self.leads:
            return
        left = self._left[event.thread]
        if not left or self._events[left[0]].kind != event.kind:
            self._lead_no_further()
            return
        place = left.popleft()
        self._come[place] = True
        self._moved += 1
        while self._at < len(self._come) and self._come[self._at]:
            self._at += 1
        head = self._head()
        acts = event.parent if isinstance(event, ThreadStarted) else event.thread
        if isinstance(head, Failed) and head.failure == _WATCHER_FAILED and head.thread == acts:
            raise WatcherFailed(head.message)
        if self._at == self._end:
            self._last_step(event)
        if place == self._fault[0]:
            raise WatcherFailed(self._fault[1])
        # The thread of that event may go on at once, with further events.
        asyncio.get_running_loop().call_soon(self._lead)

    async def turn(self, thread: Thread) -> None:
        """Wait until all has come that was recorded before the thread's next event, or all that was recorded, if there
        is no next one. A thread that was ended from outside then waits for that end.

        Raises:
            LimitReached: the thread's time was up then.
        """
        while self.leads:
            left = self._left[thread.path]
            if left:
                event = self._events[left[0]]
                ends = _from_outside(event) and (thread.how is None or left[0] >= self._end)
                if left[0] == self._at and not ends:
                    if (failure := _time_was_up(event)) is not None:
                        raise failure
                    return
            elif self._at >= self._end:
                return
            waits = self._waiting[thread.path] = asyncio.get_running_loop().create_future()
            self._watch()
            try:
                await waits
            finally:
                self._waiting.pop(thread.path, None)

    async def answer(self, thread: Thread, call: Callable[[], Awaitable[Completion]]) -> Completion:
        """The answer of a thread's call in its turn. No call is made in which the thread was ended from outside before
        there was an answer.

        An answer is recorded even if the thread's task is cancelled meanwhile.

        Raises:
            ThreadFailure: the call failed, in its turn too.
        """
        await self.due(thread)
        try:
            written = await call()
        except ThreadFailure:
            await self.turn(thread)
            raise
        with suppress(asyncio.CancelledError):
            await self.turn(thread)
        return written

    async def due(self, thread: Thread) -> None:
        """As `turn`, but only for a thread that was ended from outside, or whose time was up, before its next step."""
        left = self._left[thread.path]
        event = self._events[left[0]] if left else None
        if self.leads and event is not None and (_from_outside(event) or _time_was_up(event)):
            await self.turn(thread)

    async def any_of(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Wait until one of some tasks is done, or the episode is led no further."""
        await asyncio.wait([*tasks, self._let_go], return_when=asyncio.FIRST_COMPLETED)

    def seconds(self, thread: Thread) -> float:
        """The recorded seconds of the call that the thread's next event tells of; 0 where the episode is not led."""
        left = self._left[thread.path]
        return getattr(self._events[left[0]], "seconds", 0.0) if self.leads and left else 0.0

    def postpones(self, outcome: BaseException | None) -> bool:
        """Whether the end of the episode with that outcome has to wait, as threads went on; it comes in its turn."""
        if not self.leads:
            return False
        if self._at >= self._end and not self._ended_from_outside and self._recorded_outcome() is None:
            return False
        self._postponed.append(outcome)
        self._watch()
        return True

    @property
    def judged_late(self) -> bool:
        """Whether the time was up before the answer of the main thread was judged."""
        last = self._events[-1] if self._events else None
        failed = any(isinstance(event, Failed) and event.thread == "0" for event in self._events)
        return isinstance(last, EpisodeEnded) and last.status is Status.limited and not failed

    def opening(self) -> None:
        """The environment is about to be opened.

        Raises:
            LimitReached: the time was up before it was ready, and no thread began.
        """
        if self.judged_late and not any(isinstance(event, ThreadStarted) for event in self._events):
            raise time_is_up(None)

    def _recorded_outcome(self) -> ThreadFailure | None:
        """Of the failures that the end of the episode has waited with, the one with which it ended then."""
        end = self._events[-1]
        told = end.message if isinstance(end, EpisodeEnded) else ""
        failures = (each for each in self._postponed if isinstance(each, ThreadFailure))
        return next((each for each in failures if told.endswith(each.message)), None)

    @property
    def _ended_from_outside(self) -> bool:
        """Whether a watcher has ended the episode, or it was interrupted; or it is the replay of such an episode."""
        end = self._events[-1]
        if not isinstance(end, EpisodeEnded):
            return False
        again = end.status is Status.model_error and end.message.startswith(f"{ModelError('').kind}: {_INTERRUPTED}")
        return again or bool(end.reason) or end.status is Status.cancelled

    def stop(self) -> None:
        """The episode ends: nobody waits for a turn any more."""
        self.leads = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._let_go.done():
            self._let_go.set_result(None)

    def _last_step(self, event: Event) -> None:
        """Note the last event before the episode ends, in whose moment more may have happened than that."""
        for last in self._events[self._end :]:
            if isinstance(last, ThreadEnded) and last.how is not None and last.reason:
                self._threads.end_from_outside(last.thread, last.how, last.reason, with_episode=True)
        end = self._events[-1]
        if isinstance(end, EpisodeEnded) and end.reason and isinstance(event, ThreadEnded) and event.thread == "0":
            self._threads.stop(end.reason, end.answer)  # before the main thread's result could be the episode's

    def _head(self) -> Event | None:
        """The first event that has not come."""
        return self._events[self._at] if self._at < len(self._events) else None

    def _lead(self) -> None:
        """Let the thread go on whose event is the next one, or end the thread, or the episode, that ended then."""
        head = self._head()
        if not self.leads:
            return
        if head is None:
            self._lead_no_further()  # the recording breaks off
            return
        if self._at >= self._end:
            self._end_episode()
        elif isinstance(head, ThreadEnded) and _from_outside(head):
            self._threads.end_from_outside(head.thread, head.how or Ending.stopped, head.reason)
        waits = self._waiting.get(head.thread)
        if waits is not None:
            if not waits.done() and not _from_outside(head):
                waits.set_result(None)
        elif (failure := _time_was_up(head)) is not None:
            self._clock.cut_off(head.thread, failure)

    def _end_episode(self) -> None:
        """End the episode, where that comes from outside or was postponed."""
        end = self._events[-1]
        if not self._postponed and not self._ended_from_outside:
            if not isinstance(end, EpisodeEnded):
                self._lead_no_further()
            return  # a thread is about to end it
        self.stop()
        if isinstance(end, EpisodeEnded) and end.reason:
            self._threads.stop(end.reason, end.answer)
        elif self._ended_from_outside:
            ended = {event.thread for event in self._events[self._end :]}
            inside = [event.thread for event in self._events if event.thread in ended and isinstance(event, Generating)]
            where = inside[-1] if inside else "0"
            self._threads.finish(ModelError(f"{_INTERRUPTED}, in thread {where}"))
        else:
            self._threads.finish(self._recorded_outcome() or self._postponed[0])

    def _lead_no_further(self) -> None:
        """The episode goes another way than was recorded, or the recording breaks off: it is led no further."""
        self.stop()
        for waits in self._waiting.values():
            if not waits.done():
                waits.set_result(None)
        if self._postponed:
            self._threads.finish(self._postponed[0])

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self._look)

    def _look(self) -> None:
        """Look whether the episode stands still, as it went another way than was recorded."""
        self._timer = None
        if not self.leads or not (self._waiting or self._postponed):
            return
        self._idle = self._idle + 1 if self._seen == self._moved else 0
        self._seen = self._moved
        if self._idle > (_BUSY if self._clock.busy else _QUIET):
            self._lead_no_further()
        else:
            self._watch()


def _end(events: Sequence[Event]) -> int:
    """The place from which on nothing is told but the ends of all that was left, as the episode had ended."""
    place = len(events)
    if events and isinstance(events[-1], EpisodeEnded):  # the log of a killed run may break off before it
        place -= 1
    while place:
        event = events[place - 1]
        if not isinstance(event, ThreadEnded):
            break
        # A thread that ends with the episode has no result, as there is nobody to read one; the main thread may.
        if event.result is not None and not (event.thread == "0" and event.failed):
            break
        place -= 1
    return place


def _fault(events: Sequence[Event], ends: Sequence[Event]) -> tuple[int, str]:
    """The place of the event at which a watcher failed so that no thread could tell of it, and the watcher's words;
    place -1: none did.

    It was the failure of a thread that then ended with the episode, else the end of a thread, else the first start.
    """
    begins, end = f"{_WATCHER_FAILED}: ", ends[-1] if ends else None
    if not isinstance(end, EpisodeEnded) or not end.message.startswith(begins):
        return -1, ""
    if any(isinstance(event, Failed) and event.failure == _WATCHER_FAILED for event in events):
        return -1, ""
    failed = {event.thread for event in ends if isinstance(event, ThreadEnded) and event.how is Ending.failed}
    kind = Failed if failed else ThreadEnded
    places = [
        place
        for place, event in enumerate(events)
        if isinstance(event, kind) and (not failed or event.thread in failed)
    ]
    return (places[-1] if places else len(events) - 1), end.message.removeprefix(begins)


def _from_outside(event: Event) -> bool:
    """Whether a thread was ended by a watcher, by its parent or with the episode."""
    return isinstance(event, ThreadEnded) and event.how in _FROM_OUTSIDE


def _time_was_up(event: Event) -> LimitReached | None:
    """The failure of a thread, if it failed as its time was up."""
    if not isinstance(event, Failed) or event.limit not in _TIMED:
        return None
    return LimitReached(event.limit, event.message, used=event.used, cap=event.cap, owner=event.owner)
