"""Limits, enforced here, out of the model's reach.

Tokens, calls, threads and cost are counted in a tree of budgets: a charge goes to a thread's budget and to all above
it, so a child can never have more than its parent has left. Threads without limits of their own share their parent's
budget object.

Threads that run at the same time share nothing that runs out: which of them came first would decide what each may do.
The amounts left when they are spawned are divided into equal parts, one for each of them in the order of spawning, and
one for their parent. A parent that goes on at once, and so may spawn more, keeps as many parts as they get, and three
at least. At the join, the unspent rest of a child's part goes back.

Time is kept by deadlines. A child's deadline lies before its parent's: the time that a parent has left is divided by
the levels that may still come, so that a hung child always leaves its parent time to react.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.errors import LimitReached
from thread_cli.contracts.limits import ChildLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.limits import Budgets
    from thread_cli.contracts.model import Completion, Usage

__all__ = ["EPISODE", "Budget", "Clock", "Deadline", "before", "refuse_late", "time_is_up"]

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
_FAR: Final = 1.0  # seconds
_KEPT: Final = 3
"""Parts that a thread keeps at least which goes on while its children run."""
_BOUNDLESS: Final = (inf, inf, EPISODE)
_OF_CALLS: Final = ("calls", "generated_tokens", "total_tokens", "cost", "working_time")


class Budget:
    """Amounts that a thread and those below it have spent and may spend. `owner` is its path, or `episode`."""

    __slots__ = ("_capped", "_caps", "_lender", "_lent", "_parent", "_spent", "owner")

    def __init__(self, limits: Budgets, parent: Budget | None = None, owner: str = EPISODE) -> None:
        self._caps: dict[str, float] = {kind: cap for kind in _COUNTED if (cap := getattr(limits, kind)) is not None}
        self._parent = parent
        self._capped = {*self._caps, *(parent._capped if parent is not None else ())}
        """Kinds that have a cap, here or above."""
        self._spent: dict[str, float] = dict.fromkeys(_COUNTED, 0)
        self._lender: Budget | None = None
        """The budget that this one is a part of, until the part goes back."""
        self._lent: dict[str, float] = {}
        """The amounts of that part."""
        self.owner = owner

    def child(self, limits: ChildLimits | None, owner: str) -> Budget:
        """The budget of the child `owner`; without limits of its own it is this one."""
        if limits is None:
            return self
        child = Budget(limits, self, owner)
        for kind in _COUNTED if limits.share is not None else ():
            share = self.left(kind) * (limits.share or 1)
            if share < inf:
                share = share if kind in _DIVISIBLE else max(1, int(share))
                child._caps[kind] = min(share, child._caps.get(kind, share))
        return child

    def divided(self, limits: ChildLimits | None, owners: Sequence[str], *, goes_on: bool) -> list[Budget]:
        """The budgets of children that run at the same time, in the order of spawning.

        Of each kind that is limited, all get the same, and this budget keeps one such part, or as many as they get,
        and three at least, if its thread `goes_on` while they run. Of a rest of counts, children get one each in the
        order of spawning. Where children have limits of their own and enough is left for all of them, they get these.
        What children may spend counts as spent here until they `give_back`.
        """
        if not self._capped:
            return [self.child(limits, owner) for owner in owners]
        children = [Budget(ChildLimits(), None, owner) for owner in owners]
        own = self.child(limits, "")._caps if limits is not None else {}
        kept = max(_KEPT, len(owners)) if goes_on else 1
        for kind in [kind for kind in _COUNTED if kind in self._capped]:
            left, cap = max(0.0, self.left(kind)), own.get(kind, inf)
            parts = [cap] * len(owners)
            if cap * len(owners) > left:
                parts = [min(cap, part) for part in _parts(left, len(owners), kept, whole=kind not in _DIVISIBLE)]
            self.charge(kind, sum(parts))
            for child, part in zip(children, parts, strict=True):
                child._lent[kind] = part
        for child in children:
            child._caps = {**own, **child._lent}
            child._capped = {*child._caps}
            child._lender = self
        return children

    def give_back(self) -> None:
        """Give a part back that `divided` made, less what was spent of it. Other budgets give nothing."""
        lender, self._lender = self._lender, None
        for kind, part in self._lent.items() if lender is not None else ():
            cast("Budget", lender).charge(kind, self._spent[kind] - part)

    def charge(self, kind: str, amount: float) -> None:
        """Note an amount that was spent, here and above."""
        budget: Budget | None = self
        while budget is not None:
            budget._spent[kind] += amount
            budget = budget._parent

    def charge_call(self, usage: Usage, prompt_tokens: int) -> None:
        """Add a model call's usage, its prompt as `prompt_tokens` tokens."""
        budget: Budget | None = self
        while budget is not None:
            spent = budget._spent
            spent["generated_tokens"] += usage.generated
            spent["total_tokens"] += prompt_tokens + usage.generated
            spent["cost"] += usage.cost or 0
            budget = budget._parent

    def left(self, kind: str) -> float:
        """What may still be spent: the least that this budget and those above it have left."""
        return self._tightest(kind)[0] if kind in self._capped else inf

    def demand(self, kind: str, amount: float = 0) -> None:
        """Make sure that at least `amount` is left; with 0, that anything is left.

        Raises:
            LimitReached: less is left.
        """
        if kind not in self._capped:
            return
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
            if kind in self._capped:
                self.demand(kind)

    def _tightest(self, kind: str) -> tuple[float, float, str]:
        """The cap that leaves least, among all caps that apply: the amount left, the cap itself, and its owner."""
        tightest = _BOUNDLESS
        budget = self if kind in self._capped else None
        while budget is not None:
            cap = budget._caps.get(kind)
            if cap is not None:
                tightest = min(tightest, (cap - budget._spent[kind], cap, budget.owner))
            budget = budget._parent
        return tightest


