"""Ending on SIGTERM and SIGHUP as cleanly as on Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Terminated", "interruptible"]

_T = TypeVar("_T")


class Terminated(Exception):
    """A signal asked this process to end, and what ran was cancelled."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


async def interruptible(work: Coroutine[object, object, _T]) -> _T:
    """Do `work`; SIGTERM and SIGHUP cancel it, as Ctrl-C does by itself.

    Raises:
        Terminated: one of them did.
    """
    task = asyncio.ensure_future(work)
    received: list[int] = []

    def end(number: int) -> None:
        # Once: a second signal, which a system sends that shuts down, must not interrupt the cleaning up.
        if not received:
            task.cancel()
        received.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise Terminated(received[0]) from None
        raise
