"""Turns type variables, type aliases and new types into bytes.

`def f[T: Bound]`, `class Box[T]` and `type Tree = list[Tree]` (PEP 695, and defaults from PEP 696) evaluate bounds,
constraints, defaults and values at their first use. So does a copy: it takes along the functions that evaluate them.
Such a function that uses the names of a class is called before the copy is made.

The order of these objects' fields is that of Objects/typevarobject.c, in CPython 3.12 and 3.13. On a Python that has
another order, variables and aliases are not copied.
"""

from __future__ import annotations

import dis
import gc
import sys
import typing
from functools import cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GENERIC", "evaluate", "evaluated", "reduced_generic"]

_ATTRIBUTES: Final = {
    "bound": "__bound__",
    "constraints": "__constraints__",
    "default": "__default__",
    "value": "__value__",
}
"""The parts that are evaluated late, and the attribute of each."""
_LIMITS: Final = ("bound", "covariant", "contravariant", "infer_variance", "default")
_VARIABLES: Final = {"TypeVar": "", "ParamSpec": "**", "TypeVarTuple": "*"}
_STARS: Final[dict[Any, str]] = {
    getattr(typing, name): star for name, star in _VARIABLES.items() if hasattr(typing, name)
}
_ALIAS: Final[Any] = getattr(typing, "TypeAliasType", None)
GENERIC: Final = frozenset((*_STARS, typing.NewType, *(() if _ALIAS is None else (_ALIAS,))))
"""Types of the objects that are copied here."""
_known: dict[str, Any] = {}
_identities: dict[int, str] = {}
"""Objects of these types in this session, which bytes from elsewhere do not change."""


class _Late:
    """Evaluates a part of a copy: by the original's function, unless the original had the value."""

    __slots__ = ("function", "value")

    def __init__(self) -> None:
        self.function: Callable[[], Any] | None = None
        self.value: tuple[Any] | None = None

    def __call__(self) -> Any:
        if self.value is None:
            assert self.function is not None  # noqa: S101 - it is set together with the object
            return self.function()
        return self.value[0]


class _Part(NamedTuple):
    """A part that a variable or an alias evaluates: its function (a `FunctionType`), and whether it is evaluated."""

    role: str
    function: Any
    done: bool


def reduced_generic(value: Any) -> tuple[Any, ...] | None:
    """The reduction of a type variable, an alias or a new type that code made; None if a module has it under its name.

    Raises:
        ValueError: this Python keeps late evaluation in an unknown way.
    """
    name, module = str(value.__name__), value.__module__
    if module not in ("__main__", None) and getattr(sys.modules.get(module), name, None) is value:
        return None
    if not _KNOWN and cast("Any", type(value)) is not typing.NewType:
        raise ValueError("what is evaluated late, as this Python keeps it")
    parts = _parts(value)
    if not parts and (made_with := _arguments(value)) is not None:
        return _constructed, (_identity(value), type(value), module, *made_with)
    functions = {part.role: _by_function(value, part) for part in parts}
    params = value.__type_params__ if type(value) is _ALIAS else ()
    made = _identity(value), cast("Any", type(value)), (name, module), params, list(functions)
    return _lately, made, functions, None, None, _complete


def evaluated(value: Any) -> dict[str, Any]:
    """The values that a variable or an alias has evaluated so far, by role."""
    return {part.role: getattr(value, _ATTRIBUTES[part.role]) for part in _parts(value) if part.done}


def evaluate(made: Any, values: dict[str, Any]) -> None:
    """Give a copy the values that the original had evaluated."""
    for part in _parts(made):
        late = _late(part)
        if late is not None and not part.done and part.role in values:
            late.value = (values[part.role],)
            getattr(made, _ATTRIBUTES[part.role])


def _parts(value: Any) -> list[_Part]:
    """The parts that a variable or an alias evaluates late; none if code called its type, as in `TypeVar("T")`."""
    held = gc.get_referents(value)
    kind = cast("Any", type(value))
    name = value.__name__
    places = [at for at, each in enumerate(held) if type(each) is FunctionType and each.__code__.co_name == name]
    if kind is _ALIAS:  # parameters, function, value
        return [_Part("value", held[at], done=len(held) > at + 1) for at in places[:1]]
    found: list[_Part] = []
    for number, at in enumerate(places):  # each value stands before its function
        before = held[at - 1] if at else kind
        done = before is not kind and not (number and at - 1 == places[number - 1])
        default = number == len(places) - 1 and hasattr(value, "has_default") and value.has_default()
        role = "default" if default else "constraints" if _is_tuple(held[at].__code__) else "bound"
        found.append(_Part(role, held[at], done=done))
    return found


def _is_tuple(code: CodeType) -> bool:
    """Whether the code after a colon makes a tuple: those are constraints."""
    steps = [step for step in dis.get_instructions(code) if step.opname != "NOP"]
    last = steps[-1] if steps[-1].opname == "RETURN_CONST" else steps[-2]
    if type(last.argval) is tuple:
        return _constant_limits()
    return last.opname == "BUILD_TUPLE" or "LIST_TO_TUPLE" in last.argrepr


