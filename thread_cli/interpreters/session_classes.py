"""Turns the classes of a thread's code, and their instances, into bytes, without running any of that code.

A class is made again with its own names, slots and bases, in the order that they had. The hooks of a metaclass, a base
or a descriptor at the creation of a class (`__new__`, `__init_subclass__`, `__set_name__`) ran for the original, and do
not run again. A class brings its subclasses along, since it refers to them. An instance is made again by the standard
class that it is based on, with its contents; its own class's methods for pickling, construction, setting and adding are
not called.
"""

from __future__ import annotations

import _collections_abc
import abc
import collections.abc
import contextlib
import datetime as dt
import enum
import io
import numbers
import random
import types
import typing
from collections import OrderedDict, defaultdict, deque
from contextlib import contextmanager, suppress
from decimal import Decimal
from threading import local
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from weakref import WeakSet

from cloudpickle import cloudpickle as internals  # pyright: ignore[reportMissingTypeStubs]

from thread_cli.interpreters.session_functions import DELETING, HEAP, importable, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = [
    "Plan",
    "adopt",
    "is_own",
    "plan",
    "reduced_builtin",
    "reduced_class",
    "reduced_member",
    "reduced_object",
    "start",
]

_complete: WeakSet[type] = WeakSet()
"""Classes that are up to date in this session, so that bytes from elsewhere do not change them."""
_pending: dict[type, Any] = {}
_plans: dict[type, Plan] = {}
_MADE_ANEW: Final = ("__dict__", "__weakref__", "_abc_impl", "__annotate_func__")
_ADDED: Final = {"__dict__", "__weakref__"}
"""Names that Python adds where it makes a class, and after them `__doc__`. Names set later come after them."""
_FIRST: Final = frozenset(("__module__", "__firstlineno__", "__type_params__", "__annotations__"))
"""Names that stand before the `__doc__` of a class that has one."""
_MADE_WITH: Final = ("__module__", "__qualname__", "__slots__", "__orig_bases__")
_tuple, _frozenset = cast("Any", tuple), cast("Any", frozenset)
_PLAIN: Final[dict[Any, Callable[[Any], Any]]] = {
    tuple: lambda value: tuple(_tuple.__iter__(value)),
    frozenset: lambda value: frozenset(_frozenset.__iter__(value)),
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    complex: complex.__pos__,
    bytes: lambda value: bytes(memoryview(value)),
}
"""For each standard class a function that turns an instance of a subclass into an instance of that class."""


def _reduced_arguments(base: Any) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: base.__reduce_ex__(value, 2)[1]


def _nothing(_: object) -> tuple[Any, ...]:
    return ()


_MADE_OF: Final[dict[Any, Callable[[Any], tuple[Any, ...]]]] = {
    **{kind: _reduced_arguments(kind) for kind in (dt.datetime, dt.date, dt.time, dt.timedelta)},
    **dict.fromkeys((dt.tzinfo, ModuleType), _nothing),
    Decimal: lambda value: (cast("Any", Decimal).__str__(value),),
}
"""For each standard class a function that returns the arguments that make an instance again."""
_CATCHING: Final = {"__setstate__", "__getattr__", "__getattribute__"}
_WITHOUT_STATE: Final = (object, abc.ABC, typing.Generic)
_IN_PYTHON: Final = {FunctionType, classmethod}
"""Types of attributes that only classes written in Python have."""
_internals = cast("Any", internals)


def start() -> None:
    """Begin or end loading of bytes."""
    _pending.clear()
    _plans.clear()


def adopt(known: type) -> None:
    """Bring a class of this session to the state in the bytes that were just loaded."""
    if known in _pending:
        _fill(known, _pending.pop(known))


def is_own(kind: type[Any]) -> bool:
    """Whether a class is the code's own: no module has it under its name."""
    return kind.__module__ == "__main__" or (kind.__module__ == "types" and not importable(kind))


# --- classes


def reduced_class(kind: type[Any]) -> tuple[Any, ...] | None:
    """The reduction of a class of the code; None for other classes."""
    if importable(kind) or not kind.__flags__ & HEAP:
        return None
    _complete.add(kind)
    state: dict[str, Any] = {}
    order: list[str] = []
    made_with: dict[str, Any] = {}
    added = _ADDED & vars(kind).keys() or {"__doc__"}
    body = True
    for name, value in vars(kind).items():
        body = body and (name not in added or (name == "__doc__" and _FIRST.issuperset(order)))
        if name in _MADE_ANEW or (type(value) is MemberDescriptorType and value.__objclass__ is kind):
            continue
        if _is_hook(name, value) or name == "__slotnames__":  # which pickling itself puts into a class
            continue
        if name in _MADE_WITH:
            made_with[name] = value
        else:
            state[name] = value
        if body:
            order.append(name)
    made_with["__qualname__"] = kind.__qualname__
    registered = _registered(kind) if isinstance(kind, abc.ABCMeta) else []
    contents = state, type.__subclasses__(kind), registered, _hosts(kind)
    identity = _internals._get_or_create_tracker_id(kind)
    return (
        _class,
        (type(kind), kind.__name__, kind.__bases__, (made_with, order), identity),
        contents,
        None,
        None,
        _set_class,
    )


