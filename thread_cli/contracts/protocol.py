"""The contract between the engine and a protocol, which reads a move from generated text, and writes the text that the
thread reads next.

The THREAD protocol spawns one child at a time; the engine takes a list, so that fork-join protocols are the same to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple, runtime_checkable
from typing import Protocol as TypingProtocol

from thread_cli.contracts.errors import Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


__all__ = [
    "Act",
    "Aside",
    "Await",
    "Child",
    "End",
    "Handles",
    "Joining",
    "Move",
    "Orphans",
    "Protocol",
    "Result",
    "Returns",
    "Segment",
    "Spawn",
    "StopReason",
    "Which",
    "Whole",
]

StopReason = Literal["listen", "end", "stop", "length", "cut"]
"""Why a generation ended.

`listen`: the first of the request's stop strings was written. `end`: another of them was, or the model ended its text.
`stop`: one of the two, and the backend cannot tell which. `length`: `max_tokens` were written.
`cut`: the call was cancelled, or its time was up, and this is what was written until then.
"""

Which = Literal["all", "any"]
"""Whether a thread waits until all of its children have ended, or until one has."""


class Orphans(StrEnum):
    """What becomes of the children that are alive when their parent returns without having awaited them.

    Where the parent fails, is pruned or is stopped, they are stopped, whatever the rule.
    """

    awaited = "awaited"
    """The parent ends after them. Nobody reads their results or gets their names."""
    detached = "detached"
    """They go on below the nearest ancestor that is alive, and the rule holds for them again when that one returns.
    When the main thread returns, they are stopped."""
    stopped = "stopped"
    """They end with their parent, and with them all below them."""


class Child(NamedTuple):
    """A child that is to be spawned. A plain line stands for `Child(line)`."""

    line: str = ""
    """The parent's line, from which ϕ makes the child's context."""
    context: str | None = None
    """The context itself; no ϕ is asked then."""
    inherits: bool = False
    """Whether the child's prompt continues its parent's text; the common prefix is evaluated once."""
    opening: str | None = None
    """The text before its Y, after inherited text; None: as its wire format opens a context."""
    stop: tuple[str, ...] | None = None
    """Its stop strings, the first of which is ω_listen; None: those of its wire format."""
    protocol: Protocol | None = None
    """The wire format of the child and of all threads below it; None: its parent's."""
    brief: object = None
    """An object from the parent's writer for the child's writer, which finds it in `Turn.brief`. No text has it."""
    name: str = ""
    """The variable that gets the result of a child in the background. The thread reads `{name}` in place of a handle,
    and waits for the child, and all spawned before it, where it first needs the variable, or acts, waits or ends."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start children, and wait for all of them.

    `repaired`: the text was not quite in the protocol, but its intent was plain.
    """

    lines: tuple[str | Child, ...]
    repaired: bool = False
    waits: bool = True
    """False: the thread goes on at once, and may await the children later. Its wire format has to have `Handles`."""
    join: Callable[[Sequence[Result]], str | Sequence[Segment] | Joining] | None = None
    """Joins the results of these children, for which the thread waits; None: as its wire format joins results. Without
    children it is asked all the same, and the thread goes on with its text."""
    repairs: tuple[str, ...] = ()
    """Names of the repairs to the text, where there are several kinds; one event `repaired` each."""


@dataclass(frozen=True, slots=True)
class Await:
    """Wait for children in the background, which `Spawn(…, waits=False)` started, and join their results.

    The thread reads an error where a handle is unknown or was awaited already, or where there is nothing to await.
    """

    handles: tuple[str, ...] = ()
    """Handles of the children; empty: all that were not awaited yet. Results join in the order of spawning."""
    which: Which = "all"
    """With `any`, one child is joined: the first to end or, of several that have ended already, the first one spawned.
    The others can still be awaited."""
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """Act on the environment. `{name}` in the line stands for the variable's value, unless it is `verbatim`."""

    line: str
    """The action; it may have several lines where the wire format has a fence."""
    repaired: bool = False
    verbatim: bool = False
    """Whether braces in the action stay as they are, as in a program."""


@dataclass(frozen=True, slots=True)
class End:
    """The thread ends."""

    closed: bool = field(default=True, repr=False)
    """False: its text breaks off before the end that the wire format wants."""


Move = Spawn | Await | Act | End
"""What a thread does once it listens or ends."""


@dataclass(frozen=True, slots=True)
class Aside:
    """Run children beside a text that is not finished, and then go on with it: the thread reads nothing of them.

    No wire format reads this in a text: it comes with a completion that was cut off on purpose (`Completion.move`).
    The children's names do not join, and code in the text is run once the text is finished.
    """

    children: tuple[Child, ...]


class Result(NamedTuple):
    """A child's result for its parent.

    `failed`: the text is a message about a failure or a pruning, with the partial result.
    """

    text: str
    failed: bool = False
    how: Ending = Ending.returned
    y: str = ""
    """The child's whole Y."""
    handle: str = ""
    """The child's handle, where it ran in the background."""
    closed: bool = True
    """False: the child's text breaks off before the end that its wire format wants (`End.closed`)."""


class Segment(NamedTuple):
    """A part of the text in which results join. `child` is the index of the child that wrote it; None: the wire format
    did.
    """

    text: str
    child: int | None = None


@dataclass(frozen=True, slots=True)
class Joining:
    """The text in which results join, and what becomes of the thread that reads it."""

    parts: str | Sequence[Segment]
    ends: bool = False
    """Whether the thread ends with this text, which is not the end that its own parent's format wants."""
    repairs: tuple[str, ...] = ()
    """Names of the repairs to what the children have written; one event `repaired` each."""
    kept: int | None = None
    """Characters of the thread's Y that stay: those behind them are removed, and the text stands in their place. None:
    all stay."""


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
        """The text appended to Y once all children have ended; segments also name the writer of each part."""
        ...

    def answer(self, observation: str) -> str:
        """The text appended to Y once an action was answered."""
        ...


@runtime_checkable
class Returns(TypingProtocol):
    """A wire format that says itself what its threads return, besides what `Protocol` says; ψ is not asked then."""

    def returns(self, y: str) -> str:
        """The result of a thread, from its Y; empty where it returns nothing."""
        ...


@runtime_checkable
class Whole(TypingProtocol):
    """A wire format whose threads return texts that are answers only as a whole: their last lines are what a vote over
    several of them compares, and say no more than how it went. Or an environment whose answers are texts of several
    steps, which no thread can give in a line while it writes. `whole_answers` is true.
    """

    whole_answers: bool


@runtime_checkable
class Handles(TypingProtocol):
    """A wire format whose threads may have children in the background, besides what `Protocol` says."""

    def spawned(self, handles: Sequence[str]) -> str:
        """The text appended to Y once children were started that the thread does not wait for.

        A handle is the place of a child among all children of its parent, from 0, in decimal digits: the last part of
        the child's path. It never changes. A child that could not be born has one too, and awaiting it gives the
        account of why. `handles` are in the order of `Spawn.lines`.
        """
        ...
