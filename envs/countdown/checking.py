"""Whether an answer solves a Countdown problem. It shares nothing with the search that finds answers.

An answer is a list of steps, `98-92=6`, anywhere in its text; APR's paths say each step several times, and only their
lines `Exploring Operation` count. Without steps, its last line may be one expression, `(98-92)+(84-30)`.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_solution"]

_LONGEST: Final = 100_000
_LONGEST_EXPRESSION: Final = 300
_STEP: Final = re.compile(
    r"(?<![\d.])(\d{1,18})[ \t]{0,9}([-+*/])[ \t]{0,9}(\d{1,18})[ \t]{0,9}=[ \t]{0,9}(\d{1,18})(?![\d.]*\d)"
)
_EXPLORED: Final = "Exploring Operation:"
_SIGNS: Final = str.maketrans({"×": "*", "·": "*", "÷": "/", ":": "/", "−": "-", "–": "-"})  # noqa: RUF001
_EXPRESSION: Final = re.compile(r"[\d\s()+\-*/]+")


def is_solution(numbers: Sequence[int], target: int, answer: str) -> bool:
    """Whether the answer gets from the numbers to the target, each number used once, by exact arithmetic.

    No step may be wrong, use a number that is not there, or give a negative number or a fraction; the target alone has
    to be left.
    """
    answer = answer[:_LONGEST]
    explored = [line.partition(_EXPLORED)[2] for line in answer.splitlines() if _EXPLORED in line]
    lines = [line.partition(",")[0] for line in explored] or [answer.translate(_SIGNS)]
    steps = [step for line in lines for step in _STEP.findall(line)]
    if explored and len(steps) < len(explored):
        return False
    if steps:
        return _leads(numbers, target, steps)
    return _is_expression(numbers, target, answer)


def _leads(numbers: Sequence[int], target: int, steps: Sequence[tuple[str, str, str, str]]) -> bool:
    left = Counter(numbers)
    for one, sign, other, result in steps:
        used = Counter((int(one), int(other)))
        if used - left or _computed(int(one), sign, int(other)) != int(result):
            return False
        left = left - used + Counter((int(result),))
    return left == Counter((target,))


def _computed(one: int, sign: str, other: int) -> int | None:
    """The result; None where it is negative or no whole number."""
    if sign == "+":
        return one + other
    if sign == "*":
        return one * other
    if sign == "-":
        return one - other if one >= other else None
    return one // other if other and one % other == 0 else None


def _is_expression(numbers: Sequence[int], target: int, answer: str) -> bool:
    lines = answer.strip().translate(_SIGNS).splitlines()
    sides = [side.strip(" .`$") for side in lines[-1].split("=")] if lines else []
    if not sides or len(sides) > 2 or (len(sides) == 2 and str(target) not in sides):
        return False
    text = next((side for side in sides if side != str(target)), "")
    if len(text) > _LONGEST_EXPRESSION or not _EXPRESSION.fullmatch(text):
        return False
    try:
        found = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return found is not None and found[0] == target and found[1] == Counter(numbers)


_OPERATORS: Final[dict[type[ast.operator], str]] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def _value(node: ast.expr) -> tuple[int, Counter[int]] | None:
    """The value of an expression, and the numbers in it; None where a step breaks the rules."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value, Counter((node.value,))
    if not isinstance(node, ast.BinOp) or type(node.op) not in _OPERATORS:
        return None
    left, right = _value(node.left), _value(node.right)
    if left is None or right is None:
        return None
    value = _computed(left[0], _OPERATORS[type(node.op)], right[0])
    return None if value is None else (value, left[1] + right[1])
