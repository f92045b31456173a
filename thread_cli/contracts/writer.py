"""What a writer is: code that decides what some threads write, in place of a model.

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
    """What it reads, without what the wire format puts around it; several results stand on lines of their own."""
    results: tuple[Result, ...] = ()
    """Of the children, in order, where results joined."""

    @property
    def failed(self) -> bool:
        """Whether the engine refused what the thread wrote, or a child did not end by itself."""
        return self.kind == "corrected" or any(result.failed for result in self.results)


class Exchange(NamedTuple):
    """What a thread wrote until it listened, without the stop string, and what it read then."""

    text: str
    feedback: Feedback
    read: str = ""
    """What was appended to its Y, with what the wire format puts around the feedback."""
    tokens: Sequence[int] | None = None
    """The token numbers of the text, if the model told them."""


class Turn(NamedTuple):
    """The thread that is to go on, as it stands."""

    thread: str
    """Its path."""
    depth: int
    task: str
    """The main thread's context."""
    context: str
    """The thread's own, as ϕ made it."""
    brief: object = None
    """What the writer that spawned it had to say to its writer (`Child.brief`)."""
    exchanges: tuple[Exchange, ...] = ()
    """All that it has written and read so far, in order."""
    inherits: Turn | None = None
    """Its parent as it stood when it spawned this thread, if this thread's prompt goes on from there."""
    opening: str = ""
    """The text between what it inherits and its own Y."""
    written: str = ""
    """What a thread from which others inherit had written, and not read an answer to, when it spawned them."""
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
