"""What an interpreter is to the engine: it runs Python that a model wrote, over the names of one thread.

Two kinds of failure are never mixed. An error of the code is part of the `Outcome`: the model may read and repair it.
`SessionDead` says that the code took its session down with it; the thread's names live with the engine and survive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Interpreter", "Outcome", "SessionDead"]


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


class SessionDead(Exception):
    """The session died under the code: out of memory in the host, killed, crashed. The message is one line."""


@runtime_checkable
class Interpreter(Protocol):
    """Runs code. Calls of different threads may overlap; nothing of one call is left for the next."""

    async def run(self, code: str, names: Mapping[str, Any]) -> Outcome:
        """Run `code` with `names` bound; what it binds is in the outcome, also where it ended in an error.

        Raises:
            SessionDead: see there.
            InterpreterFailed: no session can be had at all.
        """
        ...

    async def close(self) -> None:
        """Release what the interpreter holds. May be called twice."""
        ...
