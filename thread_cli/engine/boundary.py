"""Telling whose fault it is: what a plug-in raises counts as a failure of its own boundary."""

from __future__ import annotations

import asyncio

from thread_cli.contracts.errors import ThreadFailure, UserError

__all__ = ["asked_to_stop", "blaming", "go_on"]


class blaming:  # noqa: N801 - read as a statement, like the classes of contextlib
    """Let whatever goes wrong inside be a failure of that kind, but for what is of a kind already.

    Raises:
        ThreadFailure: of the kind given, for any exception, and for a cancellation that nobody outside asked for.
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
