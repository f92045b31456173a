"""Adaptive limit on the concurrent calls to one endpoint, learnt from its answers.

Additive increase, multiplicative decrease: a window of successes at full use lets one more call in, a 429 halves the
number, server faults and time-outs only stop its growth for a while.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Limiter", "Permit", "limiter_for"]


@dataclass(slots=True)
class Permit:
    """The right to one call. Report at most once how the call went; a cancelled call reports nothing."""

    _limiter: Limiter
    _generation: int

    def succeeded(self) -> None:
        self._limiter.grow(self._generation)

    def rate_limited(self) -> None:
        self._limiter.shrink(self._generation)

    def struggled(self) -> None:
        """The server failed or timed out."""
        self._limiter.pause_growth()


class Limiter:
    """An adaptive concurrency limit, first come, first served. Belongs to one event loop at a time.

    `limit` is the number of calls now allowed at once, between 1 and `maximum`. It does not grow for `growth_pause`
    seconds after a server fault.
    """

    def __init__(self, *, initial: float = 16, maximum: float = 512, growth_pause: float = 5.0) -> None:
        self.limit = float(initial)
        self.maximum = float(maximum)
        self.growth_pause = growth_pause
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._generation = 0
        self._held_until = 0.0
        self._grows_from = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def permit(self) -> AsyncGenerator[Permit]:
        """Wait for a permit and hold it for the length of the block."""
        await self._acquire()
        try:
            yield Permit(self, self._generation)
        finally:
            self.in_flight -= 1
            self._admit()

    def hold(self, seconds: float) -> None:
        """Let no new call start for `seconds`. Never shortens an earlier hold."""
        self._held_until = max(self._held_until, asyncio.get_running_loop().time() + seconds)

    async def _acquire(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            # The permit may have been granted after the task was cancelled and before it ran again.
            if turn.done() and not turn.cancelled():
                self.in_flight -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self.in_flight < int(self.limit):
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            if loop.time() < self._held_until:
                self._timer = loop.call_at(self._held_until, self._admit)
                return
            self._waiting.popleft().set_result(None)
            self.in_flight += 1

    def grow(self, generation: int) -> None:
        now = asyncio.get_running_loop().time()
        full = self.in_flight >= int(self.limit)
        if full and generation == self._generation and now >= self._grows_from:
            self.limit = min(self.maximum, self.limit + 1 / self.limit)

    def shrink(self, generation: int) -> None:
        # All calls that were under way together report the same congestion: only the first answer counts.
        if generation == self._generation:
            self._generation += 1
            self.limit = max(1.0, self.limit / 2)
        self.pause_growth()

    def pause_growth(self) -> None:
        self._grows_from = asyncio.get_running_loop().time() + self.growth_pause


_limiters: dict[str, Limiter] = {}


def limiter_for(endpoint: str) -> Limiter:
    """The limiter that all models at this endpoint share."""
    return _limiters.setdefault(endpoint, Limiter())