def reduced_builtin(kind: type[Any]) -> tuple[Any, ...] | None:
    """The reduction of a builtin class that other modules than its own name, like that of functions; else None."""
    if importable(kind) or kind.__flags__ & HEAP:
        return None
    for place, module in enumerate(_NAMING):
        for name, value in vars(module).items():
            if value is kind:
                return _builtin, (place, name)
    return None


_NAMING: Final = (types, _collections_abc)
"""Modules that have names for builtin classes."""


def _builtin(place: int, name: str) -> Any:
    return getattr(_NAMING[place], name)


def _registered(kind: type[Any]) -> list[type]:
    """Classes that were registered with an abstract one."""
    known = [each() for each in cast("Any", abc)._get_dump(kind)[0]]
    return [each for each in known if each is not None]


def _hosts(kind: type[Any]) -> list[type]:
    """Abstract classes of the standard library that a class was registered with."""
    if abc.get_cache_token() == _REGISTERED:
        return []
    return [each for each in _ABSTRACT if any(known is kind for known in _registered(each))]


_ABSTRACT: Final = [
    each
    for module in (collections.abc, contextlib, io, numbers)
    for each in vars(module).values()
    if isinstance(each, abc.ABCMeta)
]
_REGISTERED: Final = abc.get_cache_token()
"""Changes whenever a class is registered."""


def _is_hook(name: str, value: Any) -> bool:
    """Whether a name is one that the standard library puts into each protocol."""
    return name == "__subclasshook__" and getattr(value, "__module__", None) == "typing"


def _class(
    meta: type[Any], name: str, bases: tuple[type, ...], names: tuple[dict[str, Any], list[str]], identity: str
) -> type:
    made_with, order = names
    known = _internals._DYNAMIC_CLASS_TRACKER_BY_ID.get(identity)
    if known is not None:
        return known
    space: dict[str, Any] = {each: made_with.get(each) for each in order} | made_with
    make = cast("Any", abc.ABCMeta if issubclass(meta, abc.ABCMeta) else type).__new__
    with _quiet(bases):
        return _internals._lookup_class_or_track(identity, make(meta, name, bases, space))


def _deaf(_kind: type, **_arguments: object) -> None:
    """Stands in for an `__init_subclass__`, which keeps its place among the names of its class."""


_DEAF: Final = cast("Any", classmethod)(_deaf)


@contextmanager
def _quiet(bases: tuple[type, ...]) -> Generator[None]:
    """Switch off `__init_subclass__` inside the block, except that of generic classes, which has no side effects."""
    listening = {base for each in bases for base in each.__mro__ if "__init_subclass__" in vars(base)}
    changing = [base for base in listening if base.__module__ != "typing" and base.__flags__ & HEAP]
    hooks = {base: vars(base)["__init_subclass__"] for base in changing}
    for base in hooks:
        type.__setattr__(base, "__init_subclass__", _DEAF)
    try:
        yield
    finally:
        for base, value in hooks.items():
            type.__setattr__(base, "__init_subclass__", value)


def _set_class(made: type, contents: tuple[dict[str, Any], list[type], list[type], list[type]]) -> None:
    if made in _complete:
        _pending[made] = contents
        return
    _complete.add(made)
    _fill(made, contents)


def _fill(made: type, contents: tuple[dict[str, Any], list[type], list[type], list[type]]) -> None:
    state, _, registered, hosts = contents
    for name, value in list(vars(made).items()):
        kept = name in state or name in _MADE_ANEW or name in _MADE_WITH or _is_hook(name, value)
        if not kept and type(value) not in (MemberDescriptorType, GetSetDescriptorType):
            type.__delattr__(made, name)
    for name, value in state.items():
        type.__setattr__(made, name, value)
        if type(value) is property:
            cast("Any", value).__set_name__(made, name)
    for each in registered:
        abc.ABCMeta.register(cast("abc.ABCMeta", made), each)
    for each in hosts:
        abc.ABCMeta.register(cast("abc.ABCMeta", each), made)
    if "__del__" in state:
        seen.add(DELETING)


# --- members of enumerations


def reduced_member(member: enum.Enum) -> tuple[Any, ...]:
    """The reduction of a member of an enumeration of the code, also of a combination such as `A | B`."""
    kind = type(member)
    base = next((each for each in _PLAIN if issubclass(kind, each)), None)
    held = () if base is None else (base, _PLAIN[base](member))
    number = member._value_ if isinstance(member, enum.Flag) else None
    return _member, (kind, member._name_, number, *held), member.__dict__, None, None, _set_member


def _member(kind: Any, name: str | None, number: int | None, base: Any = object, *held: Any) -> Any:
    if kind in _complete and (name in kind._member_map_ or number is not None):
        return kind._member_map_[name] if name in kind._member_map_ else kind(number)
    return base.__new__(kind, *held)


def _set_member(made: Any, state: dict[str, Any]) -> None:
    if not made.__dict__:
        made.__dict__.update(state)


# --- objects


