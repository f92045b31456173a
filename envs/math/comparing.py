"""Whether two answers are the same: part by part, by exact values and by words; expressions are left to `equal`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from thread_envs.math.expressions import Expression, Tree, divided
from thread_envs.math.reading import Based, Equation, Listing, Matrix, Ratio, Reading, Row, Text, Union, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


__all__ = ["Comparison"]

_WORD: Final = re.compile(r"[^\W\d_]+")
_ONLY_WORDS: Final = re.compile(r"(?:[^\W\d_]|[\s.,'\"()]|(?<=[^\W\d_])-(?=[^\W\d_])|\\text\s*\{|\})*")
_ARTICLES: Final = frozenset({"a", "an", "the"})


class Comparison:
    """Compares answers.

    Args:
        equal: whether two expressions, given by their trees, have the same value for all their letters.
        percents: whether the question asks for percents, so that `50` and `50%` are the same.
    """

    def __init__(self, equal: Callable[[Tree, Tree], bool], *, percents: bool = False) -> None:
        self._equal = equal
        self._percents = percents

    def same(self, gold: Reading, said: Reading) -> bool:
        """Whether `said` is the answer `gold`. Nothing equals an empty answer."""
        gold, said = _only(gold), _only(said)
        if isinstance(gold, Equation) or isinstance(said, Equation):
            return self._equations(gold, said)
        if isinstance(gold, Text) or isinstance(said, Text):
            return _same_words(gold, said)
        if isinstance(gold, Value) and isinstance(said, Value):
            return self._values(gold, said)
        if isinstance(gold, Based) and isinstance(said, Based):
            return gold == said
        if isinstance(gold, Ratio) or isinstance(said, Ratio):
            return self._ratios(gold, said)
        if isinstance(gold, Row) and isinstance(said, Row):
            brackets = (gold.opening, gold.closing) == (said.opening, said.closing)
            return brackets and self._in_order(gold.items, said.items)
        if isinstance(gold, Matrix) and isinstance(said, Matrix):
            rows = zip(gold.rows, said.rows, strict=False)
            return len(gold.rows) == len(said.rows) and all(self._in_order(*both) for both in rows)
        if isinstance(gold, Union) and isinstance(said, Union):
            return self._in_any_order(gold.items, said.items)
        if isinstance(gold, Listing) and isinstance(said, Listing):
            return self._listings(gold, said)
        return False

    def _values(self, gold: Value, said: Value) -> bool:
        if not gold.unit.agrees(said.unit):
            return False
        one, other = gold.expression, said.expression
        if gold.percent == said.percent:
            return self._expressions(one, other)
        if gold.percent:  # a sign that is left off, or the share itself
            return self._expressions(one, other) or self._expressions(_hundredth(one), other)
        return self._expressions(one, _hundredth(other)) or (self._percents and self._expressions(one, other))

    def _expressions(self, one: Expression, other: Expression) -> bool:
        if one.tree == other.tree:
            return True
        if one.value is not None and other.value is not None:
            return False
        return self._equal(one.tree, other.tree)

    def _equations(self, gold: Reading, said: Reading) -> bool:
        if isinstance(gold, Equation) and isinstance(said, Equation):
            return self._both_equations(gold, said)
        if isinstance(gold, Equation):
            return bool(gold.name) and self.same(gold.right, said)
        if isinstance(said, Equation):
            # `x = 5` and `2 + 3 = 5` say 5; `2x = 10` does not.
            named = bool(said.name) or (said.left is not None and not said.left.letters)
            return named and self.same(gold, said.right)
        return False

    def _both_equations(self, gold: Equation, said: Equation) -> bool:
        named = gold.name == said.name or said.left is None or gold.left is None
        if named and (gold.name or gold.left == said.left) and self.same(gold.right, said.right):
            return True
        sides = [gold.left, _expression(gold.right), said.left, _expression(said.right)]
        trees = [side.tree for side in sides if side is not None]
        return len(trees) == 4 and self._equal(("Eq", *trees[:2]), ("Eq", *trees[2:]))

    def _ratios(self, gold: Reading, said: Reading) -> bool:
        if isinstance(gold, Ratio) and isinstance(said, Ratio):
            if self._in_order(gold.terms, said.terms):
                return True
            if gold.clock or said.clock or len(gold.terms) != len(said.terms):
                return False
            shares = [_shares(ratio.terms) for ratio in (gold, said)]
            return shares[0] is not None and shares[0] == shares[1]
        ratio, other = (gold, said) if isinstance(gold, Ratio) else (said, gold)
        if not isinstance(ratio, Ratio) or not isinstance(other, Value) or len(ratio.terms) != 2 or ratio.clock:
            return False
        shares = _shares(ratio.terms)
        return shares is not None and other.expression.value is not None and other.expression.value == shares[0]

    def _listings(self, gold: Listing, said: Listing) -> bool:
        if gold.braces and said.braces:
            return self._in_any_order(self._once(gold.items), self._once(said.items))
        return self._in_any_order(gold.items, said.items)

    def _once(self, items: Sequence[Reading]) -> list[Reading]:
        found: list[Reading] = []
        for item in items:
            if not any(self.same(known, item) for known in found):
                found.append(item)
        return found

    def _in_order(self, gold: Sequence[Reading], said: Sequence[Reading]) -> bool:
        return len(gold) == len(said) and all(self.same(*both) for both in zip(gold, said, strict=True))

    def _in_any_order(self, gold: Sequence[Reading], said: Sequence[Reading]) -> bool:
        if len(gold) != len(said):
            return False
        left = [*said]
        for item in gold:
            found = next((place for place, other in enumerate(left) if self.same(item, other)), None)
            if found is None:
                return False
            del left[found]
        return True


def _only(found: Reading) -> Reading:
    """The only element of a set of one."""
    return found.items[0] if isinstance(found, Listing) and len(found.items) == 1 else found


def _expression(found: Reading) -> Expression | None:
    return found.expression if isinstance(found, Value) else None


def _hundredth(one: Expression) -> Expression:
    return divided(one, Expression(Fraction(100)))


def _shares(terms: Sequence[Reading]) -> list[Fraction] | None:
    """Each term of a ratio over the last one; None where they are no numbers, or the last is 0."""
    values = [term.expression.value if isinstance(term, Value) else None for term in terms]
    last = values[-1]
    if not last or any(value is None for value in values):
        return None
    return [value / last for value in values if value is not None]


def _same_words(gold: Reading, said: Reading) -> bool:
    """Whether the same words are said, case, articles and punctuation aside; other texts have to be the same."""
    one, other = (found.text if isinstance(found, (Text, Value)) else "" for found in (gold, said))
    if _ONLY_WORDS.fullmatch(one) and _ONLY_WORDS.fullmatch(other):
        return bool(_named(one)) and _named(one) == _named(other)
    plain = [re.sub(r"\s+(?!\w)|(?<!\w)\s+|[{}]", "", text) for text in (one, other)]
    return bool(plain[0]) and plain[0] == plain[1]


def _named(text: str) -> list[str]:
    words = [word for word in _WORD.findall(text.casefold()) if word != "text"]
    # A letter that names a choice may be an article as well.
    return [word for word in words if word not in _ARTICLES] or words
