"""Limits, enforced here, out of the model's reach.

What is counted is counted in a tree of budgets: a charge goes to a thread's budget and to all above it, so a child can
never have more than its parent has left. Threads without limits of their own share their parent's budget object.

Time is kept by deadlines. A child's deadline lies before its parent's: the time that a parent has left is divided by
the levels that may still come, so that a hung child always leaves its parent time to react.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import LimitReached

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from thread_cli.contracts.limits import Budgets

__all__ = ["Budget", "before"]

_COUNTED: Final = {
    "threads": "threads",
    "calls": "model calls",
    "generated_tokens": "generated tokens",
    "total_tokens": "tokens",
    "cost": "US dollars",
    "working_time": "seconds of work",
}
_OF_CALLS: Final = ("calls", "generated_tokens", "total_tokens", "cost", "working_time")


class Budget:
    """What one thread and those below it have spent and may spend."""

    __slots__ = ("_caps", "_parent", "_spent")

    def __init__(self, limits: Budgets, parent: Budget | None = None) -> None:
        self._caps = {kind: cap for kind in _COUNTED if (cap := getattr(limits, kind)) is not None}
        self._parent = parent
        self._spent: dict[str, float] = dict.fromkeys(_COUNTED, 0)

    def child(self, limits: Budgets | None) -> Budget:
        """The budget of a child; without limits of its own it is this one."""
        return self if limits is None else Budget(limits, self)

    def charge(self, kind: str, amount: float) -> None:
        """Note what was spent, here and above."""
        for budget in self._upwards():
            budget._spent[kind] += amount

    def left(self, kind: str) -> float:
        """What may still be spent: the least that this budget and those above it have left."""
        return min((left for left, _ in self._caps_on(kind)), default=float("inf"))

    def demand(self, kind: str, amount: float = 0) -> None:
        """Make sure that `amount` may still be spent; with 0, that anything may.

        Raises:
            LimitReached: it may not.
        """
        left, cap = min(self._caps_on(kind), default=(float("inf"), float("inf")))
        if left < amount or left <= 0:
            raise LimitReached(kind, f"the limit of {cap:g} {_COUNTED[kind]} is reached")

    def demand_call(self) -> None:
        """Make sure that the model may be called; raises as `demand` does."""
        for kind in _OF_CALLS:
            self.demand(kind)

    def _upwards(self) -> Iterator[Budget]:
        budget: Budget | None = self
        while budget is not None:
            yield budget
            budget = budget._parent

    def _caps_on(self, kind: str) -> Iterator[tuple[float, float]]:
        """What is left and the cap itself, for each cap that applies."""
        for budget in self._upwards():
            if kind in budget._caps:
                cap = budget._caps[kind]
                yield cap - budget._spent[kind], cap


@asynccontextmanager
async def before(deadline: float | None) -> AsyncGenerator[None]:
    """Let what is awaited inside take no longer than until `deadline`, in the event loop's time.

    Raises:
        LimitReached: it took longer, and was cancelled.
    """
    timeout = asyncio.timeout_at(deadline)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        raise LimitReached("wall_time", "the time for this thread is up") from None
