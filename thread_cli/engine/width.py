"""Permits to generate: how many threads of an episode may be in a call of the model at once.

A thread holds a permit for the length of one call, and none while it waits for its children, for its turn to act, or
for its code: so one permit suffices at any depth. Of several threads that wait for a permit, the first one in the order
of a serial run gets it, whoever asked first: what was begun is ended before more is begun.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from thread_cli.engine.leases import place

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from thread_cli.contracts.model import Completion

__all__ = ["Permits"]


class Permits:
    """The permits of one episode. `width` is their number, at least 1."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.held = 0
        """Permits that threads hold now."""
        self._waiting: list[tuple[tuple[float, ...], int, asyncio.Future[None]]] = []
        """A heap, in the order of a serial run; some may have given up."""
        self._asked = 0

    @asynccontextmanager
    async def permit(self, thread: str) -> AsyncGenerator[None]:
        """Wait for a permit, and hold it for the length of the block."""
        if self.held < self.width:
            self.held += 1
        else:
            await self._handed(thread)
        try:
            yield
        finally:
            self._give_back()

    async def held_for(self, thread: str, call: Callable[[], Awaitable[Completion]]) -> Completion:
        """Make a call under a permit; the wait for that permit is part of the time that the call waited."""
        asked = time.monotonic()
        async with self.permit(thread):
            waited = time.monotonic() - asked
            written = await call()
        return replace(written, waited=written.waited + waited)

    async def _handed(self, thread: str) -> None:
        """Wait until another thread hands on its permit."""
        turn = asyncio.get_running_loop().create_future()
        self._asked += 1
        heappush(self._waiting, (place(thread), self._asked, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # handed on after the cancellation, before this task ran again
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            _, _, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self.held -= 1
