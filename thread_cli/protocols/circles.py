"""Finds texts that go round in circles, while they are written."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["goes_round"]

_TAIL: Final = 4_000
"""Characters at the end of a text that are examined."""
_ANCHOR: Final = 24
_ENOUGH: Final = ((8, 240), (4, 800))
"""Pairs of a number of repetitions and the characters that they fill together; one pair reached is enough."""
_NUMBERED: Final = ((16, 800),)
"""The same for repetitions in which only numbers differ, since lists may well be long."""


def goes_round(text: str) -> bool:
    """Whether a text ends in one piece that repeats over and over, be it letters, lines or paragraphs."""
    tail = text[-_TAIL:]
    return _repeats(tail, _ENOUGH) or _repeats(re.sub(r"\d+", "0", tail), _NUMBERED)


def _repeats(tail: str, enough: tuple[tuple[int, int], ...]) -> bool:
    # The nearest earlier occurrence of the text's end gives the period.
    before = tail.rfind(tail[-_ANCHOR:], 0, len(tail) - 1)
    if before < 0 or len(tail) < _ANCHOR:
        return False
    period = len(tail) - _ANCHOR - before
    for times, characters in enough:
        span = max(times * period, characters)
        if span <= len(tail) and tail[-span:-period] == tail[-span + period :]:
            return True
    return False
