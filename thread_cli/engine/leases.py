"""Turns of threads that run at the same time on an exclusive environment.

The actions of an episode come in the order of a serial run, in which each child runs to its end where it is spawned.
So a thread holds the lease once all threads before it have ended: its earlier siblings with all below them, those of
its ancestors too, and its own children. It holds the lease until it ends, and lends it to the children that it spawns
meanwhile. Who comes first to act decides nothing.

A thread waits only for threads before it in that order, for its turn as for its children: so no threads wait for each
other in a circle. A turn follows from who is alive, so there is nothing to give back.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Leases", "place"]


class Leases:
    """The turns of one episode's threads, by their paths."""

    def __init__(self) -> None:
        self._order: list[tuple[tuple[float, ...], str]] = []
        """A heap of the threads that are alive, and some that have ended, in the order of a serial run."""
        self._alive: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def began(self, threads: Iterable[str]) -> None:
        """Note that these threads are alive, those that are known already included."""
        for thread in threads:
            if thread not in self._alive:
                self._alive.add(thread)
                heappush(self._order, (place(thread), thread))

    def ended(self, thread: str) -> None:
        """Note the end of a thread; the next one may act."""
        self._alive.discard(thread)
        while self._order and self._order[0][1] not in self._alive:
            heappop(self._order)
        next_one = self._waiting.get(self._order[0][1]) if self._order else None
        if next_one is not None and not next_one.done():
            next_one.set_result(None)

    async def turn(self, thread: str) -> None:
        """Wait until a thread that is alive holds the lease."""
        while self._order[0][1] != thread:
            self._waiting[thread] = asyncio.get_running_loop().create_future()
            try:
                await self._waiting[thread]
            finally:
                del self._waiting[thread]


def place(thread: str) -> tuple[float, ...]:
    """The key that sorts threads into the order in which they end in a serial run: children before their parent."""
    return (*map(int, thread.split(".")), inf)
