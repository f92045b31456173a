"""How far ahead to guess: as many drafted tokens as are likely to save more time than they take.

One batch verifies drafts of all sequences that are about to draw a token. A draft that is right saves steps, each
further token makes the step longer. Both sides are measured as the run goes on: how often drafts come true, by the
number of tokens that agreed before them, and how the time of a step grows with its tokens. Where drafts do not pay,
none are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.models.llama.drafts import Draft

__all__ = ["Cost", "Speculation"]

MOST: Final = 32
"""Tokens of the longest draft."""
_DECAY: Final = 0.99
_TRUST: Final = 10.0
"""How many drafted tokens the first guess of their worth counts for."""


@dataclass(slots=True)
class Cost:
    """The seconds that a small step takes: `base` and `each` for every token, fitted to the last steps."""

    base: float = 0.010
    each: float = 0.004
    _weight: float = 0.0
    _tokens: float = 0.0
    _seconds: float = 0.0
    _squares: float = 0.0
    _products: float = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """Take note of a step; steps with more tokens than drafts can bring follow other rules and are left out."""
        if tokens > 2 * MOST:
            return
        self._weight = self._weight * _DECAY + 1
        self._tokens = self._tokens * _DECAY + tokens
        self._seconds = self._seconds * _DECAY + seconds
        self._squares = self._squares * _DECAY + tokens * tokens
        self._products = self._products * _DECAY + tokens * seconds
        spread = self._squares - self._tokens**2 / self._weight
        if self._weight > _TRUST and spread > self._weight:
            mean_tokens, mean_seconds = self._tokens / self._weight, self._seconds / self._weight
            each = (self._products - mean_tokens * self._seconds) / spread
            self.each = min(max(each, 0.02 * mean_seconds / mean_tokens), mean_seconds / mean_tokens)
            self.base = max(0.0, mean_seconds - self.each * mean_tokens)

    def of(self, tokens: int) -> float:
        return self.base + self.each * tokens


@dataclass(slots=True)
class Speculation:
    """Measurements of drafts so far. `on` is whether any are made."""

    on: bool = True
    cost: Cost = field(default_factory=Cost)
    _rates: dict[int, tuple[float, float]] = field(default_factory=dict[int, "tuple[float, float]"])
    """Accepted and tried tokens, by the number of tokens that agreed before the draft; older ones weigh less."""

    def lengths(self, drafts: Sequence[Draft | None], tokens: int, room: int) -> list[int]:
        """How much of each sequence's draft to verify in a step of `tokens` tokens that takes `room` more.

        Tokens are added one by one, the likeliest first, as long as that raises the tokens expected for the time.
        """
        lengths = [0] * len(drafts)
        likely = [0.0 if draft is None else self._rate(draft) for draft in drafts]
        rates = list(likely)
        expected, seconds = float(len(drafts)), self.cost.of(tokens)
        while self.on and any(likely) and sum(lengths) < room:
            best = max(range(len(drafts)), key=likely.__getitem__)
            if likely[best] * seconds <= expected * self.cost.each:
                break
            expected += likely[best]
            seconds += self.cost.each
            lengths[best] += 1
            draft = drafts[best]
            ended = draft is None or lengths[best] == min(len(draft.tokens), MOST)
            likely[best] = 0.0 if ended else likely[best] * rates[best]
        return lengths

    def learn(self, draft: Draft, tried: int, accepted: int) -> None:
        """Take note of what became of `tried` tokens of a draft."""
        right, all_ = self._rates.get(draft.agreed) or _first(draft)
        looked_at = min(tried, accepted + 1)
        self._rates[draft.agreed] = (right * _DECAY + accepted, all_ * _DECAY + looked_at)

    def _rate(self, draft: Draft) -> float:
        """The probability that a token of the draft comes true, if those before it have."""
        right, all_ = self._rates.get(draft.agreed) or _first(draft)
        return right / all_


def _first(draft: Draft) -> tuple[float, float]:
    return _TRUST * (1 - 1 / (draft.agreed + 1)), _TRUST
