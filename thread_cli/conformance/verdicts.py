"""Verdicts of checks, shared by all suites."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["Failure", "NotApplicable", "Verdict", "judged", "require"]

_LONGEST: Final = 300
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one check; `why` is one line if it was not passed."""

    check: str
    outcome: Literal["passed", "failed", "does not apply"]
    why: str = ""


class Failure(Exception):
    """The object under check breaks a requirement."""


class NotApplicable(Exception):
    """There is nothing to check, for the reason given."""


def require(holds: object, why: str) -> None:
    """Require that something holds.

    Raises:
        Failure: it does not, for the reason given.
    """
    if not holds:
        raise Failure(why)


async def judged(
    check: str, running: Awaitable[object], patience: float, *, passing: tuple[type[Exception], ...] = ()
) -> Verdict:
    """Run a check and return its verdict.

    Args:
        check: its name.
        running: the check itself.
        patience: seconds that it may take.
        passing: exceptions to pass on, which say nothing about the object under check.

    Raises:
        Exception: one of `passing`.
    """
    timeout = asyncio.timeout(patience)
    try:
        async with timeout:
            await running
    except passing:
        raise
    except NotApplicable as reason:
        return Verdict(check, "does not apply", _line(str(reason)))
    except Failure as failure:
        return Verdict(check, "failed", _line(str(failure)))
    except Exception as error:  # noqa: BLE001 - whatever is raised is what the check found
        # A time-out of the object under check counts as any other of its errors.
        late = isinstance(error, TimeoutError) and timeout.expired()
        why = f"it takes longer than {patience:g} seconds" if late else f"{type(error).__name__}: {error}"
        return Verdict(check, "failed", _line(why))
    return Verdict(check, "passed")


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
