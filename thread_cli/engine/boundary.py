"""Attributes exceptions: an exception that a plug-in raises becomes a failure of that plug-in's boundary."""

from __future__ import annotations

import asyncio

from thread_cli.contracts.errors import ThreadFailure, UserError

__all__ = ["asked_to_stop", "blaming", "go_on"]


class blaming:  # noqa: N801 - read as a statement, like the classes of contextlib
    """Wrap any exception in `failure`, unless it already is a ThreadFailure or UserError.

    Raises:
        ThreadFailure: `failure`, for any exception, and for a cancellation that did not come from outside.
    """

    __slots__ = ("_failure",)

    def __init__(self, failure: type[ThreadFailure]) -> None:
        self._failure = failure

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, asyncio.CancelledError) and not asked_to_stop():
            raise self._failure(f"a call was cancelled from within the {self._failure.boundary}") from error
        if isinstance(error, Exception) and not isinstance(error, ThreadFailure | UserError):
            raise self._failure(f"{type(error).__name__}: {error}") from error


def go_on(*, stopping: bool | None = None) -> None:
    """End a task that caught a cancellation and went on, if the cancellation was meant for it. `stopping` says
    so where the task itself cannot tell.

    Raises:
        asyncio.CancelledError: the task was to be cancelled.
    """
    if asked_to_stop() if stopping is None else stopping:
        raise asyncio.CancelledError


def asked_to_stop() -> bool:
    """Whether this task itself is being cancelled, and not only an awaitable that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
