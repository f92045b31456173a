"""The contract of a writer: code that decides what some threads write, in place of a model.

It reads the structure of a thread, and never a prompt. `thread_cli.models.written.Written` makes a model of it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.protocol import Move, Result

__all__ = ["Course", "Decided", "Exchange", "Feedback", "Turn", "Writer"]


class Feedback(NamedTuple):
    """What a thread reads after it has listened.

    `observed`: the environment's answer. `joined`: results of children. `spawned`: the handles of children in the
    background, separated by spaces. `corrected`: the engine's error, in place of any of these.
    """

    kind: Literal["observed", "joined", "spawned", "corrected"]
    text: str
    """The text that it reads, without the wire format's text around it; of several results, each has its own line."""
    results: tuple[Result, ...] = ()
    """The results of the children, in order, where results joined."""

    @property
    def failed(self) -> bool:
        """Whether the engine refused what the thread wrote, or a child did not end by itself."""
        return self.kind == "corrected" or any(result.failed for result in self.results)


class Exchange(NamedTuple):
    """The text that a thread wrote until it listened, without the stop string, and the feedback that it read then."""

    text: str
    feedback: Feedback
    read: str = ""
    """The text that was appended to Y: the feedback, with the wire format's text around it."""
    tokens: Sequence[int] | None = None
    """The token numbers of the text, if the model told them."""
    removed: int = 0
    """Characters that were removed from the end of Y before `read` was appended (`Joining.kept`)."""


class Turn(NamedTuple):
    """The thread that is to go on, as it stands."""

    thread: str
    """Path of the thread."""
    depth: int
    task: str
    """The main thread's context."""
    context: str
    """The context of the thread, as ϕ made it."""
    brief: object = None
    """The object that the parent's writer left for this thread's writer (`Child.brief`)."""
    exchanges: tuple[Exchange, ...] = ()
    """All exchanges of the thread so far, in order."""
    inherits: Turn | None = None
    """The parent as it stood when it spawned this thread, if this thread inherits the parent's text."""
    opening: str = ""
    """The text between the inherited text and the thread's own Y."""
    written: str = ""
    """In a turn that another one `inherits`: the text behind its last exchange, up to the spawn."""
    tokens: Sequence[int] | None = None
    """The token numbers of `written`, if the model told them."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A text with the move that it makes: the wire format is not asked to read one."""

    text: str
    move: Move


Course = Generator[str | Decided, Feedback, str]
"""What one thread writes: it yields each text that ends in listening, is sent the feedback, and returns the last text.

A text holds no stop string. What a course yields may depend on the turn that it began with and the feedback, and on
nothing else: it may be run again from its beginning.
"""


class Writer(Protocol):
    """Code that decides what threads write."""

    def course(self, turn: Turn) -> Course | None:
        """The course of a thread, from its beginning; None for a thread that is the model's."""
        ...
