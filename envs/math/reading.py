"""What an answer is: a value with its unit, words, a tuple or interval, a list or set, a ratio, a matrix, an equation.

The brackets and separators of an answer are read here, each value in it by `expressions`. An answer that is none of
these is kept as its text, which equals nothing but itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from thread_envs.math.cleaning import cleaned, close_of, is_wrapped, split
from thread_envs.math.expressions import LONGEST, Expression, Unreadable, read
from thread_envs.math.units import NO_UNIT, Unit, unit_behind

__all__ = [
    "Based",
    "Equation",
    "Listing",
    "Matrix",
    "Ratio",
    "Reading",
    "Row",
    "Text",
    "Union",
    "Value",
    "is_read",
    "reading",
]

_NESTED: Final = 12
_RELATIONS: Final = frozenset({"=", "<", ">", r"\le", r"\ge", r"\in"})
_THOUSANDS: Final = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,]*\d|,\d)")
_SPACED: Final = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?: \d{3})+(?!\d| ?/)")
_BASED: Final = re.compile(
    r"([0-9A-Za-z]+)\s*(?:_\s*\{?\s*\(?\s*(?:\\text\{)?\s*(\w+)\s*\)?\}?\}?|\\text\{ ?base (\w+)\}|base (\w+))"
)
_NUMERALS: Final = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "sixteen": 16,
}  # fmt: skip
_NAME: Final = re.compile(r"(?:[a-zA-Z]|\\[a-zA-Z]+)(?:_\{?\w+\}?)?'?\s*(?:\(\s*\w+(?:\s*,\s*\w+)*\s*\))?")
_MATRIX: Final = re.compile(r"\\begin\s*\{([pbBv]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\s*\{\1\}", re.DOTALL)
_INEQUALITY: Final = re.compile(r"[<>]|\\[lg]e(?![a-z])")
_OPENINGS: Final = re.compile(
    r"^(?:(?:=|\\approx|approximately|about|exactly|only|just|equal to|equals)\s*)+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Value:
    """An expression, with its unit and whether it is given in percent."""

    expression: Expression
    unit: Unit = NO_UNIT
    percent: bool = False
    text: str = ""
    """What was read, for a comparison with words."""


@dataclass(frozen=True, slots=True)
class Text:
    """Words, or what could not be read."""

    text: str


@dataclass(frozen=True, slots=True)
class Based:
    """A number in another base than ten."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """Terms between colons. A `clock` has the form of a time of day, which is not reduced."""

    terms: tuple[Reading, ...]
    clock: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A tuple, point, vector or interval: what stands in brackets, in order."""

    opening: str
    closing: str
    items: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Values in any order; in `braces` they are a set, in which none counts twice."""

    items: tuple[Reading, ...]
    braces: bool = False


@dataclass(frozen=True, slots=True)
class Union:
    """Several intervals together, in any order."""

    items: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells."""

    rows: tuple[tuple[Reading, ...], ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """Both sides of an equation. `name` is the left side where that is a variable, or words."""

    left: Expression | None
    right: Reading
    name: str = ""


Reading: TypeAlias = Value | Text | Based | Ratio | Row | Listing | Union | Matrix | Equation


def reading(text: str) -> Reading:
    """The answer that a text states; a `Text` if it is of no other kind."""
    if len(text) > LONGEST:
        return Text(text)
    plain, currency = cleaned(text)
    found = _any(_OPENINGS.sub("", plain), 0)
    if currency and isinstance(found, Value) and not found.unit.words:
        return replace(found, unit=Unit(frozenset({currency})))
    return found


def is_read(found: Reading) -> bool:
    """Whether all parts of an answer could be read."""
    match found:
        case Text():
            return False
        case Listing(items) | Union(items) | Row(items=items) | Ratio(items):
            return all(map(is_read, items))
        case Matrix(rows):
            return all(is_read(cell) for row in rows for cell in row)
        case Equation(right=right):
            return is_read(right)
        case _:
            return True


def _any(text: str, depth: int) -> Reading:
    text = text.strip()
    if depth > _NESTED or not text:
        return Text(text)
    if (match := re.fullmatch(r"\\boxed\s*\{(.*)\}|\\text\s*\{([^{}]*)\}|\{(.*)\}", text, re.DOTALL)) and (
        close_of(text, text.index("{")) == len(text) - 1
    ):
        words = match[2]
        inner = next(part for part in match.groups() if part is not None)
        if words is not None:
            return _words(words)
        return _bare(inner, depth, braces=True) if "," in inner and match[3] else _any(inner, depth + 1)
    if match := _MATRIX.fullmatch(text):
        return _matrix(match[2], depth)
    return _bare(text, depth)


def _bare(text: str, depth: int, *, braces: bool = False) -> Reading:
    """A list, or the only item of one."""
    if is_wrapped(text, r"\{", r"\}"):
        text, braces = text[2:-2].strip(), True
    text = _joined(text, bracketed=braces)
    parts = split(
        re.sub(r"\\text\{\s*(?:,\s*)?(and|or)\s*\}|(?<![a-zA-Z\\])(and|or)(?![a-zA-Z])", ";", text),
        frozenset({",", ";"}),
    )
    items = [part for _, part in parts if part]
    if braces or len(items) > 1:
        found = [item for part in items for item in _expanded(part, depth)]
        if not braces and all(isinstance(item, Text) for item in found):
            return Text(text)
        if not braces and all(isinstance(item, Row) for item in found) and all(map(_INEQUALITY.search, items)):
            return Union(tuple(found))
        return Listing(tuple(found), braces)
    found = _expanded(items[0] if items else text, depth)
    return found[0] if len(found) == 1 else Listing(tuple(found))


def _joined(text: str, *, bracketed: bool = False) -> str:
    """A text without the separators of thousands.

    In brackets and in lists a comma separates; there the groups of three belong to one number only where other commas
    are followed by a blank: `1,000, 2,000`.
    """
    if _SPACED.fullmatch(text.lstrip("-+")):
        return text.replace(" ", "")
    commas = re.findall(r",(\s?)", text)
    if not commas:
        return text
    alone = not bracketed and re.fullmatch(rf"[^,()\[\]]*?{_THOUSANDS.pattern}[^,()\[\]]*", text)
    if not alone and " " not in commas:
        return text
    return _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)


