"""Answers to one question, written by several threads in their own ways, so that they can be compared and counted."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["answer_in", "closed_at", "likeness", "most_frequent"]

_BOXED: Final = re.compile(r"\\(?:boxed|fbox)\s*\{")
_SAID: Final = re.compile(r".*\banswer(?:\s+is|\s*:)(?!\s*$)[\s:]*", re.IGNORECASE)
_WRAPPED: Final = re.compile(r"(?:\$+|\*+|\\\(|\\\[|`+)\s*(.*?)\s*(?:\$+|\*+|\\\)|\\\]|`+)")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER: Final = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")


def answer_in(text: str) -> str:
    r"""The answer that a text ends in: what its last `\boxed{…}` holds; else the rest of its last line, after words
    such as `The answer is`, where these stand on it. Empty where the text is.
    """
    for found in reversed([*_BOXED.finditer(text)]):
        end = closed_at(text, found.end())
        if end is not None:
            return text[found.end() : end].strip()
    line = text.rstrip().rpartition("\n")[2].strip()
    return _SAID.sub("", line, count=1).strip()


def closed_at(text: str, start: int) -> int | None:
    """The place of the bracket that closes the one opened right before `start`; None where there is none."""
    depth = 1
    for at in range(start, len(text)):
        if text[at] in "{}" and text[at - 1 : at] != "\\":
            depth += 1 if text[at] == "{" else -1
            if not depth:
                return at
    return None


def likeness(answer: str) -> str:
    """A text that is equal for answers that differ only in how they are written down: in case, blanks, marks around
    them, a full stop, thousands' commas, a dollar sign, or zeros that change no number.
    """
    text = " ".join(answer.split()).rstrip(".").strip()
    if found := _WRAPPED.fullmatch(text):
        text = found[1].rstrip(".")
    text = _THOUSANDS.sub("", text.removeprefix("\\").removeprefix("$").strip()).casefold()
    return _shortest(text) if _NUMBER.fullmatch(text) else text


def most_frequent(answers: Iterable[str]) -> str | None:
    """The answer that most of `answers` are like, as the first of these has it; of equals the one that comes first.

    Answers of no characters do not count. None where there is no other.
    """
    first: dict[str, str] = {}
    counts = Counter[str]()
    for answer in answers:
        if like := likeness(answer):
            first.setdefault(like, answer)
            counts[like] += 1
    return first[max(counts, key=counts.__getitem__)] if counts else None


def _shortest(number: str) -> str:
    """A decimal number without zeros and signs that change nothing; of any length, so not by way of a float."""
    sign = "-" if number.startswith("-") else ""
    whole, _, fraction = number.lstrip("+-").partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return "0" if (whole, fraction) == ("0", "") else f"{sign}{whole}{f'.{fraction}' if fraction else ''}"
