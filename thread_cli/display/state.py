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
    CodeRan,
    Corrected,
    EpisodeEnded,
    EpisodeStarted,
    Event,
    Failed,
    Generated,
    Generating,
    Joined,
    Observed,
    Repaired,
    Spawned,
    ThreadEnded,
    ThreadStarted,
    Totals,
)
from thread_cli.contracts.model import Local
from thread_cli.display.text import headline
from thread_cli.record.critical import CriticalPath

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.contracts.errors import Status

__all__ = ["Phase", "ThreadState", "TreeState", "ended_as"]


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


def ended_as(event: ThreadEnded) -> Phase:
    """The state of a thread that has ended. A thread that the end of a solved episode stopped is done."""
    if not event.failed:
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
    spawn_line: str | None = None
    generated_tokens: int = 0
    ended: float | None = None
    result: str | None = None
    failure: str | None = None
    how: Ending | None = None
    reason: str = ""
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
        self.calls = self.retries = self.repairs = self.actions = self.depth = self.token_latency = 0
        self.prompt_tokens = self.cached_tokens = self.repeated_tokens = self.generated_tokens = 0
        self.estimated = False
        """Whether some of the tokens are estimates."""
        self.cached_known = True
        self.cost: float | None = None
        self.local: Local | None = None
        """Work of a model on this machine."""
        self.status: Status | None = None
        self.reward: float | None = None
        self.message = ""
        self.view = ""
        """The newest rendering of its state by the environment; without any, its newest answer of several lines."""
        self._critical = CriticalPath()
        self._rendered = False
        self._priced = True
        self._changed: dict[int, dict[str, ThreadState]] = {}

    def apply(self, event: Event) -> None:
        """Add the next event of the stream."""
        if isinstance(event, EpisodeStarted):
            self.clear()
            self.environment, self.task, self.category = event.environment, event.task, event.category
            return
        self.time = max(self.time, event.time)
        self._critical.add(event)
        self.token_latency = self._critical.tokens
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
                self._generated(thread, event)
            case CodeRan():
                thread.error = event.error
            case Acted():
                thread.action, thread.observation = event.action, None
                self.actions += 1
                self._enter(thread, Phase.acting)
            case Observed():
                thread.observation = event.observation
                self._look(event)
                self._enter(thread, Phase.generating)
            case Spawned():
                thread.spawn_line = thread.line
                self._enter(thread, Phase.waiting)
            case Joined():
                self._enter(thread, Phase.generating)
            case Corrected():
                thread.error = event.text
                self._enter(thread, Phase.generating)
            case Repaired():
                self.repairs += 1
            case Failed():
                thread.failure = f"{event.failure}: {event.message}" if event.message else event.failure
            case ThreadEnded():
                thread.result, thread.ended = event.result, event.time
                thread.how, thread.reason = event.how, event.reason
                self._enter(thread, ended_as(event))

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
        self.threads[thread.path] = self.recent[thread.path] = self.active[thread.path] = thread
        self.phases[thread.phase] += 1
        self.depth = max(self.depth, event.depth)
        if parent is None:
            self.main = self.main or thread
            return
        if parent.children and parent.children[-1].index > index:
            insort(parent.children, thread, key=lambda child: child.index)
        else:
            parent.children.append(thread)
        self._count(parent, 1, 0, 0)

    def _generated(self, thread: ThreadState, event: Generated) -> None:
        thread.line = headline(event.text)
        thread.generated_tokens += event.generated_tokens
        self.calls += 1
        self.retries += event.retries
        self.prompt_tokens += event.prompt_tokens
        self.cached_tokens += event.cached_tokens
        self.repeated_tokens += event.repeated_tokens
        self.generated_tokens += event.generated_tokens
        self.estimated = self.estimated or event.estimated
        self.cached_known = self.cached_known and event.cached_known
        if event.local is not None:
            self.local = (self.local or Local()) + event.local
        self._priced = self._priced and event.cost is not None
        self.cost = (self.cost or 0.0) + (event.cost or 0.0) if self._priced else None

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
        self._adopt(event.totals)

    def _adopt(self, totals: Totals) -> None:
        self.calls, self.actions = totals.calls, totals.actions
        self.retries, self.repairs = totals.retries, totals.repairs
        self.prompt_tokens, self.cached_tokens = totals.prompt_tokens, totals.cached_tokens
        self.repeated_tokens, self.generated_tokens = totals.repeated_tokens, totals.generated_tokens
        self.local = totals.local
        self.estimated, self.cached_known = totals.estimated, totals.cached_known
        self.depth, self.token_latency, self.cost = totals.depth, totals.token_latency, totals.cost

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
