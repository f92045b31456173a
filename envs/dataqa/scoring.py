"""How answers are marked: as the paper's runners do it, and strictly."""

from __future__ import annotations

import math

__all__ = ["final_answer", "marks"]

_OPENING = "Final Answer:"


def final_answer(text: str) -> str:
    """What stands behind the last `Final Answer:`; the whole text where it does not occur."""
    return text.rpartition(_OPENING)[2].strip()


def marks(answer: str, truth: str, decimals: int | None = None) -> dict[str, float]:
    """Marks of an answer.

    `substring` is the paper's: a numeric truth needs a number with the same integer part, any other truth has to be
    part of the answer or the answer part of it, case aside. `strict` asks for the truth itself, or, where `decimals`
    is given, for a number that differs by no more than rounding to that many decimals explains. An empty answer, which
    the published runners take for part of every truth, earns nothing.
    """
    said = final_answer(answer).casefold()
    truth = truth.casefold()
    return {"substring": float(bool(said) and _alike(said, truth)), "strict": float(_same(said, truth, decimals))}


def _alike(said: str, truth: str) -> bool:
    expected = _number(truth)
    if expected is None:
        return said in truth or truth in said
    number = _number(said)
    return number is not None and int(number) == int(expected)


def _same(said: str, truth: str, decimals: int | None) -> bool:
    said = said.strip(" .\"'")
    if decimals is None:
        return said == truth
    number, expected = _number(said), _number(truth)
    if number is None or expected is None:
        return False
    return abs(number - expected) <= 0.5 * 10**-decimals + 1e-9


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
