"""The state of a session besides its names, which survives the session as well.

It consists of random numbers, decimal contexts, limits and other settings of the standard library, names like
`__all__`, and names in modules and in their classes that code bound anew since the session began. Changes deeper
inside, in the objects of modules, are not kept.
"""

from __future__ import annotations

import abc
import calendar
import csv
import decimal
import logging
import os
import random
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.interpreters.session_functions import HEAP, names
from thread_cli.interpreters.session_iterators import dialect_arguments
from thread_cli.interpreters.session_running import depth_allowed, depth_left, errors, output
from thread_cli.interpreters.tame import MODULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["State"]

_CONTEXT: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
_WATCHED: Final = [
    *MODULES,
    *("builtins", "contextlib", "csv", "io", "logging", "numbers", "os", "pprint", "sys", "time", "traceback", "types"),
    "warnings",
]
_ANNOTATIONS: Final = "__annotations__"
_OF_CLASS: Final = ("__dict__", "__weakref__", "_abc_impl", "__abstractmethods__", "__slotnames__")
"""Names in classes that code does not set."""
_OF_SESSION: Final = ("__builtins__", "__warningregistry__")
"""Special names that each session has for itself."""


class State:
    """The state of this process's modules at the time when this object was made."""

    def __init__(self) -> None:
        self._settings = {name: get() for name, (get, _) in _SETTINGS.items()}
        self._modules = {name: dict(vars(module)) for name in _WATCHED if (module := sys.modules.get(name)) is not None}
        self._names = {name: value for name, value in names.items() if _is_special(name)}
        self._classes = {each: dict(vars(each)) for module in self._modules.values() for each in _classes(module)}
        self._patched: dict[type, None] = {}

    def changes(self, *, modules: bool) -> dict[str, Any]:
        """The changes since then; with `modules` also those of names in modules."""
        found: dict[str, Any] = {}
        for name, (get, _) in _SETTINGS.items():
            if (now := get()) != self._settings[name]:
                found[name] = now
        special = {name: value for name, value in names.items() if _is_special(name)}
        changed = {name: value for name, value in special.items() if self._names.get(name, self) is not value}
        if special.get(_ANNOTATIONS):
            changed[_ANNOTATIONS] = special[_ANNOTATIONS]
        if changed:
            found["names"] = changed
        if modules and (changed := {name: (values, gone) for name, values, gone in self._changed()}):
            found["modules"] = changed
        if self._patched:
            found["classes"] = [(each, *_differences(self._classes[each], vars(each))) for each in self._patched]
        return found

    def note(self, classes: Iterable[Any]) -> None:
        """Watch those of these classes that belong to the standard library: code may have changed them."""
        self._patched |= {each: None for each in classes if _is_plain(each) and each in self._classes}

    def set(self, changes: dict[str, Any]) -> None:
        """Apply the changes of another session."""
        for name in changes.keys() & _SETTINGS.keys():
            _SETTINGS[name][1](changes[name])
        names.update(changes.get("names", {}))
        for name, (values, gone) in changes.get("modules", {}).items():
            vars(sys.modules[name]).update(values)
            for each in gone:
                vars(sys.modules[name]).pop(each, None)
        for kind, values, gone in changes.get("classes", ()):
            self._patched[kind] = None
            for name, value in values.items():
                type.__setattr__(kind, name, value)
            for name in gone:
                if name in vars(kind):
                    type.__delattr__(kind, name)

    def untouched(self, *, classes: bool) -> bool:
        """Whether all modules are unchanged; with `classes` also their classes."""
        if self._patched or next(self._changed(), None):
            return False
        return not (classes and any(any(_differences(known, vars(each))) for each, known in self._classes.items()))

    def reset(self) -> None:
        """Restore the settings, and forget all names."""
        for name, (get, set_) in _SETTINGS.items():
            if get() != self._settings[name]:
                set_(self._settings[name])
        names.clear()
        names.update(self._names)
        if _ANNOTATIONS in self._names:
            names[_ANNOTATIONS] = self._names[_ANNOTATIONS] = {}

    def _changed(self) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """For each module that has changed: the values set in it, and the names deleted."""
        for name, before in self._modules.items():
            now = vars(sys.modules.get(name) or ModuleType(name))
            changed = {
                key: value
                for key, value in now.items()
                if before.get(key, self) is not value
                and type(value) is not ModuleType
                and not key.startswith("__")
                and key.isidentifier()
                and (name, key) not in _TOLD
            }
            gone = [] if before.keys() <= now.keys() else [key for key in before if key not in now]
            if changed or gone:
                yield name, changed, gone


