"""Limits, enforced here, out of the model's reach.

Tokens, calls, threads and cost are counted in a tree of budgets: a charge goes to a thread's budget and to all above
it, so a child can never have more than its parent has left. Threads without limits of their own share their parent's
budget object.

Time is kept by deadlines. A child's deadline lies before its parent's: the time that a parent has left is divided by
the levels that may still come, so that a hung child always leaves its parent time to react.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import LimitReached

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from thread_cli.contracts.limits import Budgets, ChildLimits
    from thread_cli.contracts.model import Usage

__all__ = ["EPISODE", "Budget", "Deadline", "before", "time_is_up"]

EPISODE: Final = "episode"
"""The owner of the limits of a whole episode."""

_COUNTED: Final = {
    "threads": "threads",
    "calls": "model calls",
    "generated_tokens": "generated tokens",
    "total_tokens": "tokens",
    "cost": "US dollars",
    "working_time": "seconds of work",
}
_DIVISIBLE: Final = ("cost", "working_time")
_OF_CALLS: Final = ("calls", "generated_tokens", "total_tokens", "cost", "working_time")


class Budget:
    """Amounts that a thread and those below it have spent and may spend. `owner` is its path, or `episode`."""

    __slots__ = ("_caps", "_parent", "_spent", "owner")

    def __init__(self, limits: Budgets, parent: Budget | None = None, owner: str = EPISODE) -> None:
        self._caps: dict[str, float] = {kind: cap for kind in _COUNTED if (cap := getattr(limits, kind)) is not None}
        self._parent = parent
        self._spent: dict[str, float] = dict.fromkeys(_COUNTED, 0)
        self.owner = owner

    def child(self, limits: ChildLimits | None, owner: str) -> Budget:
        """The budget of the child `owner`; without limits of its own it is this one."""
        if limits is None:
            return self
        child = Budget(limits, self, owner)
        for kind in _COUNTED if limits.share is not None else ():
            share = self.left(kind) * (limits.share or 1)
            if share < float("inf"):
                share = share if kind in _DIVISIBLE else max(1, int(share))
                child._caps[kind] = min(share, child._caps.get(kind, share))
        return child

    def charge(self, kind: str, amount: float) -> None:
        """Add an amount that was spent, here and above."""
        for budget in self._upwards():
            budget._spent[kind] += amount

    def charge_call(self, usage: Usage, prompt_tokens: int) -> None:
        """Add a model call's usage, its prompt as `prompt_tokens` tokens."""
        self.charge("generated_tokens", usage.generated)
        self.charge("total_tokens", prompt_tokens + usage.generated)
        self.charge("cost", usage.cost or 0)

    def left(self, kind: str) -> float:
        """The remaining amount: the least that this budget and those above it have left."""
        return self._tightest(kind)[0]

    def demand(self, kind: str, amount: float = 0) -> None:
        """Make sure that at least `amount` is left; with 0, that anything is left.

        Raises:
            LimitReached: less is left.
        """
        left, cap, _ = self._tightest(kind)
        if left < amount or left <= 0:
            raise self.reached(kind, f"the limit of {cap:g} {_COUNTED[kind]} is reached")

    def reached(self, kind: str, message: str) -> LimitReached:
        """The failure of a thread that is at the tightest of its limits of that kind."""
        left, cap, owner = self._tightest(kind)
        return LimitReached(kind, message, used=cap - left, cap=cap, owner=owner)

    def demand_call(self) -> None:
        """Make sure that the model may be called; raises as `demand` does."""
        for kind in _OF_CALLS:
            self.demand(kind)

    def _upwards(self) -> Iterator[Budget]:
        budget: Budget | None = self
        while budget is not None:
            yield budget
            budget = budget._parent

    def _tightest(self, kind: str) -> tuple[float, float, str]:
        """Of the caps that apply, the one with the smallest remainder: the remainder, the cap, and its owner."""
        tightest = (float("inf"), float("inf"), EPISODE)
        for budget in self._upwards():
            cap = budget._caps.get(kind)
            if cap is not None:
                tightest = min(tightest, (cap - budget._spent[kind], cap, budget.owner))
        return tightest


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of a thread's time, on the event loop's clock. `since` is its beginning, `owner` the limit's owner."""

    at: float
    since: float
    owner: str = EPISODE

    @classmethod
    def of_child(cls, path: str, above: Deadline | None, limits: ChildLimits | None, levels: int) -> Deadline | None:
        """The deadline of a new child with up to `levels - 1` levels below it; `above` is its parent's deadline."""
        now = asyncio.get_running_loop().time()
        found: list[Deadline] = []
        if above is not None:
            found.append(cls(now + (above.at - now) * levels / (levels + 1), now, above.owner))
        if limits is not None and limits.wall_time is not None:
            found.append(cls(now + limits.wall_time, now, path))
        if limits is not None and limits.share is not None and above is not None:
            found.append(cls(now + (above.at - now) * limits.share, now, path))
        return min(found, key=lambda deadline: deadline.at, default=None)


@asynccontextmanager
async def before(deadline: Deadline | None) -> AsyncGenerator[None]:
    """Cancel the block at `deadline`.

    Raises:
        LimitReached: the block took longer, and was cancelled.
    """
    timeout = asyncio.timeout_at(deadline and deadline.at)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        raise time_is_up(deadline) from None


def time_is_up(deadline: Deadline | None) -> LimitReached:
    """The failure of a thread whose time is up. Without a `deadline`, only a recording says that its time was up."""
    message = "the time for this thread is up"
    if deadline is None:
        return LimitReached("wall_time", message)
    used, cap = asyncio.get_running_loop().time() - deadline.since, deadline.at - deadline.since
    return LimitReached("wall_time", message, used=used, cap=cap, owner=deadline.owner)
