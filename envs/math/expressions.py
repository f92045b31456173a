"""Expressions: a small grammar of LaTeX and plain notation, read to the last sign or not at all.

`read` returns an expression as a tree, which is an exact number where it can be. `math-verify` gets these trees as
SymPy objects, since its own parser drops unknown parts of a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

__all__ = ["CONSTANTS", "LONGEST", "Expression", "Tree", "Unreadable", "divided", "number", "read"]

LONGEST: Final = 2000
"""Characters of the longest answer that is read."""
_DEEPEST: Final = 40
_BITS: Final = 20_000
"""Size of the largest exact number that is computed here."""

_NUMBER: Final = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+(?![\d.]))?")
_TOKEN: Final = re.compile(
    rf"(?P<number>{_NUMBER.pattern})|(?P<command>\\[a-zA-Z]+)|(?P<word>[a-zA-Z]+)|(?P<sign>\\?\S)|(?P<blank>\s+)"
)
_FUNCTIONS: Final = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh log ln exp".split()  # noqa: SIM905
)
_INVERSE: Final = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot"}
_NAMES: Final = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot"}
CONSTANTS: Final = frozenset({"pi", "infty", "e", "i"})
_GREEK: Final = frozenset(
    "pi infty alpha beta gamma delta epsilon varepsilon theta lambda mu nu rho sigma tau phi varphi omega".split()  # noqa: SIM905
)
_PLAIN: Final = {"sqrt": r"\sqrt", "pi": r"\pi", "infinity": r"\infty", **{name: f"\\{name}" for name in _FUNCTIONS}}
_TIMES: Final = frozenset({"*", r"\cdot", r"\times", r"\ast"})
_DIVIDED: Final = frozenset({"/", r"\div"})
_BAR: Final = frozenset({"|"})
_ENDS: Final = frozenset({r"\rfloor", r"\rceil"})
_FACTOR: Final = re.compile(r"[a-zA-Z0-9]|\.\d|\\[a-zA-Z]")
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


class Unreadable(Exception):
    """The text is no expression of this grammar."""


Tree = Fraction | str | tuple[Any, ...]
"""A number; the name of a variable or constant; or an operation with its operands, which are trees."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression: its tree, its letters, and whether it was written as digits alone, as before a fraction."""

    tree: Tree
    letters: frozenset[str] = frozenset()
    plain: bool = False

    @property
    def value(self) -> Fraction | None:
        """The exact value of a rational number; None where it is no such number, or too large a one."""
        return self.tree if isinstance(self.tree, Fraction) else None


def number(text: str) -> Fraction:
    """The exact value of a decimal number, with a power of ten after `e` or without.

    Raises:
        Unreadable: it is too large to be computed with.
    """
    mantissa, _, power = text.lower().partition("e")
    if abs(int(power or 0)) > _BITS // 4 or len(mantissa) > _BITS // 4:
        raise Unreadable(text)
    return Fraction(mantissa if mantissa[-1] != "." else mantissa[:-1]) * Fraction(10) ** int(power or 0)


def read(text: str) -> Expression:
    """The expression that the whole text is.

    Raises:
        Unreadable: the text is longer, or something else.
    """
    if len(text) > LONGEST:
        raise Unreadable("too long")
    reader = _Reader(_tokens(text))
    found = reader.sum()
    if reader.next:
        raise Unreadable(reader.next)
    return found


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "blank":
            tokens.append(" ")
        elif match.lastgroup == "word":
            tokens.extend(_letters(match[0]))
        else:
            tokens.append(match[0])
    return tokens


def _letters(word: str) -> list[str]:
    """A run of letters: the name of a function or constant, or a product of at most three variables."""
    if word in _PLAIN:
        return [_PLAIN[word]]
    if len(word) > 3:
        raise Unreadable(word)
    return [*word]