@cache
def _constant_limits() -> bool:
    """Whether a tuple of constants also means constraints: to the compilers of Python 3.12 and 3.13 it is a bound."""
    space: dict[str, Any] = {}
    exec("def f[T: ('A', 'B')](): pass", space)  # noqa: S102 - our own code
    return bool(space["f"].__type_params__[0].__constraints__)


def _late(part: _Part) -> _Late | None:
    """The evaluator of a part of a copy; None for an original."""
    late = part.function.__globals__.get(f"__{part.role}__")
    return late if type(late) is _Late else None


def _by_function(value: Any, part: _Part) -> tuple[bool, Any]:
    """The function that evaluates a part, or (with False first) its value."""
    late = _late(part)
    if late is not None and late.function is None and late.value is not None:
        return False, late.value[0]
    function: Any = part.function if late is None else late.function
    if "__classdict__" in function.__code__.co_freevars:
        return False, getattr(value, _ATTRIBUTES[part.role])
    return True, function


def _identity(value: Any) -> str:
    identity = _identities.get(id(value))
    return _know(value, uuid4().hex) if identity is None else identity


def _know(value: Any, identity: str) -> str:
    _known[identity] = value
    _identities[id(value)] = identity
    return identity


def _arguments(value: Any) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments with which the type of a variable, an alias or a new type is called; None if brackets (`f[T]`) made
    it.
    """
    if type(value) is _ALIAS:
        return [value.__name__, value.__value__], {"type_params": value.__type_params__}
    if type(value) is typing.NewType:
        return [value.__name__, value.__supertype__], {}
    known = {name: getattr(value, f"__{name}__", None) for name in _LIMITS}
    if not getattr(value, "has_default", bool)():
        del known["default"]
    limits = {name: each for name, each in known.items() if each not in (None, False) or name == "default"}
    constraints = getattr(value, "__constraints__", ())
    # A variable that brackets made has no module of its own.
    if value.__module__ == "typing" and not constraints and not limits.keys() - {"infer_variance"}:
        return None
    return [value.__name__, *constraints], limits


def _constructed(identity: str, kind: Any, module: str, args: list[Any], limits: dict[str, Any]) -> Any:
    if identity not in _known:
        # It takes its module from the names of its caller.
        space = {"__name__": module, "kind": kind, "args": args, "limits": limits}
        _know(eval("kind(*args, **limits)", space), identity)  # noqa: S307 - our own code
    return _known[identity]


def _lately(identity: str, kind: Any, where: tuple[str, str], params: tuple[Any, ...], roles: list[str]) -> Any:
    if identity not in _known:
        name, module = where
        space: dict[str, Any] = {"__name__": module, **{f"__{role}__": _Late() for role in roles}}
        if kind is _ALIAS:
            code = compile(f"type {name} = __value__()", "<string>", "exec", dont_inherit=True)
            # Its parameters are made already; a statement without any has None in their place.
            constants = [params if params and each is None else each for each in code.co_consts]
            exec(code.replace(co_consts=tuple(constants)), space)  # noqa: S102 - our own code
            made = space[name]
        else:
            limit = {"bound": ": __bound__()", "constraints": ": (*__constraints__(),)"}
            limits_text = "".join(limit.get(role, " = __default__()") for role in roles)
            source = f"def _made[{_STARS[kind]}{name}{limits_text}](): pass"
            exec(compile(source, "<string>", "exec", dont_inherit=True), space)  # noqa: S102 - our own code
            (made,) = space["_made"].__type_params__
        _know(made, identity)
    return _known[identity]


def _complete(made: Any, functions: dict[str, tuple[bool, Any]]) -> None:
    for part in _parts(made):
        late = _late(part)
        if late is not None and late.function is None and late.value is None:
            by_function, what = functions[part.role]
            if by_function:
                late.function = what
            else:
                late.value = (what,)


_PROBE: Final = "def f[A: int, B: (int, str), C, D{default}](): pass\ntype E = int"


def _is_known() -> bool:
    """Whether this Python keeps late evaluation as `_parts` expects, which no public interface guarantees."""
    if _ALIAS is None:
        return True
    default = hasattr(typing.TypeVar, "has_default")
    space: dict[str, Any] = {}
    source = _PROBE.format(default=": int = str" if default else ": int")
    exec(compile(source, "<string>", "exec", dont_inherit=True), space)  # noqa: S102 - our own code
    *variables, last = space["f"].__type_params__
    expected: list[tuple[Any, dict[str, Any]]] = [
        *zip(variables, ({"bound": int}, {"constraints": (int, str)}, {}), strict=True),
        (last, {"bound": int, "default": str} if default else {"bound": int}),
        (space["E"], {"value": int}),
    ]
    try:
        for probe, values in expected:
            for done in (False, True):
                parts = _parts(probe)
                found = {part.role: part.function() for part in parts if part.done is done}
                if len(parts) != len(values) or found != values or evaluated(probe) != (values if done else {}):
                    return False
                for role in values:
                    getattr(probe, _ATTRIBUTES[role])
    except Exception:  # noqa: BLE001 - whatever another Python makes of it
        return False
    return True


_KNOWN: Final = _is_known()
