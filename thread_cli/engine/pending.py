"""The children in the background that a thread has not awaited yet.

Any of them can be found and taken in a time that does not grow with their number, so that a thread may wait for any one
of many, again and again.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Generic, TypeVar

from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.protocol import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Pending"]


Born = TypeVar("Born")
"""A thread."""


class Pending(Generic[Born]):
    """Children of one thread by handle, in the order of spawning; where one could not be born, the account of why."""

    __slots__ = ("_ended", "_news", "_taken", "children", "heed", "names")

    def __init__(self) -> None:
        self.children: dict[str, Born | Result] = {}
        self.names: dict[str, str] = {}
        """The variables that get the results of some of them, by handle."""
        self.heed: Callable[[Born | Result], None] | None = None
        """Told of each child in the moment in which it ends, before any other thread runs."""
        self._taken: set[str] = set()
        """Handles that were awaited already."""
        self._ended: list[int] = []
        """A heap of places of children that have ended; some may have been taken since."""
        self._news: asyncio.Future[None] | None = None

    def add(self, handles: Sequence[str], children: Sequence[Born | Result]) -> None:
        """Add children that were just spawned."""
        for handle, child in zip(handles, children, strict=True):
            self.children[handle] = child
            if isinstance(child, Result):
                heappush(self._ended, int(handle))

    def ended(self, handle: str) -> None:
        """Note that a child has ended; one that does not run in the background is none of these."""
        if handle in self.children:
            heappush(self._ended, int(handle))
            if self._news is not None and not self._news.done():
                self._news.set_result(None)
            if self.heed is not None:
                self.heed(self.children[handle])

    def asked(self, handles: Iterable[str]) -> dict[str, Born | Result]:
        """The children with these handles, all without any, in the order of spawning.

        Raises:
            MalformedOutput: there is no such child, or it was awaited already.
        """
        wanted = [*handles]
        for handle in wanted:
            if handle in self._taken:
                raise MalformedOutput(f"thread {handle!r} was awaited already")
            if handle not in self.children:
                raise MalformedOutput(f"there is no thread {handle!r} to await")
        if not self.children:
            raise MalformedOutput("there is no thread left to be awaited")
        return {handle: self.children[handle] for handle in sorted({*wanted}, key=int)} if wanted else self.children

    def take(self, handles: Sequence[str]) -> list[Born | Result]:
        """The children with these handles, which are pending no more."""
        self._taken.update(handles)
        for handle in handles:
            self.names.pop(handle, None)
        return [self.children.pop(handle) for handle in handles]

    async def first(self) -> str:
        """The handle of the child that ends first or, of those that have ended, of the first spawned."""
        while True:
            while self._ended:
                if (handle := str(self._ended[0])) in self.children:
                    return handle
                heappop(self._ended)
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