class Plan(NamedTuple):
    """The way to copy instances of a class: the standard class that they are based on, None if unknown here; their
    slots; and, for instances with attributes alone, the class as the argument that makes one.
    """

    base: Any
    slots: list[tuple[str, MemberDescriptorType]]
    simple: tuple[type[Any]] | None


def plan(kind: type[Any]) -> Plan:
    """The plan for instances of a class of the code."""
    base: Any = object
    slots: dict[str, MemberDescriptorType] = {}
    simple = True
    for each in kind.__mro__:
        if each in _PLAIN or each in _HELD or each in _MADE_OF:
            base = each
            break
        if not (is_own(each) or each in _WITHOUT_STATE or _is_in_python(each)):
            base = None
            break
        for name, value in vars(each).items():
            if type(value) is MemberDescriptorType:
                slots.setdefault(name, value)
        simple = simple and (each is object or not _CATCHING & vars(each).keys())
    simple = simple and base is object and not slots and kind.__dictoffset__ != 0
    return Plan(base, list(slots.items()), (kind,) if simple else None)


def _is_in_python(kind: type[Any]) -> bool:
    """Whether a class of the standard library is written in Python, judged by its attributes."""
    return isinstance(kind, abc.ABCMeta) or not _IN_PYTHON.isdisjoint(map(type, vars(kind).values()))


def reduced_object(value: Any, kind: type[Any], how: Plan) -> tuple[Any, ...] | None:
    """The reduction of an instance of a class of the code; None if it is based on a class that is unknown here."""
    if how.base is None:
        return None
    made_of = _MADE_OF.get(how.base)
    args = made_of(value) if made_of else (_PLAIN[how.base](value),) if how.base in _PLAIN else ()
    return _new, (how.base, kind, *args), _state(value, how), None, None, _set_object


def _new(base: Any, kind: type[Any], *args: Any) -> Any:
    return base.__new__(kind, *args)


def _state(value: Any, how: Plan) -> tuple[Any, ...]:
    """Attributes, slots, and contents."""
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        attributes = None
    slots: dict[str, Any] = {}
    for name, member in how.slots:
        with suppress(AttributeError):
            slots[name] = cast("Any", member).__get__(value)
    held = (how.base, _HELD[how.base][0](value)) if how.base in _HELD else ()
    return attributes, slots, *held


def _set_object(made: Any, state: tuple[Any, ...]) -> None:
    attributes, slots, *held = state
    if attributes:
        object.__getattribute__(made, "__dict__").update(attributes)
    if slots:
        kind = cast("type[Any]", type(made))
        for name, member in (_plans.get(kind) or _plans.setdefault(kind, plan(kind))).slots:
            if name in slots:
                cast("Any", member).__set__(made, slots[name])
    if held:
        _HELD[held[0]][1](made, held[1])


def _fill_ordered(made: Any, items: list[tuple[Any, Any]]) -> None:
    for key, value in items:
        _Ordered.__setitem__(made, key, value)


def _default(value: Any) -> tuple[Any, list[Any]]:
    return _Default.default_factory.__get__(value), list(_dict.items(value))


def _fill_default(made: Any, contents: tuple[Any, list[Any]]) -> None:
    _Default.__init__(made, contents[0])
    _dict.update(made, contents[1])


def _queue(value: Any) -> tuple[list[Any], int | None]:
    return list(_Deque.__iter__(value)), _Deque.maxlen.__get__(value)


def _fill_queue(made: Any, contents: tuple[list[Any], int | None]) -> None:
    _Deque.__init__(made, *contents)


def _accessors(value: Any) -> dict[str, Any]:
    return {name: getattr(property, name).__get__(value) for name in ("fget", "fset", "fdel")}


def _names_of_thread(value: Any) -> dict[str, Any]:
    return cast("Any", local).__getattribute__(value, "__dict__")


_Generator: Final = cast("Any", random).Random
_Ordered, _Default, _Deque = cast("Any", OrderedDict), cast("Any", defaultdict), cast("Any", deque)
_dict, _list, _set, _bytes = cast("Any", dict), cast("Any", list), cast("Any", set), cast("Any", bytearray)
_HELD: Final[dict[Any, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]]] = {
    OrderedDict: (lambda value: list(_Ordered.items(value)), _fill_ordered),
    defaultdict: (_default, _fill_default),
    deque: (_queue, _fill_queue),
    dict: (lambda value: list(_dict.items(value)), _dict.update),
    list: (lambda value: list(_list.__iter__(value)), _list.extend),
    set: (lambda value: list(_set.__iter__(value)), _set.update),
    bytearray: (lambda value: list(_bytes.__iter__(value)), _bytes.extend),
    property: (_accessors, lambda made, contents: cast("Any", property).__init__(made, **contents)),
    **{kind: (kind.__func__.__get__, kind.__init__) for kind in cast("Any", (staticmethod, classmethod))},
    local: (_names_of_thread, lambda made, contents: _names_of_thread(made).update(contents)),
    _Generator.__base__: (_Generator.getstate, _Generator.setstate),
}
"""For each standard class a pair of functions: one gets an instance's contents, one sets them."""
