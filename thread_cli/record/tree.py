"""The tree of an episode's threads, from its events alone: who wrote what, with which probability, and what came of it.

This is what training on roll-outs needs. The few-shot prompt is no event: it stands before the context of each thread,
the same for all, and is kept with the run (`RunFolder.prompts`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import (
    Corrected,
    EpisodeEnded,
    EpisodeStarted,
    Generated,
    Joined,
    Observed,
    Removed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from thread_cli.contracts.errors import Ending, Status
    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import StopReason

__all__ = ["Branch", "Removal", "Segment", "Tree", "tree_of"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a thread's Y."""

    text: str
    writer: str
    """Path of the thread that wrote it; empty for an observation, and for text that the wire format adds."""
    stop: StopReason | None = None
    """Why its generation ended; None for text that was not generated. The stop string begins the next segment."""
    tokens: tuple[tuple[str, float], ...] = ()
    """Its tokens, each with the natural logarithm of its probability, where they were recorded."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Text that the model saw and wrote until the results of children took its place."""

    at: int
    """How many segments stood before it; they join to the prompt that it continued."""
    segments: tuple[Segment, ...]
    """What was removed. A recorded token that the cut divides is in none of the segments."""


@dataclass(slots=True, eq=False)
class Branch:
    """One thread. `segments` join to its Y, `children` are in the order in which they began."""

    path: str
    parent: Branch | None
    context: str
    opening: str | None = None
    """The text before its Y, where its wire format does not say it."""
    inherits: int | None = None
    """How many of its parent's segments, as they were when it was spawned, its prompt goes on from; None where it has a
    context of its own.
    """
    segments: list[Segment] = field(default_factory=list[Segment])
    removals: list[Removal] = field(default_factory=list[Removal])
    """Text that was part of its Y and is no more, oldest first."""
    children: list[Branch] = field(default_factory=list["Branch"])
    result: str | None = None
    how: Ending | None = None
    """None while it has not ended, and in logs of earlier versions."""
    spawned: int = 0
    """How many segments it had when it spawned the newest of its children."""

    @property
    def y(self) -> str:
        """All text that it wrote and read."""
        return "".join(segment.text for segment in self.segments)


@dataclass(slots=True, eq=False)
class Tree:
    """An episode. Until it has ended, the fields that its end sets are None."""

    environment: str
    task: str
    category: str
    policy: str
    """The version of the model that wrote it; empty where it was not recorded."""
    threads: dict[str, Branch] = field(default_factory=dict[str, Branch])
    """By path, in the order in which they began; `0` is the main thread."""
    status: Status | None = None
    reward: float | None = None
    marks: Mapping[str, float] = field(default_factory=dict[str, float])


def tree_of(events: Iterable[Event]) -> Tree:
    """The tree of an episode, as far as its events go.

    Raises:
        UserError: they do not begin with the start of an episode.
    """
    stream = iter(events)
    started = next(stream, None)
    if not isinstance(started, EpisodeStarted):
        raise UserError("the events do not begin with the start of an episode")
    tree = Tree(started.environment, started.task, started.category, started.policy)
    for event in stream:
        if isinstance(event, EpisodeEnded):
            tree.status, tree.reward, tree.marks = event.status, event.reward, event.marks
        elif isinstance(event, ThreadStarted):
            _begin(tree, event)
        elif event.thread in tree.threads:
            _take(tree.threads[event.thread], event)
    return tree


def _begin(tree: Tree, event: ThreadStarted) -> None:
    parent = None if event.parent is None else tree.threads[event.parent]
    inherits = parent.spawned if parent is not None and event.inherits else None
    branch = tree.threads[event.thread] = Branch(event.thread, parent, event.context, event.opening, inherits)
    if parent is not None:
        parent.children.append(branch)


def _take(branch: Branch, event: Event) -> None:
    match event:
        case Generated():
            branch.segments.append(Segment(event.text, event.thread, event.stop, event.tokens))
        case Joined(segments=parts) if parts:
            at = 0
            for writer, length in parts:
                branch.segments.append(Segment(event.text[at : at + length], writer))
                at += length
        case Spawned():
            branch.spawned = len(branch.segments)
            if not event.waits:
                branch.segments.append(Segment(event.text, ""))
        case Observed() | Joined() | Corrected():
            branch.segments.append(Segment(event.text, ""))
        case Removed():
            _remove(branch, event.kept)
        case ThreadEnded():
            branch.result, branch.how = event.result, event.how
        case _:
            pass


def _remove(branch: Branch, kept: int) -> None:
    """Cut the branch's Y after `kept` characters."""
    at = 0
    while kept and at < len(branch.segments) and kept >= len(branch.segments[at].text):
        kept -= len(branch.segments[at].text)
        at += 1
    if kept:
        branch.segments[at : at + 1] = _cut(branch.segments[at], kept)
        at += 1
    branch.removals.append(Removal(at, tuple(branch.segments[at:])))
    del branch.segments[at:]


def _cut(segment: Segment, kept: int) -> tuple[Segment, Segment]:
    """The two parts of a segment that is cut after `kept` characters."""
    first: list[tuple[str, float]] = []
    last: list[tuple[str, float]] = []
    end = 0
    for token in segment.tokens:
        begin, end = end, end + len(token[0])
        if end <= kept:
            first.append(token)
        elif begin >= kept:
            last.append(token)
    return (
        Segment(segment.text[:kept], segment.writer, None, tuple(first)),
        Segment(segment.text[kept:], segment.writer, segment.stop, tuple(last)),
    )
