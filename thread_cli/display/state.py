"""Folds the event stream into the tree that the displays draw, in constant time per event.

Counts over subtrees are brought up to date by `settle`, once per drawing: it visits only the threads that changed and
the ones above them.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from thread_cli.contracts.errors import Ending
from thread_cli.contracts.events import (
    Acted,
    Awaiting,
    CodeRan,
    Conflicted,
    Corrected,
    EpisodeEnded,
    EpisodeStarted,
    Event,
    Failed,
    Generated,
    Generating,
    Joined,
    Observed,
    Removed,
    Repaired,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)
from thread_cli.display.text import headline
from thread_cli.record.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from thread_cli.contracts.errors import Status
    from thread_cli.contracts.events import Totals
    from thread_cli.contracts.protocol import Which

__all__ = ["Phase", "ThreadState", "TreeState", "ended_as", "waits_for"]

_NAMED = 8
"""How many threads are told by name."""
_MEASURED = frozenset(("context_window", "forks", "parallel_forks", "model_seconds", "seconds"))
"""Sums that earlier versions did not record."""


class Phase(StrEnum):
    """The state of a thread."""

    generating = "generating"
    acting = "acting"
    waiting = "waiting"
    done = "done"
    failed = "failed"
    stopped = "stopped"
    """Something else ended before the thread did."""

    @property
    def ended(self) -> bool:
        return self in {Phase.done, Phase.failed, Phase.stopped}


def waits_for(children: Collection[str], which: Which) -> str:
    """Whom a thread waits for, in words; without `children`, for any of its own."""
    count = len(children)
    named = ", ".join(children) if 0 < count <= _NAMED else f"{count:,} threads" if count else "its threads"
    return f"waits for any of {named}" if which == "any" and count != 1 else f"waits for {named}"


def ended_as(event: ThreadEnded) -> Phase:
    """The state of a thread that has ended. One that the end of a solved episode stopped is done, if not pruned."""
    if not event.failed and event.how is not Ending.pruned:
        return Phase.done
    return Phase.stopped if event.how in {Ending.pruned, Ending.stopped} else Phase.failed


@dataclass(slots=True, eq=False)
class ThreadState:
    """One thread as the displays know it.

    `total`, `done` and `failed` count the threads of its subtree, itself included, as of the last `TreeState.settle`.
    """

    path: str
    parent: ThreadState | None
    depth: int
    index: int
    context: str
    started: float
    title: str = ""
    phase: Phase = Phase.generating
    action: str | None = None
    observation: str | None = None
    line: str = ""
    waits: Which | None = None
    """Whether it waits for all or any of `awaited`, if it waits for several children, or for any in the background."""
    awaited: dict[str, None] = field(default_factory=dict[str, None])
    """Paths of those of these children that have not ended; empty: any of its children in the background will do."""
    awaiter: ThreadState | None = None
    """The thread that waits for it, if that waits for several or for threads in the background."""
    beside: bool = False
    """Whether it was spawned to run at the same time as others, so that it is told apart from them by its path."""
    generated_tokens: int = 0
    ended: float | None = None
    result: str | None = None
    failure: str | None = None
    how: Ending | None = None
    reason: str = ""
    conflict: str = ""
    """The action that was answered otherwise at the join, so that none of its actions was kept."""
    error: str | None = None
    children: list[ThreadState] = field(default_factory=list["ThreadState"])
    total: int = 1
    done: int = 0
    failed: int = 0
    pending: list[int] = field(default_factory=lambda: [0, 0, 0])

    def seconds(self, now: float) -> float:
        """Seconds that the thread has lived at `now`, in seconds since the episode began."""
        return (now if self.ended is None else self.ended) - self.started


class TreeState:
    """The tree of one episode. A second `EpisodeStarted` begins it anew."""

    def __init__(self) -> None:
        self.clear()

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """The tree after all of `events`."""
        state = cls()
        for event in events:
            state.apply(event)
        return state

    def clear(self) -> None:
        """Forget everything."""
        self.environment = ""
        self.task = ""
        self.category = ""
        self.main: ThreadState | None = None
        self.threads: dict[str, ThreadState] = {}
        self.recent: OrderedDict[str, ThreadState] = OrderedDict()
        """All threads, in the order of their last events."""
        self.active: OrderedDict[str, ThreadState] = OrderedDict()
        """The threads that generate or act."""
        self.failures: list[ThreadState] = []
        self.phases: Counter[Phase] = Counter()
        self.time = 0.0
        self.status: Status | None = None
        self.reward: float | None = None
        self.message = ""
        self.view = ""
        """The newest rendering of its state by the environment; without any, its newest answer of several lines."""
        self._sums = Sums()
        self._recorded: Totals | None = None
        self._rendered = False
        self._beside: set[str] = set()
        """Paths of threads that are about to begin and run at the same time as others."""
        self._changed: dict[int, dict[str, ThreadState]] = {}

    @property
    def totals(self) -> Totals:
        """The sums over the events so far; once the episode has ended, those that it was recorded with."""
        return self._recorded or self._sums.totals()

    def apply(self, event: Event) -> None:
        """Add the next event of the stream."""
        if isinstance(event, EpisodeStarted):
            self.clear()
            self.environment, self.task, self.category = event.environment, event.task, event.category
            return
        self.time = max(self.time, event.time)
        self._sums.add(event)
        if isinstance(event, EpisodeEnded):
            self._end(event)
            return
        if isinstance(event, ThreadStarted):
            self._start(event)
            return
        thread = self.threads.get(event.thread)
        if thread is None:
            return
        self.recent.move_to_end(thread.path)
        match event:
            case Generating():
                self._enter(thread, Phase.generating)
            case Generated():
                thread.line = headline(event.text)
                thread.generated_tokens += event.generated_tokens
            case CodeRan():
                thread.error = event.error
            case Acted():
                thread.action, thread.observation = event.action, None
                self._enter(thread, Phase.acting)
            case Observed():
                thread.observation = event.observation
                self._look(event)
                self._enter(thread, Phase.generating)
            case Spawned():
                if len(event.children) > 1 or not event.waits:
                    self._beside.update(event.children)
                if event.waits:
                    self._enter(thread, Phase.waiting)
                    if len(event.children) > 1:
                        thread.waits, thread.awaited = "all", dict.fromkeys(event.children)
            case Awaiting():
                self._await(thread, event)
                self._enter(thread, Phase.waiting)
            case Joined():
                thread.waits = None
                self._enter(thread, Phase.generating)
            case Corrected():
                thread.error = event.text
                self._enter(thread, Phase.generating)
            case Failed():
                thread.failure = f"{event.failure}: {event.message}" if event.message else event.failure
            case ThreadEnded():
                thread.result, thread.ended = event.result, event.time
                thread.how, thread.reason = event.how, event.reason
                self._enter(thread, ended_as(event))
                if thread.awaiter is not None:
                    thread.awaiter.awaited.pop(thread.path, None)
            case Conflicted():
                if event.child in self.threads:
                    self.threads[event.child].conflict = event.action
            case Repaired() | Removed():
                pass

    def settle(self) -> None:
        """Bring the counts over subtrees up to date."""
        for depth in range(max(self._changed, default=-1), -1, -1):
            for thread in self._changed.pop(depth, {}).values():
                total, done, failed = thread.pending
                thread.pending = [0, 0, 0]
                thread.total += total
                thread.done += done
                thread.failed += failed
                if thread.parent is not None:
                    self._count(thread.parent, total, done, failed)

    def _start(self, event: ThreadStarted) -> None:
        parent = self.threads.get(event.parent) if event.parent is not None else None
        index = int(event.thread.rpartition(".")[2])
        thread = ThreadState(event.thread, parent, event.depth, index, event.context, event.time)
        thread.title = headline(event.context)
        if event.thread in self._beside:
            self._beside.remove(event.thread)
            thread.beside = True
        if parent is not None and event.thread in parent.awaited:
            thread.awaiter = parent
        self.threads[thread.path] = self.recent[thread.path] = self.active[thread.path] = thread
        self.phases[thread.phase] += 1
        if parent is None:
            self.main = self.main or thread
            return
        if parent.children and parent.children[-1].index > index:
            insort(parent.children, thread, key=lambda child: child.index)
        else:
            parent.children.append(thread)
        self._count(parent, 1, 0, 0)

    def _await(self, thread: ThreadState, event: Awaiting) -> None:
        """Note whom a thread waits for: those that have ended already only where all of them have."""
        children = [self.threads[path] for path in event.children if path in self.threads]
        alive = [child for child in children if not child.phase.ended]
        thread.waits, thread.awaited = event.which, dict.fromkeys([child.path for child in alive] or event.children)
        for child in alive:
            child.awaiter = thread

    def _look(self, event: Observed) -> None:
        if event.view.strip():
            self.view, self._rendered = event.view, True
        elif not self._rendered and "\n" in event.observation.strip():
            self.view = event.observation

    def _end(self, event: EpisodeEnded) -> None:
        for thread in [thread for thread in self.threads.values() if not thread.phase.ended]:
            thread.ended = event.time
            self._enter(thread, Phase.failed if thread.failure is not None else Phase.stopped)
        self.status, self.reward, self.message = event.status, event.reward, event.message
        found = self._sums.totals()
        missing = {name: getattr(found, name) for name in _MEASURED - event.totals.model_fields_set}
        self._recorded = event.totals.model_copy(update=missing)

    def _enter(self, thread: ThreadState, phase: Phase) -> None:
        before = thread.phase
        thread.phase = phase
        self.phases[before] -= 1
        self.phases[phase] += 1
        if phase in {Phase.generating, Phase.acting}:
            self.active[thread.path] = thread
            self.active.move_to_end(thread.path)
        else:
            self.active.pop(thread.path, None)
        done = (phase is Phase.done) - (before is Phase.done)
        failed = (phase is Phase.failed) - (before is Phase.failed)
        if failed > 0:
            self.failures.append(thread)
        if done or failed:
            self._count(thread, 0, done, failed)

    def _count(self, thread: ThreadState, total: int, done: int, failed: int) -> None:
        thread.pending[0] += total
        thread.pending[1] += done
        thread.pending[2] += failed
        self._changed.setdefault(thread.depth, {})[thread.path] = thread