def _expanded(text: str, depth: int) -> list[Reading]:
    """An item, twice where it has a sign of plus or minus."""
    if r"\pm" not in text and r"\mp" not in text:
        return [_item(text, depth)]
    ways = [("+", "-"), ("-", "+")]
    return [
        _item(re.sub(r"\\mp(?![a-zA-Z])", low, re.sub(r"\\pm(?![a-zA-Z])", high, text)), depth) for high, low in ways
    ]


def _item(text: str, depth: int) -> Reading:
    text = text.strip()
    related = _related(text, depth)
    if related is not None:
        return related
    parts = split(re.sub(r"(?<=[)\]])\s*U\s*(?=[(\[])", r"\\cup ", text), frozenset({r"\cup"}))
    if len(parts) > 1:
        rows = [_any(part, depth + 1) for _, part in parts]
        return Union(tuple(rows)) if all(isinstance(row, (Row, Listing)) for row in rows) else Text(text)
    if text[:1] in {"(", "["} and text[-1:] in {")", "]"} and is_wrapped(text, text[0], text[-1]):
        cells = split(_joined(text[1:-1], bracketed=True), frozenset({","}))
        if len(cells) > 1:
            return Row(text[0], text[-1], tuple(_any(cell, depth + 1) for _, cell in cells))
    if match := _BASED.fullmatch(text):
        base = next(part for part in match.groups()[1:] if part)
        number = _NUMERALS.get(base.lower(), int(base) if base.isdecimal() else 0)
        if match[1][0].isdigit() and 2 <= number <= 36:
            return Based(match[1].lstrip("0").upper() or "0", number)
    terms = split(text, frozenset({":"}))
    if len(terms) > 1 and all(part for _, part in terms):
        return _ratio(text, [part for _, part in terms], depth)
    return _value(text)


