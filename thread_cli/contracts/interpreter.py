"""The contract between the engine and an interpreter, which runs model-written Python over the names of one thread.

Two kinds of failure are never mixed. An error of the code is part of the `Outcome`: the model may read and repair it.
`SessionDead` says that the code took its session down with it; the thread's names live with the engine and survive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Ends", "HostError", "Interpreter", "Names", "Outcome", "SessionDead", "Workspace"]


class Names(dict[str, Any]):
    """Names with their values, as far as the runner understands these.

    `kept` holds the interpreter's own data about values, by name. Only that interpreter looks into them, and it gets
    them back with the names. A key that is no variable name holds data that belong to no single variable.
    """

    __slots__ = ("kept",)

    def __init__(self, values: Mapping[str, Any] | None = None, kept: Mapping[str, Any] | None = None) -> None:
        super().__init__(values or {})
        self.kept: dict[str, Any] = dict(kept or {})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The effects of a piece of code.

    `names` are the names that it bound or may have changed, with their values; where they are `Names`, they carry the
    interpreter's data about these and other names. `gone` are names that it deleted. `printed` is what the last
    statement that printed has printed, None where none did. `error` is one line, `NameError: name 'x' is not defined`.
    `seconds` is how long the code ran, without waiting for its turn.
    """

    names: Mapping[str, Any] = field(default_factory=dict[str, Any])
    printed: str | None = None
    error: str | None = None
    seconds: float = 0.0
    gone: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Workspace:
    """Set-up, functions and files of an episode's analysis sessions, which have pandas, numpy and scipy besides.

    `setup` is Python, run at the beginning of each session, before any code of a thread; its names are there for that
    code. `calls` are functions of the host that the session can call by name: arguments and results are JSON values,
    and a `HostError` is raised in the session as a `RuntimeError`. `readable` are files and folders that code may read.
    All sessions of an episode share one empty folder, which is their working folder and which they may write.
    """

    setup: str = ""
    calls: Mapping[str, Callable[..., Awaitable[Any]]] = field(default_factory=dict[str, Any])
    readable: Sequence[Path] = ()


class HostError(Exception):
    """A function of the host failed, and the code is to see why. The message is one line."""


class SessionDead(Exception):
    """The session died under the code: out of memory in the host, killed, crashed. The message is one line."""


@runtime_checkable
class Interpreter(Protocol):
    """Runs code. Calls of different threads may overlap; a call knows no names but those it is given."""

    patience: float
    """Seconds of running after which no further code of the same text is begun."""

    async def run(self, code: str, names: Mapping[str, Any], *, thread: str = "") -> Outcome:
        """Run `code` with `names` bound. The outcome has the names that the code bound, also if it ended in an error.

        `thread` is a hint, as in a model's request: a session may be kept for the next call of the same thread.

        Raises:
            SessionDead: the session died under the code.
            InterpreterFailed: no session can be had at all.
        """
        ...

    async def close(self) -> None:
        """Release what the interpreter holds. May be called twice."""
        ...


@runtime_checkable
class Ends(Protocol):
    """An interpreter that wants to know when a thread needs it no more."""

    def ended(self, thread: str) -> None:
        """The thread has ended; it runs no more code."""
        ...
