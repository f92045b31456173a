"""Telling whose fault it is: what a plug-in raises counts as a failure of its own boundary."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import ThreadFailure, UserError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["asked_to_stop", "blaming", "go_on"]


@contextmanager
def blaming(failure: type[ThreadFailure]) -> Generator[None]:
    """Let whatever goes wrong inside be a failure of that kind, but for what is of a kind already.

    Raises:
        ThreadFailure: of the kind given, for any exception, and for a cancellation that nobody outside asked for.
    """
    try:
        yield
    except (ThreadFailure, UserError):
        raise
    except Exception as error:
        raise failure(f"{type(error).__name__}: {error}") from error
    except asyncio.CancelledError as error:
        if asked_to_stop():
            raise
        raise failure(f"a call was cancelled from within the {failure.boundary}") from error


def go_on(*, stopping: bool | None = None) -> None:
    """Let a task that goes on after a cancellation end where it has to; `stopping` says so where the task cannot.

    Raises:
        asyncio.CancelledError: it has to.
    """
    if asked_to_stop() if stopping is None else stopping:
        raise asyncio.CancelledError


def asked_to_stop() -> bool:
    """Whether it is this task that is being cancelled, and not just something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