def _parts(amount: float, children: int, kept: int, *, whole: bool) -> list[float]:
    """The parts of an amount for so many children, where their parent keeps `kept` parts."""
    if not whole:
        return [amount / (children + kept)] * children
    part, rest = divmod(int(amount), children + kept)
    return [part + (place < rest) for place in range(children)]


class Clock:
    """Keeps all deadlines of an episode by one timer of the event loop: one for each call would cost more.

    Far from the next deadline the timer rings half-way, so that a deadline that is a little nearer needs no new timer:
    each thread's lies before its parent's.
    """

    __slots__ = ("_inside", "_rings", "_timer", "grace")

    def __init__(self) -> None:
        self.grace = 0.0
        """Seconds by which all deadlines are later."""
        self._inside: dict[before, None] = {}
        """Blocks in the order of entering, so that of two deadlines at the same time always the same comes first."""
        self._timer: asyncio.TimerHandle | None = None
        self._rings = inf
        """When the timer rings."""

    def enter(self, block: before, at: float) -> None:
        """Let the time of a block be up at the time `at`, unless the block is left before."""
        self._inside[block] = None
        if at < self._rings:
            self._set(at)

    def leave(self, block: before) -> None:
        """A block has ended. The timer stays: another block is about to be entered, most likely."""
        self._inside.pop(block, None)

    @property
    def busy(self) -> bool:
        """Whether a thread is within a block."""
        return bool(self._inside)

    def cut_off(self, thread: str, failure: LimitReached) -> None:
        """Let the time be up of the block that a thread is in, if it is in one; it fails with `failure`."""
        for block in [block for block in self._inside if block.thread == thread]:
            del self._inside[block]
            block.expire(failure)

    def stop(self) -> None:
        """The episode has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._rings = None, inf

    def _set(self, at: float) -> None:
        self.stop()
        loop = asyncio.get_running_loop()
        left = at - loop.time()
        self._rings = at - left / 2 if left > _FAR else at
        self._timer = loop.call_at(self._rings, self._ring, self._rings)

    def _ring(self, at: float) -> None:
        self._timer, self._rings = None, inf
        now = max(at, asyncio.get_running_loop().time())  # a timer may ring a moment early
        for block in sorted((block for block in self._inside if block.at <= now), key=lambda block: block.at):
            del self._inside[block]
            block.expire()
        if self._inside:
            self._set(min(block.at for block in self._inside))


@dataclass(slots=True)
class Deadline:
    """The end of a thread's time, on the event loop's clock. `since` is its beginning, `owner` the limit's owner."""

    at: float
    since: float
    clock: Clock
    """The clock that keeps the deadline; all deadlines of an episode share it."""
    owner: str = EPISODE

    @classmethod
    def of_child(
        cls, path: str, above: Deadline | None, limits: ChildLimits | None, levels: int, clock: Clock
    ) -> Deadline | None:
        """The deadline of a new child. `above` is its parent's deadline.

        `levels` is how many levels of threads may still come, from the child's own level on.
        """
        now = asyncio.get_running_loop().time()
        own: list[float] = []
        if limits is not None:
            if limits.wall_time is not None:
                own.append(now + limits.wall_time + clock.grace)
            if limits.share is not None and above is not None:
                own.append(now + (above.at - now) * limits.share)
        at = inf if above is None else now + (above.at - now) * levels / (levels + 1)
        if own and min(own) < at:
            return cls(min(own), now, clock, path)
        return None if above is None else cls(at, now, clock, above.owner)


class before:  # noqa: N801 - read as a statement, like the classes of contextlib
    """Cancel the block at `deadline`; None is no deadline.

    Raises:
        LimitReached: the block took longer, and was cancelled.
    """

    __slots__ = ("_cancelling", "_deadline", "_expired", "_failure", "_task", "at")

    def __init__(self, deadline: Deadline | None) -> None:
        self._deadline = deadline
        self.at = inf if deadline is None else deadline.at
        """When its time is up."""

    def __enter__(self) -> None:
        if self._deadline is None:
            return
        self._expired = False
        self._failure: LimitReached | None = None
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._cancelling = self._task.cancelling()
        self._deadline.clock.enter(self, self.at)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._deadline is None:
            return
        self._deadline.clock.leave(self)
        # A cancellation that somebody else asked for goes on, as does an exception raised in spite of this one.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise self._failure or time_is_up(self._deadline) from None

    @property
    def thread(self) -> str:
        """The path of the thread that is in it: the name of its task."""
        return self._task.get_name()

    def expire(self, failure: LimitReached | None = None) -> None:
        """Its time is up; it raises `failure`, or a failure of its own."""
        self._expired = True
        self._failure = failure
        self._task.cancel()


def refuse_late(written: Completion, deadline: Deadline | None) -> None:
    """Raises LimitReached where a completion was cut off by the thread's deadline."""
    if written.stop == "cut":
        raise time_is_up(deadline)


def time_is_up(deadline: Deadline | None) -> LimitReached:
    """The failure of a thread whose time is up. Without a `deadline`, only a recording says that its time was up."""
    message = "the time for this thread is up"
    if deadline is None:
        return LimitReached("wall_time", message)
    used, cap = asyncio.get_running_loop().time() - deadline.since, deadline.at - deadline.since
    return LimitReached("wall_time", message, used=used, cap=cap, owner=deadline.owner)
