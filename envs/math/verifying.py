"""The comparison of expressions by `math-verify`, in a process of its own.

SymPy may compute for hours, or ask for all memory, over an expression of ten signs. `math-verify` bounds that by a
signal, which works in the main thread only and does not interrupt a long multiplication; here the process is killed.
"""

from __future__ import annotations

import logging
import random
import resource
import warnings
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from thread_envs.math.comparing import Comparison
from thread_envs.math.reading import reading

if TYPE_CHECKING:
    from sympy import Expr

    from thread_envs.math.expressions import Tree

__all__ = ["Verifier"]

_MEMORY: Final = 4 << 30
"""Bytes."""
_DIGITS: Final = 40
_CLOSE: Final = 1e-25
_POINTS: Final = 3


class Verifier:
    """Compares answers; made in the process that it is called in.

    Args:
        memory: bytes of address space that the process is restricted to; None for no restriction.
    """

    def __init__(self, memory: int | None = _MEMORY) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory if hard < 0 else min(memory, hard), hard))
        logging.getLogger("math_verify").setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")
        import math_verify

        self._verify = math_verify.verify

    def same(self, gold: str, said: str, percents: bool) -> bool:
        """Whether two answers are the same; see `Comparison`."""
        return Comparison(self._equal, percents=percents).same(reading(gold), reading(said))

    def _equal(self, gold: Tree, said: Tree) -> bool:
        equations = [isinstance(tree, tuple) and tree[0] == "Eq" for tree in (gold, said)]
        if all(equations):
            return self._equations(gold, said)
        return self._verified(built(gold), built(said))

    def _verified(self, one: Any, other: Any) -> bool:
        """Whether `math-verify` finds them equal, and no value tells them apart: it compares 15 digits."""
        return not _differ(one, other) and self._verify(one, other, timeout_seconds=None)

    def _equations(self, gold: Any, said: Any) -> bool:
        """Whether one equation is a multiple of the other."""
        first, second = (built(tree[1]) - built(tree[2]) for tree in (gold, said))
        point = _points(first, second)[0]
        try:
            factor = first.subs(point) / second.subs(point)
        except ZeroDivisionError:
            return False
        return factor.is_finite is True and factor.is_zero is False and self._verified(first, factor * second)


def built(tree: Tree) -> Any:
    """The SymPy expression of a tree. Variables are real."""
    import sympy

    if isinstance(tree, Fraction):
        return sympy.Rational(tree.numerator, tree.denominator)
    if isinstance(tree, str):
        constants = {"pi": sympy.pi, "infty": sympy.oo, "e": sympy.E, "i": sympy.I}
        return constants[tree] if tree in constants else sympy.Symbol(tree, real=True)
    return getattr(sympy, tree[0])(*map(built, tree[1:]))


def _differ(one: Expr, other: Expr) -> bool:
    """Whether two expressions have different values at a point where both have one."""
    difference = one - other
    for point in _points(one, other):
        try:
            size = abs(one.subs(point).doit().evalf(_DIGITS))
            gap = abs(difference.subs(point).doit().evalf(_DIGITS))
            if gap > size * _CLOSE and gap > _CLOSE:
                return True
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            continue
    return False


def _points(one: Expr, other: Expr) -> list[dict[Any, Any]]:
    """Values for the letters of two expressions, drawn anew the same way each time."""
    from sympy import Rational

    drawn = random.Random(0)
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    return [{letter: Rational(drawn.randint(101, 999), 97) for letter in letters} for _ in range(_POINTS)]
