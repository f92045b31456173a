"""What an interpreter is to the engine: it runs Python that a model wrote, over the names of one thread.

Two kinds of failure are never mixed. An error of the code is part of the `Outcome`: the model may read and repair it.
`SessionDead` says that the code took its session down with it; the thread's names live with the engine and survive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["HostError", "Interpreter", "Outcome", "SessionDead", "Workspace"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a piece of code did.

    `names` are the names that it bound or may have changed, with their values. `printed` is what the last statement
    that printed has printed, None where none did. `error` is one line, `NameError: name 'x' is not defined`.
    `seconds` is how long the code ran, without waiting for its turn.
    """

    names: Mapping[str, Any] = field(default_factory=dict[str, Any])
    printed: str | None = None
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Workspace:
    """What the analysis sessions of an episode hold besides pandas, numpy and scipy.

    `setup` is Python, run at the beginning of each session, before any code of a thread; its names are there for that
    code. `calls` are functions of the host that the session can call by name: arguments and results are what JSON can
    say, and a `HostError` is raised in the session as a `RuntimeError`. `readable` are files and folders that code may
    read. All sessions of an episode share one empty folder, which is their working folder and which they may write.
    """

    setup: str = ""
    calls: Mapping[str, Callable[..., Awaitable[Any]]] = field(default_factory=dict[str, Any])
    readable: Sequence[Path] = ()


class HostError(Exception):
    """A call of the host failed in a way that the code should hear of. The message is one line."""


class SessionDead(Exception):
    """The session died under the code: out of memory in the host, killed, crashed. The message is one line."""


@runtime_checkable
class Interpreter(Protocol):
    """Runs code. Calls of different threads may overlap; a call knows no names but those it is given."""

    patience: float
    """Seconds of running after which no further code of the same text is begun."""

    async def run(self, code: str, names: Mapping[str, Any], *, thread: str = "") -> Outcome:
        """Run `code` with `names` bound; what it binds is in the outcome, also where it ended in an error.

        `thread` is a hint, as in a model's request: a session may be kept for the next call of the same thread.

        Raises:
            SessionDead: see there.
            InterpreterFailed: no session can be had at all.
        """
        ...

    async def close(self) -> None:
        """Release what the interpreter holds. May be called twice."""
        ...
