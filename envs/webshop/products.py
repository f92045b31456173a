"""Products and goals as WebShop derives them from its files.

Every rule here is the original's (`load_products`, `generate_product_prices` and `get_goals` of princeton-nlp/WebShop):
what an option is called, which text is searched, how a price limit is drawn, in which order random numbers are used.
The original draws prices and limits from an unseeded generator; here the generator is seeded, so that a goal stays the
same from run to run.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "SEED",
    "Goal",
    "Product",
    "combinations",
    "human_goal",
    "order",
    "price_limit",
    "read_product",
    "synthetic_goal",
]

SEED: Final = 233
_NO_LIMIT: Final = 1_000_000.0
_LIMITS: Final = tuple(10.0 * step for step in range(1, 100))
_LONGEST_ASIN: Final = 10


@dataclass(frozen=True)
class Product:
    """One product. Prices are US dollars."""

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    category: str
    query: str
    """What shoppers who look for such a product would type."""
    product_category: str
    """The way through the shop's departments, separated by angle quotation marks."""
    attributes: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    """Values by the name of the choice."""
    price_tag: str
    price: float
    """The price paid; drawn from the range where the tag names one."""

    @property
    def searched(self) -> str:
        """The text that the search engine knows of it."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        return " ".join([self.title, self.description, self.bullets[0] if self.bullets else "", options]).lower()

    def dump(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def load(cls, text: str) -> Product:
        fields: dict[str, Any] = json.loads(text)
        fields |= {name: tuple(fields[name]) for name in ("bullets", "attributes")}
        fields["options"] = {name: tuple(values) for name, values in fields["options"].items()}
        return cls(**fields)


@dataclass(frozen=True)
class Goal:
    """What a task asks for. `limit` is in US dollars; `options` have names where the goal is synthetic."""

    asin: str
    instruction: str
    attributes: tuple[str, ...]
    options: Mapping[str, str] | tuple[str, ...]
    limit: float

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the options."""
        return self.options if isinstance(self.options, tuple) else tuple(self.options.values())


def read_product(raw: Mapping[str, Any], attributes: Sequence[str] | None, rng: random.Random) -> Product | None:
    """A product from its entry in the catalogue file; None for the entries that WebShop leaves out.

    `rng` draws the price where the entry gives a range.
    """
    asin = str(raw.get("asin") or "nan")
    if asin == "nan" or len(asin) > _LONGEST_ASIN:
        return None
    bullets: list[str] | str = raw.get("small_description") or ""
    prices = _prices(raw.get("pricing"))
    return Product(
        asin=asin,
        title=raw.get("name") or "",
        description=raw.get("full_description") or "",
        bullets=(bullets,) if isinstance(bullets, str) else tuple(bullets),
        category=raw.get("category") or "",
        query=(raw.get("query") or "").lower().strip(),
        product_category=raw.get("product_category") or "",
        attributes=("DUMMY_ATTR",) if attributes is None else tuple(attributes),
        options=_options(raw.get("customization_options") or {}),
        price_tag=" to ".join(f"${price}" for price in prices),
        price=prices[0] if len(prices) == 1 else rng.uniform(*prices),
    )


def _prices(pricing: str | None) -> list[float]:
    written = [re.sub(r"[^\d.]", "", part) for part in (pricing or "").split("$")[1:]]
    return [float(price) for price in written if price][:2] or [100.0]


def _options(choices: Mapping[str, Sequence[Mapping[str, str]] | None]) -> dict[str, tuple[str, ...]]:
    return {
        name.lower(): tuple(value["value"].strip().replace("/", " | ").lower() for value in values)
        for name, values in choices.items()
        if values is not None
    }


def price_limit(price: float, rng: random.Random) -> float:
    """The most that a goal allows for a product of that price: the higher of two of the next four multiples of ten."""
    higher = [limit for limit in _LIMITS if limit > price][:4]
    return max(rng.sample(higher, 2)) if len(higher) >= 2 else _NO_LIMIT


def _limit_text(limit: float) -> str:
    return "" if limit == _NO_LIMIT else f", and price lower than {limit:.2f} dollars"


def combinations(options: Mapping[str, Sequence[str]]) -> int:
    """How many goals a product with these options makes: one for each combination."""
    count = 1
    for values in options.values():
        count *= len(values)
    return count


def synthetic_goal(product: Product, source: Mapping[str, Any], limit: float, number: int) -> Goal:
    """The goal of the product's combination of options `number`, in the order of the options' names."""
    names = sorted(product.options)
    values = next(itertools.islice(itertools.product(*(product.options[name] for name in names)), number, None))
    options = dict(zip(names, values, strict=True))
    wish = ", and ".join(f"{name}: {value}" for name, value in options.items())
    text = f"{source['instruction']}{' with ' + wish if wish else ''}{_limit_text(limit)}"
    return Goal(product.asin, text, tuple(source["instruction_attributes"]), options, limit)


def human_goal(product: Product, source: Mapping[str, Any], limit: float) -> Goal:
    """The goal of an instruction that a person wrote."""
    text = source["instruction"].strip(".") + _limit_text(limit)
    return Goal(
        product.asin, text, tuple(source["instruction_attributes"]), tuple(source["instruction_options"]), limit
    )


def order(count: int) -> list[int]:
    """The order in which WebShop numbers `count` goals: `order(count)[N]` is the place of goal N in the files."""
    places = list(range(count))
    random.Random(SEED).shuffle(places)
    return places
