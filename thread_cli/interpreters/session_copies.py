"""Turns objects into bytes that the standard pickle does not copy, or not faithfully.

Locks, weak references, views and matches are copied; for an object of which the standard library has exactly one, the
copy holds its name. The caller puts a mark in the place of an object that cannot be copied.
"""

from __future__ import annotations

import decimal
import gc
import json
import operator
import random
import re
import sys
import weakref
from _collections_abc import dict_items, dict_keys, dict_values
from _thread import RLock, allocate_lock
from collections import OrderedDict
from contextvars import Context, ContextVar, copy_context
from functools import cmp_to_key
from importlib import import_module
from json.scanner import make_scanner
from struct import Struct
from threading import local
from types import BuiltinFunctionType, MappingProxyType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.interpreters.session_functions import DELETING, HEAP, seen
from thread_cli.interpreters.session_iterators import ITERATING, OTHERS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["note_standard", "reduced_other", "standard"]

standard: dict[int, tuple[str, str]] = {}
"""Names of objects of the standard library, by id."""
_everywhere: set[str] = set()
_standard_objects: dict[tuple[str, str], Any] = {}


_Scanner: Final = cast("Any", re).Scanner
_Lock: Final = type(allocate_lock())
_ORDERED: Final = OrderedDict[int, int]()
_VIEWS: Final[dict[Any, tuple[str, type]]] = {
    **{kind: (kind.__name__.removeprefix("dict_"), dict) for kind in (dict_keys, dict_values, dict_items)},
    **{type(getattr(_ORDERED, name)()): (name, OrderedDict) for name in ("keys", "values", "items")},
}