def _classes(space: dict[str, Any]) -> list[type]:
    """The classes among the names of a module that code can change."""
    return [each for each in space.values() if _is_plain(each) and each.__flags__ & HEAP]


def _is_plain(value: Any) -> bool:
    """Whether a value is a class with the metaclass `type` or `ABCMeta`."""
    return type(value) is type or type(value) is abc.ABCMeta


def _differences(before: dict[str, Any], now: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The attributes of a class that have changed, and those that are gone."""
    changed = {name: value for name, value in now.items() if name not in _OF_CLASS and before.get(name) is not value}
    return changed, [name for name in before if name not in now]


def _is_special(name: Any) -> bool:
    return isinstance(name, str) and name.startswith("__") and name.endswith("__") and name not in _OF_SESSION


def _context() -> dict[str, Any]:
    context = decimal.getcontext()
    state: dict[str, Any] = {name: getattr(context, name) for name in _CONTEXT}
    return state | {kind: dict(getattr(context, kind)) for kind in ("flags", "traps")}


def _set_context(state: dict[str, Any]) -> None:
    for name, value in state.items():
        setattr(decimal.getcontext(), name, value)


def _environ() -> dict[bytes, bytes]:
    return cast("Any", os.environ)._data.copy()  # quicker than to decode all of it


def _set_environ(wanted: dict[bytes, bytes]) -> None:
    state = {os.fsdecode(name): os.fsdecode(value) for name, value in wanted.items()}
    for name in os.environ.keys() - state.keys():
        del os.environ[name]
    os.environ.update(state)


def _output() -> list[Any] | None:
    """The object that code has put in the place of the standard output; None if it is unchanged."""
    return None if sys.stdout is output.stream else [sys.stdout]


def _set_output(state: list[Any] | None) -> None:
    sys.stdout = state[0] if state else output.stream


def _errors() -> list[Any] | None:
    return None if sys.stderr is errors else [sys.stderr]


def _set_errors(state: list[Any] | None) -> None:
    sys.stderr = state[0] if state else errors


def _set_path(state: list[str]) -> None:
    sys.path[:] = state


def _loggers() -> dict[str, tuple[Any, ...]]:
    """For each logger (the root's name is empty): level, handlers, filters, propagation, and whether it is disabled."""
    known: dict[str, Any] = {"": logging.root, **logging.root.manager.loggerDict}
    return {
        name: (each.level, each.handlers.copy(), each.filters.copy(), each.propagate, each.disabled)
        for name, each in known.items()
        if isinstance(each, logging.Logger)
    }


def _set_loggers(state: dict[str, tuple[Any, ...]]) -> None:
    for name, (level, handlers, filters, propagate, disabled) in state.items():
        logger = logging.getLogger(name)
        logger.handlers[:], logger.filters[:] = handlers, filters
        logger.propagate, logger.disabled = propagate, disabled
        logger.setLevel(level)


def _dialects() -> dict[str, dict[str, Any]]:
    return {name: dialect_arguments(csv.get_dialect(name)) for name in csv.list_dialects()}


def _set_dialects(state: dict[str, dict[str, Any]]) -> None:
    for name in {*csv.list_dialects()} - state.keys():
        csv.unregister_dialect(name)
    for name, dialect in state.items():
        csv.register_dialect(name, **dialect)


def _set_filters(state: list[Any]) -> None:
    warnings.resetwarnings()
    warnings.filters[:] = state  # pyright: ignore[reportIndexIssue]


_SETTINGS: Final[dict[str, tuple[Callable[[], Any], Callable[[Any], object]]]] = {
    "random": (random.getstate, random.setstate),
    "decimal": (_context, _set_context),
    "recursion": (depth_left, depth_allowed),
    "digits": (sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    "stdout": (_output, _set_output),
    "stderr": (_errors, _set_errors),
    "loggers": (_loggers, _set_loggers),
    "logging": (lambda: logging.root.manager.disable, logging.disable),
    "path": (sys.path.copy, _set_path),
    "environ": (_environ, _set_environ),
    "weekday": (calendar.firstweekday, calendar.setfirstweekday),
    "dialects": (_dialects, _set_dialects),
    "filters": (lambda: list(warnings.filters), _set_filters),
}
_TOLD: Final = {("warnings", "filters"), ("os", "environ"), ("sys", "path"), ("sys", "stdout"), ("sys", "stderr")}
