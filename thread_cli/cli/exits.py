"""Which exit code a command ends with, by what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thread_cli.bench.runner import Ending
from thread_cli.cli.interruption import Terminated
from thread_cli.contracts.errors import ExitCode, Status, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["of_bench", "of_checks", "of_episode", "of_error"]

_EPISODE: Final = {
    Status.solved: ExitCode.done,
    Status.answered: ExitCode.done,
    Status.failed: ExitCode.undone,
    Status.limited: ExitCode.undone,
    Status.cancelled: ExitCode.interrupted,
}
"""Every other status is a failure of the infrastructure."""
_BENCH: Final = {
    Ending.complete: ExitCode.done,
    Ending.budget: ExitCode.undone,
    Ending.interrupted: ExitCode.interrupted,
    Ending.broken: ExitCode.infrastructure,
}


def of_episode(status: Status) -> ExitCode:
    """The exit code of `thread run`, by how its episode ended."""
    return _EPISODE.get(status, ExitCode.infrastructure)


def of_bench(ending: Ending, failed: int) -> ExitCode:
    """The exit code of `thread bench`, by how the run ended and how many episodes the infrastructure failed."""
    return ExitCode.infrastructure if ending is Ending.complete and failed else _BENCH[ending]


def of_checks(failed: Sequence[str]) -> ExitCode:
    """The exit code of a conformance suite, by the checks that failed."""
    return ExitCode.undone if failed else ExitCode.done


def of_error(error: BaseException) -> int:
    """The exit code of a command that an exception ended."""
    match error:
        case UserError():
            return error.exit_code
        case Terminated():
            return 128 + error.number
        case KeyboardInterrupt():
            return ExitCode.interrupted
        case BrokenPipeError():
            return ExitCode.unread
        case _:
            return ExitCode.infrastructure
