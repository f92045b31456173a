"""The cost of API calls: by the user's own prices, else by the published ones that `genai-prices` knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.contracts.model import Usage

__all__ = ["Price", "published", "published_price_known"]


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens: of the prompt, of the part of it that the server had cached, and generated."""

    prompt: float
    cached: float
    generated: float

    def of(self, usage: Usage) -> float:
        """The cost of a call in US dollars."""
        fresh = usage.prompt - usage.cached
        return (fresh * self.prompt + usage.cached * self.cached + usage.generated * self.generated) / 1e6


def published(name: str, endpoint: str) -> Callable[[Usage], float | None]:
    """The cost of a call of model `name` by its provider's published prices; None if there are none.

    The provider is recognised by its address alone: a model's name on another server says nothing about its price.
    """

    def cost(usage: Usage) -> float | None:
        # Imported only here: the table is large, and most runs do not need it.
        from genai_prices import Usage as Counted
        from genai_prices import calc_price

        counted = Counted(
            input_tokens=usage.prompt, cache_read_tokens=usage.cached or None, output_tokens=usage.generated
        )
        try:
            return float(calc_price(counted, name, provider_api_url=endpoint).total_price)
        except (LookupError, ValueError):
            return None

    return cost


def published_price_known(name: str, endpoint: str) -> bool:
    """Whether there is a published price for model `name` at this address."""
    from thread_cli.contracts.model import Usage

    return published(name, endpoint)(Usage(1, 0, 1)) is not None
