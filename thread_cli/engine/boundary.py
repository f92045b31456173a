"""Attributes exceptions: an exception that a plug-in raises becomes a failure of that plug-in's boundary."""

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
    """Wrap any exception in `failure`, unless it already is a ThreadFailure or UserError.

    Raises:
        ThreadFailure: `failure`, for any exception, and for a cancellation that did not come from outside.
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
    """End a task that caught a cancellation and went on, if the cancellation was meant for it. `stopping` tells, where
    the task itself does not know.

    Raises:
        asyncio.CancelledError: the task was to be cancelled.
    """
    if asked_to_stop() if stopping is None else stopping:
        raise asyncio.CancelledError


def asked_to_stop() -> bool:
    """Whether this task itself is being cancelled, and not only an awaitable that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
