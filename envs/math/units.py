"""Units behind a value, in words: which words are one, and which of them mean the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["NO_UNIT", "Unit", "unit_behind"]

_SAME: Final = {
    "dollar": "dollars usd bucks",
    "cent": "cents ¢",
    "euro": "euros eur",
    "pound sterling": "gbp",
    "degree": "degrees deg",
    "percent": "percents pct",
    "inch": "inches in",
    "foot": "feet ft",
    "yard": "yards yd yds",
    "mile": "miles mi",
    "millimetre": "millimetres millimeter millimeters mm",
    "centimetre": "centimetres centimeter centimeters cm",
    "metre": "metres meter meters m",
    "kilometre": "kilometres kilometer kilometers km",
    "gram": "grams g",
    "kilogram": "kilograms kg kgs",
    "pound": "pounds lb lbs",
    "ounce": "ounces oz",
    "litre": "litres liter liters l",
    "millilitre": "millilitres milliliter milliliters ml",
    "gallon": "gallons gal",
    "second": "seconds sec secs s",
    "minute": "minutes min mins",
    "hour": "hours hr hrs h",
    "day": "days",
    "week": "weeks wk",
    "month": "months",
    "year": "years yr yrs",
    "mph": "mph",
    "people": "person persons",
    "child": "children",
}
_CANON: Final = {word: name for name, words in _SAME.items() for word in (name, *words.split())}
_SINGLE: Final = frozenset("m g s h l".split())  # noqa: SIM905
_SQUARES: Final = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_NO_WORDS: Final = frozenset("pi sqrt sin cos tan cot sec csc log ln exp infinity or and not".split())  # noqa: SIM905
_FILLING: Final = frozenset("the a an of each total in all altogether".split())  # noqa: SIM905
_MARKS: Final = re.compile(r"\\[a-zA-Z]+|(?<=\d)[eE](?=[+-]?\d)")
_BEHIND: Final = re.compile(r"\s*\\text\s*\{(?P<text>[^{}]*)\}\s*(?:\^\s*\{?(?P<power>\d)\}?)?$")
_PLAIN: Final = re.compile(
    r"(?<=[\d})%.])(?P<blank>\s*)(?:[-/](?=[a-zA-Z]))?(?P<text>[a-zA-Z][a-zA-Z .'/()-]*?)(?:\^\s*\{?(?P<power>\d)\}?)?$"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """The words of a unit, each in one form, and its power: square metres are metres to the power of 2."""

    words: frozenset[str] = frozenset()
    power: int = 1

    def agrees(self, other: Unit) -> bool:
        """Whether both can be the unit of one quantity: a unit may be left out, and `eggs` may be `eggs a day`."""
        if not self.words or not other.words:
            return True
        return self.power == other.power and (self.words <= other.words or other.words <= self.words)


NO_UNIT: Final = Unit()


def unit_behind(text: str) -> tuple[str, Unit]:
    """A text without the units at its end, and the unit that they are together."""
    words: list[str] = []
    powers: list[int] = []
    while (match := _BEHIND.search(text)) and match.start():
        words, text = [*_words(match["text"]), *words], text[: match.start()].rstrip()
        powers.append(int(match["power"] or 1))
    if not words and (match := _PLAIN.search(text)) and _is_unit(text[: match.start()], match):
        words, text = _words(match["text"]), text[: match.start()].rstrip()
        powers.append(int(match["power"] or 1))
    powers += [_SQUARES[word] for word in words if word in _SQUARES]
    named = frozenset(_canon(word) for word in words if word not in _SQUARES and word not in _FILLING)
    return text, Unit(named, max(powers, default=1))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z¢%]+", text.lower())


def _canon(word: str) -> str:
    if word in _CANON:
        return _CANON[word]
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def _is_unit(before: str, match: re.Match[str]) -> bool:
    """Whether plain letters behind a number are words, and no product of variables.

    They are where the number has no letters itself, none of them is the name of a function, and the first is a known
    unit, or stands apart and looks like a word.
    """
    words, spaced = _words(match["text"]), bool(match["blank"])
    if not words or not _NO_WORDS.isdisjoint(words) or re.search("[a-zA-Z]", _MARKS.sub("", before)):
        return False
    first = words[0]
    if first in _CANON or first in _SQUARES:
        return spaced or first not in _SINGLE
    return spaced and len(first) > 2 and bool(re.search("[aeiouy]", first)) and not set(first) <= set("abcxyz")
