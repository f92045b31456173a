"""What a protocol is to the engine: it reads a move out of generated text, and writes what the thread reads next.

The THREAD protocol spawns one child at a time; the engine takes a list, so that fork-join protocols are the same to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol as TypingProtocol

from thread_cli.contracts.errors import Ending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.model import StopReason

__all__ = ["Act", "Child", "End", "Move", "Protocol", "Result", "Segment", "Spawn"]


@dataclass(frozen=True, slots=True)
class Child:
    """A child that is to be spawned. A plain line stands for `Child(line)`."""

    line: str = ""
    """What the parent wrote; ϕ makes the child's context of it."""
    context: str | None = None
    """The context itself; no ϕ is asked then."""
    inherits: bool = False
    """Whether the child reads all that its parent has read and written; what both begin with is evaluated once."""
    opening: str | None = None
    """The text before its Y, behind what it inherits; None: as its wire format opens a context."""
    stop: tuple[str, ...] | None = None
    """Its stop strings, the first of which is ω_listen; None: those of its wire format."""
    protocol: Protocol | None = None
    """Its wire format, and of all below it; None: its parent's."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start children, and wait for all of them.

    `repaired` where the text was not quite of the protocol, but its intent plain.
    """

    lines: tuple[str | Child, ...]
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """Act on the environment. `{name}` in the line stands for the variable's value, unless it is `verbatim`."""

    line: str
    """The action; of several lines where the wire format fences them."""
    repaired: bool = False
    verbatim: bool = False
    """Whether braces are the action's own, as in a program."""


@dataclass(frozen=True, slots=True)
class End:
    """The thread ends."""


Move = Spawn | Act | End


@dataclass(frozen=True, slots=True)
class Result:
    """What a child gave its parent.

    `failed` where it is the account of a failure, or of why the child was pruned, with what it would have returned so
    far.
    """

    text: str
    failed: bool = False
    how: Ending = Ending.returned
    y: str = ""
    """All that the child has written and read."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the text in which results join. `child` is the place of the child that wrote it; None: nobody did."""

    text: str
    child: int | None = None


class Protocol(TypingProtocol):
    """A wire format."""

    stop: tuple[str, ...]
    """Stop strings of every call; the first is ω_listen, all others end the thread."""

    def open(self, context: str) -> str:
        """The text between the few-shot prompt and a thread's Y."""
        ...

    def read(self, y: str, stop: StopReason) -> Move:
        """The move that Y ends with.

        Raises:
            MalformedOutput: no move can be made of it.
        """
        ...

    def body(self, text: str, stop: StopReason) -> str:
        """The part of freshly generated text in which code may stand: without the line that makes the move."""
        ...

    def join(self, results: Sequence[Result]) -> str | Sequence[Segment]:
        """The text appended to Y once all children have ended; in segments, it tells who wrote what."""
        ...

    def answer(self, observation: str) -> str:
        """The text appended to Y once an action was answered."""
        ...
