"""Code that needs no interpreter: it assigns and prints constants, or does small sums with numbers and texts.

Such code is most of what threads write. It is evaluated in the runner by the same Python that sessions run, operation
by operation, and only if all operands are small numbers and texts: such operations have no other effects.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.interpreter import Names, Outcome
from thread_cli.interpreters.session_values import STATE, Held, NotPlainError, encoded
from thread_cli.protocols.code import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["simple_outcome"]

_LONGEST_CODE: Final = 10_000
_LONGEST_TEXT: Final = 10_000
_LARGEST: Final = 1 << 60
_operator = cast("Any", operator)
_OPERATIONS: Final[dict[type, Callable[[Any, Any], Any]]] = {
    ast.Add: _operator.add,
    ast.Sub: _operator.sub,
    ast.Mult: _operator.mul,
    ast.Div: _operator.truediv,
    ast.FloorDiv: _operator.floordiv,
    ast.Mod: _operator.mod,
}
_NUMBERS: Final = (int, float)
_SET: Final = (ast.Set, ast.Call)


class _OtherError(Exception):
    """The code is not simple."""


def simple_outcome(code: str, names: Mapping[str, Any]) -> Outcome | None:
    """The outcome of simple code; None for all other code, and for code that ends in an error."""
    if len(code) > _LONGEST_CODE:
        return None
    bound: dict[str, Any] = {}
    printed: str | None = None
    try:
        for statement in parse(code):
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    found = {_free(name, names): _value(value, names, bound)}
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                    found = {_free(_name(target), names): None for target in targets}
                    if len(found) != len(values):
                        return None
                    found = dict(zip(found, [_value(value, names, bound) for value in values], strict=True))
                case ast.Expr(ast.Call(ast.Name(id="print"), [shown], [])) if not (
                    "print" in names or "print" in bound or _has_state(names)
                ):
                    found = {}
                    printed = f"{_shown(_value(shown, names, bound))}\n"
                case _:
                    return None
            for name, value in found.items():
                bound.pop(name, None)
                bound[name] = value
    except (
        _OtherError,
        NotPlainError,
        ArithmeticError,
        ValueError,
        TypeError,
        SyntaxError,
        MemoryError,
        RecursionError,
    ):
        return None
    return Outcome(bound, printed)


def _value(node: ast.expr, names: Mapping[str, Any], bound: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value) if type(value) in (str, int, float, bool, type(None)):
            return value
        case ast.Name(id=name):
            return _small(bound[name] if name in bound else names.get(name, _SET))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _computed(op, _value(left, names, bound), _value(right, names, bound))
        case ast.JoinedStr(values=parts):
            return _small("".join([_text(part, names, bound) for part in parts]))
        case _:
            return _constant(node)


def _computed(op: ast.operator, left: Any, right: Any) -> Any:
    numbers = type(left) in _NUMBERS and type(right) in _NUMBERS
    if not numbers and not (isinstance(op, ast.Add) and type(left) is type(right) is str):
        raise _OtherError
    return _small(_OPERATIONS[type(op)](_small(left), _small(right)))


def _text(part: ast.expr, names: Mapping[str, Any], bound: Mapping[str, Any]) -> str:
    match part:
        case ast.Constant(value=str(text)):
            return text
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return _shown(_value(value, names, bound))
        case _:
            raise _OtherError


def _shown(value: Any) -> str:
    if type(value) not in (str, int, float, bool, type(None)):
        raise _OtherError
    text = str(value)
    text.encode()  # half a character cannot be printed
    return text


def _small(value: Any) -> Any:
    """A number or a text that is not large."""
    kind = type(cast("object", value))
    if kind is float and value != value:  # noqa: PLR0124 - it is no number, and equal to itself alone
        raise _OtherError
    if kind in (float, bool, type(None)) or (kind is int and -_LARGEST < value < _LARGEST):
        return value
    if kind is str and len(value) <= _LONGEST_TEXT:
        return value
    raise _OtherError


def _constant(node: ast.expr) -> Any:
    """A constant collection; sets are left to sessions, since their order is not the runner's."""
    if any(isinstance(inner, _SET) for inner in ast.walk(node)):
        raise _OtherError
    value = ast.literal_eval(node)
    encoded(value)
    return value


def _has_state(names: Mapping[str, Any]) -> bool:
    """Whether the thread has changed state besides names: that may affect `print`."""
    return isinstance(names, Names) and STATE in names.kept


def _free(name: str, names: Mapping[str, Any]) -> str:
    """The name, if it can be bound without side effects: no object is deleted, and Python does not use the name."""
    if isinstance(names.get(name), Held) or (name.startswith("__") and name.endswith("__")):
        raise _OtherError
    return name


def _name(target: ast.expr) -> str:
    if not isinstance(target, ast.Name):
        raise _OtherError
    return target.id
