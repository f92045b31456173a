"""Progress of a run: sums over the results of all runners as they come in."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thread_cli.bench import FailureClass

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.bench import Result

__all__ = ["Progress", "Tally"]


@dataclass(slots=True)
class Tally:
    """Sums over some results. Failures of the infrastructure are not judged."""

    judged: int = 0
    solved: int = 0
    graded: int = 0
    reward: float = 0.0

    def add(self, result: Result) -> None:
        if result.failure is FailureClass.infrastructure:
            return
        self.judged += 1
        self.solved += result.solved
        self.graded += result.reward is not None
        self.reward += result.reward or 0.0

    @property
    def success(self) -> float | None:
        """Share of the judged episodes that were solved; None before the first."""
        return self.solved / self.judged if self.judged else None


@dataclass(slots=True)
class Progress:
    """A run of `total` episodes. `listeners` are called with each result that comes in after `start`."""

    total: int
    listeners: list[Callable[[Result], None]] = field(default_factory=list["Callable[[Result], None]"])
    done: set[str] = field(default_factory=set[str])
    under_way: int = 0
    all: Tally = field(default_factory=Tally)
    parts: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    """By environment, where there are several, and category."""
    failures: Counter[FailureClass] = field(default_factory=Counter[FailureClass])
    calls: int = 0
    tokens: int = 0
    estimated: bool = False
    """Whether some of the tokens are estimates."""
    cost: float | None = 0.0
    priced: bool = False
    """Whether the price of a call is known before any is made."""
    retries: int = 0
    """Retries of model calls."""
    attempts: int = 0
    """Attempts at episodes beyond the first."""
    finishing: bool = False
    """Whether no further episode will be started."""
    started: bool = False
    before: int = 0
    """Number of results at this runner's start."""
    began: float = field(default_factory=time.monotonic)

    @property
    def known_cost(self) -> float | None:
        """US dollars spent so far; None where a price is unknown, from the first moment on."""
        return self.cost if self.calls or self.priced else None

    def add(self, result: Result, part: str) -> None:
        """Count a result, once."""
        if result.key in self.done:
            return
        self.done.add(result.key)
        self.all.add(result)
        self.parts[part].add(result)
        totals = result.totals
        if result.failure is not None:
            self.failures[result.failure] += 1
        self.calls += totals.calls
        self.tokens += totals.prompt_tokens + totals.generated_tokens
        self.estimated = self.estimated or totals.estimated
        known = self.cost is not None and (totals.cost is not None or not totals.calls)
        self.cost = (self.cost or 0.0) + (totals.cost or 0.0) if known else None
        self.retries += totals.retries
        self.attempts += result.attempts - 1
        for tell in self.listeners if self.started else ():
            tell(result)

    def start(self) -> None:
        """Begin to report results, and to measure the time that is left."""
        self.started, self.before, self.began = True, len(self.done), time.monotonic()

    @property
    def complete(self) -> bool:
        return len(self.done) >= self.total

    @property
    def infrastructure(self) -> int:
        """Number of episodes that say nothing about the model, because the infrastructure failed."""
        return self.failures[FailureClass.infrastructure]

    @property
    def elapsed(self) -> float:
        """Seconds since this runner began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Estimated seconds for the remaining episodes; None if unknown."""
        new = len(self.done) - self.before
        return (self.total - len(self.done)) * self.elapsed / new if new else None
