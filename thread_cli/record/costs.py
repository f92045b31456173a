"""What each thread of an episode cost, alone and with all threads below it, from the events alone."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.events import Observed, ThreadStarted
from thread_cli.record.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.contracts.events import Event

__all__ = ["Cost", "Spent", "costs_of"]


@dataclass(slots=True)
class Spent:
    """Sums over one thread, or over a subtree. Tokens are tokens, times seconds, `cost` US dollars (None: unknown)."""

    threads: int = 0
    calls: int = 0
    actions: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    repeated_tokens: int = 0
    generated_tokens: int = 0
    cost: float | None = 0.0
    model_seconds: float = 0.0
    """Of calls that ended in a completion, without queueing and backing off."""
    action_seconds: float = 0.0
    """Of actions, without the wait for other threads' actions."""

    @property
    def tokens(self) -> int:
        """Prompt tokens, cached ones among them, and generated ones."""
        return self.prompt_tokens + self.generated_tokens

    @property
    def seconds(self) -> float:
        """Of model calls and actions. In a subtree they may have passed at the same time."""
        return self.model_seconds + self.action_seconds

    def add(self, other: Spent) -> None:
        """Add what other threads spent."""
        for each in fields(Spent):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, None if mine is None or theirs is None else mine + theirs)


@dataclass(slots=True)
class Cost:
    """What one thread cost: `own` without, `subtree` with all threads below it."""

    path: str
    parent: str | None
    own: Spent = field(default_factory=Spent)
    subtree: Spent = field(default_factory=Spent)


_SUMMED: Final = tuple(
    each.name for each in fields(Spent) if each.name not in {"cost", "model_seconds", "action_seconds"}
)


def costs_of(events: Iterable[Event]) -> dict[str, Cost]:
    """The cost of each thread by path, in the order of their beginnings. It takes time linear in the events."""
    costs: dict[str, Cost] = {}
    sums: dict[str, Sums] = {}
    for event in events:
        if isinstance(event, ThreadStarted):
            costs.setdefault(event.thread, Cost(event.thread, event.parent))
            sums.setdefault(event.thread, Sums())
        if event.thread in sums:
            sums[event.thread].add(event)
            if isinstance(event, Observed):
                costs[event.thread].own.action_seconds += event.seconds
    for path, cost in costs.items():
        totals = sums[path].totals()
        for name in _SUMMED:
            setattr(cost.own, name, getattr(totals, name))
        cost.own.cost, cost.own.model_seconds = sums[path].paid, sums[path].model_seconds
        cost.subtree.add(cost.own)
    for cost in reversed(costs.values()):  # children begin after their parents
        if cost.parent is not None and cost.parent in costs:
            costs[cost.parent].subtree.add(cost.subtree)
    return costs