class _Reader:
    """One pass over the tokens, by recursive descent. Blanks count only between the digits of a mixed number."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._place, self._depth, self._bars = tokens, 0, 0, 0

    @property
    def next(self) -> str:
        """The next token that is no blank; empty at the end."""
        place = self._place
        while place < len(self._tokens) and self._tokens[place] == " ":
            place += 1
        return self._tokens[place] if place < len(self._tokens) else ""

    def take(self) -> str:
        while self._place < len(self._tokens) and self._tokens[self._place] == " ":
            self._place += 1
        if self._place == len(self._tokens):
            raise Unreadable("it ends too early")
        self._place += 1
        return self._tokens[self._place - 1]

    def expect(self, token: str) -> None:
        if self.next != token:
            raise Unreadable(f"{token} is missing")
        self.take()

    def sum(self) -> Expression:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Unreadable("too deep")
        found = self.product()
        while self.next in {"+", "-"}:
            sign = self.take()
            found = _added(found, self.product(), sign)
        self._depth -= 1
        return found

    def product(self) -> Expression:
        found = self.signed()
        while self.next:
            if self.next in _TIMES:
                self.take()
                found = _multiplied(found, self.signed())
            elif self.next in _DIVIDED:
                self.take()
                found = divided(found, self.signed())
            elif self.begins():
                found = self.beside(found)
            else:
                break
        return found

    def beside(self, found: Expression) -> Expression:
        """A factor without a sign of multiplication before it."""
        if found.value is not None and self.next[0].isdigit():
            raise Unreadable("two numbers without a sign between them")
        return _multiplied(found, self.power())

    def mixed(self, found: Expression) -> Expression:
        r"""A whole number with the fraction that stands beside it, if one does: `1\frac{4}{5}`, `1 4/5`."""
        spaced = self._place < len(self._tokens) and self._tokens[self._place] == " "
        if found.plain and spaced and self.is_slashed():
            above, _, below = (self.take() for _ in range(3))
            return _mixed(found, divided(_number(above), _number(below)))
        return _mixed(found, self.atom()) if found.plain and self.next == r"\frac" else found

    def is_slashed(self) -> bool:
        """Whether digits, a slash and digits come next, and no more of that number."""
        tokens = [token for token in self._tokens[self._place :] if token.strip()][:3]
        return len(tokens) == 3 and tokens[0].isdigit() and tokens[1] == "/" and tokens[2].isdigit()

    def begins(self) -> bool:
        """Whether a factor begins here."""
        token = self.next
        if not token or token in _TIMES | _DIVIDED | _ENDS:
            return False
        return (token in _BAR and not self._bars) or token in _CLOSING or bool(_FACTOR.match(token))

    def signed(self) -> Expression:
        if self.next in {"+", "-"}:
            self._depth += 1
            if self._depth > _DEEPEST:
                raise Unreadable("too deep")
            sign, after = self.take(), self.signed()
            self._depth -= 1
            return _negated(after) if sign == "-" else replace(after, plain=False)
        return self.power()

    def power(self) -> Expression:
        found = self.mixed(self.atom())
        while self.next in {"!", "^"}:
            found = _of("factorial", found) if self.take() == "!" else _raised(found, self.exponent())
        return found

    def exponent(self) -> Expression:
        if self.next in {"+", "-"}:
            return _negated(self.exponent()) if self.take() == "-" else self.exponent()
        return self.atom()

    def argument(self) -> Expression:
        r"""What a command takes: a group in braces, or a single sign; `\frac12` takes a digit at a time."""
        if self.next == "{":
            return self.atom()
        token = self.next
        if token[:1].isdigit() and len(token) > 1:
            self.take()
            self._tokens[self._place - 1] = token[1:]
            self._place -= 1
            return _number(token[0])
        return self.atom()

    def atom(self) -> Expression:
        token = self.take()
        if token[0].isdigit() or (token[0] == "." and len(token) > 1):
            return _number(token)
        if token.isalpha() and token.isascii():
            return self.variable(token)
        if token in _CLOSING:
            inner = self.inside(_CLOSING[token])
            return replace(inner, plain=False)
        if token in _BAR:
            self._bars += 1
            inner = self.inside("|")
            self._bars -= 1
            return _of("Abs", inner) if inner.value is None else Expression(abs(inner.value))
        if token[0] == "\\" and len(token) > 1:
            return self.command(token[1:])
        raise Unreadable(token)

    def inside(self, closing: str) -> Expression:
        bars, self._bars = self._bars, self._bars if closing == "|" else 0
        inner = self.sum()
        self.expect(closing)
        self._bars = bars
        return inner

    def variable(self, name: str) -> Expression:
        """A letter, with what stands below it."""
        if self.next == "_":
            self.take()
            name += f"_{_name(self.argument().tree)}"
        return Expression(name, frozenset() if name in CONSTANTS else frozenset({name}))

    def command(self, name: str) -> Expression:
        if name == "frac":
            above = self.argument()
            return divided(above, self.argument())
        if name == "binom":
            above = self.argument()
            return _of("binomial", above, self.argument())
        if name == "sqrt":
            return self.root()
        if name in _FUNCTIONS:
            return self.function(name)
        if name in {"lfloor", "lceil"}:
            return _of({"lfloor": "floor", "lceil": "ceiling"}[name], self.inside(f"\\r{name[1:]}"))
        if name in _GREEK:
            return self.variable(name)
        raise Unreadable(f"\\{name}")

    def root(self) -> Expression:
        degree = Expression(Fraction(2))
        if self.next == "[":
            self.take()
            degree = self.inside("]")
        return _of("root", self.argument(), degree)

    def function(self, name: str) -> Expression:
        base, power = None, None
        while self.next in {"_", "^"}:
            if self.take() == "_":
                base = self.argument()
            else:
                power = self.exponent()
        if power and power.value == -1 and name in _INVERSE:
            name, power = _INVERSE[name], None
        found = self.operand()
        if name == "log":
            found = _of("log", found, base or Expression(Fraction(10)))
        elif base:
            raise Unreadable(f"\\{name}_")
        else:
            found = _of(_NAMES.get(name, name), found)
        return _raised(found, power) if power else found

    def operand(self) -> Expression:
        """The argument of a function: a group, or the factors that stand beside each other, up to a sign."""
        if self.next in {"(", "["}:
            return self.atom()
        found = self.signed()
        while self.begins() and self.next[0] not in "([" and self.next.lstrip("\\") not in _FUNCTIONS:
            found = self.beside(found)
        return found


def _number(token: str) -> Expression:
    return Expression(number(token), plain=token.isdigit())


def _name(tree: Tree) -> str:
    """An index as a part of a name."""
    return "".join(map(_name, tree)) if isinstance(tree, tuple) else str(tree)


def _of(operation: str, *parts: Expression) -> Expression:
    return Expression((operation, *(part.tree for part in parts)), frozenset().union(*(part.letters for part in parts)))


def _exact(value: Fraction) -> Expression | None:
    small = value.numerator.bit_length() < _BITS and value.denominator.bit_length() < _BITS
    return Expression(value) if small else None


def _added(one: Expression, other: Expression, sign: str) -> Expression:
    other = _negated(other) if sign == "-" else other
    exact = None
    if one.value is not None and other.value is not None:
        exact = _exact(one.value + other.value)
    return exact or _of("Add", one, other)


def _negated(one: Expression) -> Expression:
    return _of("Mul", Expression(Fraction(-1)), one) if one.value is None else Expression(-one.value)


def _multiplied(one: Expression, other: Expression) -> Expression:
    exact = None
    if one.value is not None and other.value is not None:
        exact = _exact(one.value * other.value)
    return exact or _of("Mul", one, other)


def divided(one: Expression, other: Expression) -> Expression:
    """A quotient; raises Unreadable for a division by zero."""
    if other.value == 0:
        raise Unreadable("a division by zero")
    exact = None
    if one.value is not None and other.value is not None:
        exact = _exact(one.value / other.value)
    return exact or _of("Mul", one, _of("Pow", other, Expression(Fraction(-1))))


def _mixed(whole: Expression, part: Expression) -> Expression:
    """A whole number and a proper fraction beside each other are their sum; with anything else it is a product."""
    proper = part.value is not None and 0 < part.value < 1
    return _added(whole, part, "+") if proper else _multiplied(whole, part)


def _raised(base: Expression, power: Expression) -> Expression:
    exponent = power.value
    if base.value is not None and exponent is not None and exponent.denominator == 1:
        if not base.value and exponent <= 0:
            raise Unreadable("a power of zero")
        bits = max(base.value.numerator.bit_length(), base.value.denominator.bit_length())
        if abs(exponent) * bits < _BITS:
            return Expression(base.value ** int(exponent))
    return _of("Pow", base, power)
