"""When each thread of an episode did what, from the events alone: stretches of time, and who started and joined whom.

A thread asks a model, acts, waits, or does none of these: then the engine, or the thread's Python, works for it. A
call's queueing and backing off, and an action's wait for other threads' actions, are put before the call or the action.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import Ending
from thread_cli.contracts.events import (
    Acted,
    Awaiting,
    EpisodeEnded,
    Failed,
    Generated,
    Generating,
    Joined,
    Observed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.contracts.events import Event

__all__ = ["Arrow", "Doing", "Line", "Span", "Timeline"]


_LEAST_WAIT: Final = 0.001
"""Seconds; a shorter pause is no wait but the engine's own work."""


class Doing(StrEnum):
    """What a thread does in a stretch of time."""

    model = "model"
    """A model call is under way."""
    action = "action"
    """The environment carries an action out."""
    waiting = "waiting"
    """It waits: for children, for its turn to call a model, or for its turn to act."""
    other = "other"
    """The engine or the thread's Python works."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in seconds since the episode began. `event` is the one that ended it, if one did."""

    doing: Doing
    start: float
    end: float
    event: Event | None = None

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(slots=True, eq=False)
class Line:
    """One thread. Its spans follow one another without gaps; those that last no time are left out."""

    path: str
    parent: str | None
    depth: int
    context: str
    start: float
    end: float
    spans: list[Span] = field(default_factory=list[Span])
    how: Ending | None = None
    """None while it has not ended."""
    failed: bool = False
    doing: Doing = Doing.other
    since: float = 0.0
    awaited: tuple[str, ...] = ()
    """Children in the background that it waits for."""
    spawned: float = 0.0
    """When it spawned the newest of its children."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """One thread makes another go on: a parent starts a child (`spawn`), or a child's end frees its parent (`join`)."""

    kind: str
    source: str
    left: float
    """When it leaves the source, in seconds since the episode began."""
    target: str
    arrived: float


class Timeline:
    """The lines of all threads of an episode so far, by path, in the order of their beginnings; and the arrows."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.arrows: list[Arrow] = []
        self.seconds = 0.0
        """Wall time: the time of the newest event."""

    @classmethod
    def of(cls, events: Iterable[Event]) -> Timeline:
        """The timeline of all `events`. Threads that have not ended are drawn up to the last of them."""
        made = cls()
        for event in events:
            made.add(event)
        made.settle()
        return made

    def add(self, event: Event) -> None:
        """Add the next event."""
        self.seconds = max(self.seconds, event.time)
        line = self.lines.get(event.thread)
        if isinstance(event, ThreadStarted):
            self._start(event, line)
        elif line is not None and not isinstance(event, EpisodeEnded):
            self._go_on(line, event)

    def settle(self) -> None:
        """Draw the threads that have not ended up to the newest event."""
        for line in self.lines.values():
            if line.how is None:
                _turn(line, line.doing, self.seconds)
                line.end = self.seconds

    def _start(self, event: ThreadStarted, before: Line | None) -> None:
        parent = self.lines.get(event.parent) if event.parent is not None else None
        if before is None:
            self.lines[event.thread] = line = Line(
                event.thread, event.parent, event.depth, event.context, event.time, event.time, since=event.time
            )
        else:  # it begins again, after a first try
            line = before
            _turn(line, Doing.other, event.time)
            line.how, line.failed, line.end = None, False, event.time
        if parent is not None:
            self.arrows.append(Arrow("spawn", parent.path, min(parent.spawned, event.time), line.path, event.time))

    def _go_on(self, line: Line, event: Event) -> None:
        now = line.end = event.time
        match event:
            case Generating():
                _turn(line, Doing.model, now)
            case Generated():
                _turn(line, Doing.other, now, event, idle=event.waited)
            case Acted():
                _turn(line, Doing.action, now)
            case Observed():
                # Between the environment's answer and the event lies the wait for other threads' actions.
                _turn(line, Doing.other, now, event, idle=max(0.0, now - line.since - event.seconds))
            case Failed() if line.doing in {Doing.model, Doing.action}:
                _turn(line, Doing.other, now, event)
            case Spawned():
                line.spawned = now
                if event.waits:
                    _turn(line, Doing.waiting, now)
            case Awaiting():
                line.awaited = event.children
                _turn(line, Doing.waiting, now)
            case Joined():
                self._join(event.children, line, now)
                _turn(line, Doing.other, now, event)
            case ThreadEnded():
                if event.how is Ending.returned:
                    self._join(line.awaited, line, now)
                line.how, line.failed = event.how or (Ending.failed if event.failed else Ending.returned), event.failed
                _turn(line, Doing.other, now, event)
            case _:
                pass

    def _join(self, children: Iterable[str], line: Line, now: float) -> None:
        for child in children:
            ended = self.lines.get(child)
            if ended is not None:
                self.arrows.append(Arrow("join", child, min(ended.end, now), line.path, now))
        line.awaited = ()


def _turn(line: Line, doing: Doing, now: float, event: Event | None = None, idle: float = 0.0) -> None:
    """The thread does something else from `now` on; the first `idle` seconds of what it did were a wait."""
    begun = line.since
    if idle > _LEAST_WAIT:
        begun = min(begun + idle, now)
        line.spans.append(Span(Doing.waiting, line.since, begun))
    if now > begun:
        line.spans.append(Span(line.doing, begun, now, event))
    line.doing, line.since = doing, now
