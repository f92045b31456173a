"""The budget of a bench run.

Tokens and cost count everything in the run's folder, and all calls made by this runner, also those of episodes that
were not counted in the end; time counts from this runner's start. When a budget is used up, the run stops at once:
episodes under way are given up, and played anew when the run is taken up again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thread_cli.assembly.models import priced
from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from thread_cli.assembly.config import Config

__all__ = ["Allowance"]


@dataclass(slots=True)
class Allowance:
    """US dollars, tokens (prompt and generated) and seconds that a run may spend; None is no limit."""

    cost: float | None = None
    tokens: int | None = None
    seconds: float | None = None
    used_up: str = ""
    """The budget that is used up, in words; empty while none is."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    _cost: float = 0.0
    _tokens: int = 0

    def require_price(self, config: Config) -> None:
        """Make sure that a budget of cost can be enforced; raises UserError if the model's price is unknown."""
        if self.cost is not None and not priced(config.model):
            raise UserError(
                "--max-cost needs prices, and none is published for this model; in dollars per million tokens: "
                "-o model.price.prompt=… -o model.price.generated=…"
            )

    def charge(self, tokens: int, cost: float | None) -> None:
        """Add an amount that was spent; a cost of None is unknown."""
        self._tokens += tokens
        self._cost += cost or 0.0
        if self.tokens is not None and self._tokens >= self.tokens:
            self.end(f"the budget of {self.tokens:,} tokens is used up")
        if self.cost is not None and (self._cost >= self.cost or (cost is None and tokens)):
            unknown = ": what a call cost is not known" if cost is None else ""
            self.end(f"the budget of ${self.cost:g} is used up{unknown}")

    def end(self, why: str) -> None:
        """Declare a budget used up."""
        self.used_up = self.used_up or why
        self.reached.set()