def _ratio(text: str, terms: list[str], depth: int) -> Reading:
    behind, _ = unit_behind(terms[-1])
    read_terms = tuple(_value(term) for term in [*terms[:-1], behind])
    if depth > _NESTED or not all(isinstance(term, Value) for term in read_terms):
        return Text(text)
    return Ratio(read_terms, bool(re.fullmatch(r"\d{1,2}(:[0-5]\d){1,2}", ":".join([*terms[:-1], behind]))))


def _value(text: str) -> Reading:
    """An expression with its unit; words, or the text as it is, where it is none."""
    bare, unit = unit_behind(text)
    percent = bare.endswith("%")
    bare = _joined(bare.rstrip("% "))
    if "percent" in unit.words:
        percent, unit = True, Unit(unit.words - {"percent", "percentage"}, unit.power)
    try:
        return Value(read(bare), unit, percent, text)
    except (Unreadable, RecursionError):
        return _words(text)


def _words(text: str) -> Text:
    return Text(re.sub(r"\s+", " ", text).strip())


def _matrix(body: str, depth: int) -> Reading:
    body = re.sub(r"\\hline(?![a-zA-Z])", "", body)
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", body) if row.strip()]
    return Matrix(tuple(tuple(_any(cell, depth + 1) for cell in row.split("&")) for row in rows))


def _related(text: str, depth: int) -> Reading | None:
    """An equation, a membership, or the interval that inequalities of one variable are; None without a relation."""
    parts = split(text, _RELATIONS)
    if len(parts) == 1:
        return None
    signs, sides = [sign for sign, _ in parts[1:]], [side for _, side in parts]
    if signs == [r"\in"]:
        return _bare(sides[1], depth + 1)
    if set(signs) == {"="}:
        return _equation(text, sides, depth)
    return _interval(signs, sides) or Text(text)


def _equation(text: str, sides: list[str], depth: int) -> Reading:
    right = _item(sides[-1], depth + 1)
    if not sides[-1] or (isinstance(right, Text) and not right.text):
        return Text(text)
    if _NAME.fullmatch(sides[0]):
        return Equation(_side(sides[0]), right, re.sub(r"\s+", "", sides[0]))
    left = _side(sides[0])
    if left is None:
        return Equation(None, right, _words(sides[0]).text or "?")
    return Equation(left, right)


def _side(text: str) -> Expression | None:
    try:
        return read(text)
    except (Unreadable, RecursionError):
        return None


def _interval(signs: list[str], sides: list[str]) -> Reading | None:
    r"""`2 < x \le 3`, `x > 2` or `3 \ge x` as an interval."""
    turned = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}
    if len(signs) == 1 and _NAME.fullmatch(sides[1]) and not _NAME.fullmatch(sides[0]):
        return _interval([turned.get(signs[0], "")], sides[::-1])
    infinite = Value(read(r"\infty"))
    if len(signs) == 1 and _NAME.fullmatch(sides[0]):
        end = _value(sides[1])
        if signs[0] in {"<", r"\le"}:
            return Row("(", ")" if signs[0] == "<" else "]", (Value(read(r"-\infty")), end))
        return Row("(" if signs[0] == ">" else "[", ")", (end, infinite)) if signs[0] in turned else None
    if len(signs) != 2 or not _NAME.fullmatch(sides[1]):
        return None
    if set(signs) <= {">", r"\ge"}:
        signs, sides = [turned[sign] for sign in signs[::-1]], sides[::-1]
    if not set(signs) <= {"<", r"\le"}:
        return None
    brackets = ("(" if signs[0] == "<" else "[", ")" if signs[1] == "<" else "]")
    return Row(*brackets, (_value(sides[0]), _value(sides[2])))