def reduced_other(value: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    """The reduction of a view, a match, a lock, a weak reference and the like; None for other objects.

    Raises:
        ValueError: it is one, and cannot be copied.
    """
    if (name := standard.get(id(value))) is not None:
        return _object, name
    if (reduce := _REDUCERS.get(kind)) is not None:
        return reduce(value)
    return None


def note_standard() -> None:
    """Record the unique objects of the standard library and its functions in C, whose copies hold their present names;
    and the modules that every session has.
    """
    _everywhere.update(sys.modules)
    for module, known in list(sys.modules.items()):
        if module in sys.stdlib_module_names and module not in ("sys", "__main__"):
            for name, value in list(vars(known).items()):
                kind = cast("type[Any]", type(value))
                made = kind.__module__ != "builtins" and kind.__flags__ & HEAP and not isinstance(value, type)
                if made or kind is BuiltinFunctionType:
                    standard.setdefault(id(value), (module, name))
                    _standard_objects[module, name] = value
    standard[id(_CHANCE)] = "random", "_inst"


_CHANCE: Final = cast("Any", random)._inst


def _object(module: str, name: str) -> Any:
    return _standard_objects[module, name]


def _reduced_module(module: ModuleType) -> tuple[Any, ...] | None:
    """The reduction of a module with its submodules that code has imported; None if code made it."""
    name = module.__name__
    if sys.modules.get(name) is not module:
        return None
    return _module, (name, [each for each in sys.modules if each.startswith(f"{name}.") and each not in _everywhere])


def _module(name: str, others: list[str]) -> ModuleType:
    for each in others:
        import_module(each)
    return import_module(name)


def _reduced_view(view: Any) -> tuple[Any, ...]:
    name, kind = _VIEWS[type(view)]
    return _view, (name, _one_of(view, kind))


def _view(name: str, of: Any) -> Any:
    return getattr(dict if type(of) is not OrderedDict else OrderedDict, name)(of)


def _one_of(value: Any, kind: type) -> Any:
    """The one object of a type that an object wraps."""
    return next(each for each in gc.get_referents(value) if isinstance(each, kind))


def _reduced_proxy(proxy: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    (of,) = gc.get_referents(proxy)
    if isinstance(of, dict) and "__module__" in of:  # the names of a class, of which nobody may have another view
        of = dict(cast("dict[Any, Any]", of))
    return MappingProxyType, (of,)


def _reduced_match(found: re.Match[Any]) -> tuple[Any, ...]:
    """The reduction of a match: the arguments that find it again."""
    for way, start_ in (
        ("search", found.pos),
        ("match", found.pos),
        ("fullmatch", found.pos),
        ("match", found.start()),
    ):
        again = getattr(found.re, way)(found.string, start_, found.endpos)
        if again is not None and again.regs == found.regs:
            return _matched, (found.re, way, found.string, start_, found.endpos)
    raise ValueError("a match that is not found again")


def _matched(pattern: re.Pattern[Any], way: str, *where: Any) -> Any:
    return getattr(pattern, way)(*where)


def _reduced_memory(view: memoryview) -> tuple[Any, ...]:
    owner = memoryview(view.obj)
    if (view.format, view.shape, view.readonly) != (owner.format, owner.shape, owner.readonly) or view != owner:
        raise ValueError("a part of a buffer")
    return memoryview, (view.obj,)


def _reduced_lock(lock: Any) -> tuple[Any, ...]:
    return _lock, (lock.locked(),)


def _lock(locked: bool) -> Any:
    lock = allocate_lock()
    if locked:
        lock.acquire()
    return lock


def _reduced_repeated(lock: Any) -> tuple[Any, ...]:
    times = re.search(r"count=([0-9]+)", repr(lock))
    if times is None:
        raise ValueError("a lock that does not tell how often it is held")
    return _repeated_lock, (int(times[1]),)


def _repeated_lock(times: int) -> Any:
    lock = RLock()
    for _ in range(times):
        lock.acquire()
    return lock


def _reduced_weak(reference: weakref.ref[Any]) -> tuple[Any, ...]:
    if reference.__callback__ is not None:
        raise ValueError("a reference that calls back")
    return _weak, (reference(),)


def _weak_items(items: Any) -> tuple[Any, ...]:
    return _weak_dict, (type(items), dict(items.items()))


def _weak_dict(kind: Any, items: dict[Any, Any]) -> Any:
    seen.add(DELETING)
    return kind(items)


def _weak_set(items: list[Any]) -> Any:
    seen.add(DELETING)
    return weakref.WeakSet(items)


def _weak(target: Any) -> weakref.ref[Any]:
    seen.add(DELETING)
    return weakref.ref(_Gone() if target is None else target)


_KEY: Final = cast("type[Any]", type(cast("Any", cmp_to_key)(operator.sub)))
_READS_JSON: Final = ("strict", "object_hook", "object_pairs_hook", "parse_float", "parse_int", "parse_constant")


def _reduced_key(key: Any) -> tuple[Any, ...] | None:
    """The reduction of a function made by `cmp_to_key`; None for a key that it has made."""
    parts = [each for each in gc.get_referents(key) if each is not _KEY]
    return (cmp_to_key, (parts[0],)) if len(parts) == 1 else None


def _reduced_scanner(scanner: Any) -> tuple[Any, ...]:
    """The reduction of the scanner of a `JSONDecoder`."""
    return _scanner, ({name: getattr(scanner, name) for name in _READS_JSON},)


def _scanner(settings: dict[str, Any]) -> Any:
    return cast("Any", make_scanner)(SimpleNamespace(**settings))


def _reduced_local(value: Any) -> tuple[Any, ...]:
    return local, (), value.__dict__


def _reduced_context(context: Any) -> tuple[Any, ...] | None:
    """The reduction of the present context of decimal numbers; None for another context."""
    return (decimal.getcontext, ()) if context is decimal.getcontext() else None


def _reduced_context_variable(variable: ContextVar[Any]) -> tuple[Any, ...]:
    """A variable of contexts with the value that it has in the code's own."""
    try:
        default = {"default": Context().run(variable.get)}
    except LookupError:
        default: dict[str, Any] = {}
    values = copy_context()
    value = [values[variable]] if variable in values else []
    return _context_variable, (variable.name, default), value, None, None, _set_context_variable


def _context_variable(name: str, default: dict[str, Any]) -> ContextVar[Any]:
    return ContextVar(name, **default)


def _set_context_variable(variable: ContextVar[Any], value: list[Any]) -> None:
    for each in value:
        variable.set(each)


def _reduced_super(value: Any) -> tuple[Any, ...]:
    kind = cast("Any", super)
    return super, (kind.__thisclass__.__get__(value), kind.__self__.__get__(value))


class _Gone:
    """An object that is deleted at once, so that a weak reference to it is dead."""

    def method(self) -> None:
        """Stand for a method of it."""


def _reduced_method(reference: Any) -> tuple[Any, ...]:
    return _weak_method, (reference(),)


def _weak_method(method: Any) -> Any:
    seen.add(DELETING)
    return weakref.WeakMethod(_Gone().method if method is None else method)


def _reduced_weak_proxy(proxy: Any) -> tuple[Any, ...]:
    try:
        target = proxy.__init__.__self__
    except ReferenceError:
        target = None
    return _weak_proxy, (target,)


def _weak_proxy(target: Any) -> Any:
    seen.add(DELETING)
    return weakref.proxy(_Gone() if target is None else target)


_REDUCERS: Final[dict[Any, Callable[[Any], tuple[Any, ...] | None]]] = {
    **ITERATING,
    **OTHERS,
    **dict.fromkeys(_VIEWS, _reduced_view),
    ModuleType: _reduced_module,
    MappingProxyType: _reduced_proxy,
    memoryview: _reduced_memory,
    re.Match: _reduced_match,
    _Lock: _reduced_lock,
    RLock: _reduced_repeated,
    weakref.ref: _reduced_weak,
    _KEY: _reduced_key,
    decimal.Context: _reduced_context,
    ContextVar: _reduced_context_variable,
    super: _reduced_super,
    weakref.WeakMethod: _reduced_method,
    **dict.fromkeys((weakref.ProxyType, weakref.CallableProxyType), _reduced_weak_proxy),
    random.SystemRandom: lambda _: (random.SystemRandom, ()),
    local: _reduced_local,
    type(cast("Any", json.JSONDecoder()).scan_once): _reduced_scanner,
    _Scanner: lambda scanner: (_Scanner, (scanner.lexicon, scanner.scanner.flags)),
    Struct: lambda struct: (Struct, (struct.format,)),
    weakref.WeakKeyDictionary: _weak_items,
    weakref.WeakValueDictionary: _weak_items,
    weakref.WeakSet: lambda items: (_weak_set, (list(items),)),
}
