"""A catalogue of invented products, in the format of WebShop's files, so that the shop can be played without them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

from thread_envs.webshop.vocabulary import KINDS, MAKERS, Kind

__all__ = ["Made", "generate"]

_SIZE: Final = 240
_ARROW: Final = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
_PRAISE: Final = (
    "A dependable choice for every day.",
    "Designed by a small team that uses what it sells.",
    "Made to be kept for years and repaired where it can be.",
    "Our most reordered item since it was first listed.",
    "Comes in plain packaging that can go with the paper.",
)
_WISHES: Final = (
    "i am looking for {article} {name} that is described as {attributes}{options}",
    "show me {article} {name} with {attributes}{options}.",
    "i need {article} {name}{options}. it has to be {attributes}",
    "please find {article} {name}, {attributes}{options}",
    "my old {name} broke, so i want a new one: {attributes}{options}.",
)


@dataclass
class Made:
    """What the three files of a catalogue hold."""

    products: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    human: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])


def generate(count: int = _SIZE, seed: int = 0) -> Made:
    """A catalogue of `count` products; the same for the same arguments on every machine."""
    rng = random.Random(seed)
    made = Made()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        asin = _asin(number, rng)
        attributes = rng.sample(kind.attributes, rng.randint(3, 5))
        made.products.append(_product(asin, kind, attributes, rng))
        asked = rng.sample(attributes, rng.randint(1, 3))
        made.attributes[asin] = {
            "attributes": attributes,
            "instruction": f"Find me {', '.join(asked)} {kind.query}",
            "instruction_attributes": asked,
        }
        if rng.random() < 0.7:
            made.human[asin] = [_wish(asin, kind, attributes, made.products[-1], rng)]
    return made


def _asin(number: int, rng: random.Random) -> str:
    """A name that looks like a shop's; its last places count, so that no two are alike."""
    code = ""
    for _ in range(5):
        number, place = divmod(number, len(_LETTERS))
        code = _LETTERS[place] + code
    return "B0" + "".join(rng.choices(_LETTERS, k=3)) + code


def _product(asin: str, kind: Kind, attributes: list[str], rng: random.Random) -> dict[str, Any]:
    maker = rng.choice(MAKERS)
    first, second, *others = [attribute.title() for attribute in attributes]
    model = f"{rng.choice(_LETTERS[:24])}{rng.randint(10, 999)}"
    choices = {name: rng.sample(values, min(len(values), rng.randint(2, 4))) for name, values in kind.choices.items()}
    price = round(kind.price * rng.uniform(0.5, 1.8)) - 0.01
    upper = f" - ${price + rng.randint(3, 20):.2f}" if rng.random() < 0.15 else ""
    return {
        "asin": asin,
        "name": f"{maker} {kind.name} {model}, {first} and {second}",
        "full_description": f"The {model} by {maker} is {_list(attributes)}. {rng.choice(_PRAISE)}",
        "small_description": [
            f"{first}: the {kind.name.lower()} that {maker} is known for.",
            *(f"{other}, as tested by {maker}." for other in others),
            f"Questions about the {model} are answered within a day.",
        ],
        "pricing": f"${price:.2f}{upper}",
        "images": [f"https://example.invalid/{asin}.jpg"],
        "product_category": f" {_ARROW} ".join([kind.department, kind.query.title(), maker]),
        "category": kind.category,
        "query": kind.query,
        "customization_options": {
            name: [{"value": value, "image": None} for value in values] for name, values in choices.items()
        },
    }


def _wish(asin: str, kind: Kind, attributes: list[str], product: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    asked = rng.sample(attributes, rng.randint(1, 2))
    choices = {name: rng.choice(values)["value"] for name, values in product["customization_options"].items()}
    name = kind.name.lower()
    text = rng.choice(_WISHES).format(
        article="an" if name[0] in "aeiou" else "a",
        name=name,
        attributes=_list(asked),
        options=f", in {_list(list(choices.values()))}" if choices else "",
    )
    return {
        "asin": asin,
        "instruction": text,
        "instruction_attributes": asked,
        "instruction_options": list(choices.values()),
    }


def _list(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
