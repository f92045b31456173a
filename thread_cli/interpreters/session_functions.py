"""Turns functions into bytes.

Functions take their code along and look names up in the session that reads them; closures that share a variable go on
sharing it, and cached results (`lru_cache`) are copied too.
"""

from __future__ import annotations

import functools
import gc
import marshal
import sys
from importlib import import_module
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final, cast

__all__ = [
    "CACHED",
    "DELETING",
    "EXECUTING",
    "HEAP",
    "Cells",
    "importable",
    "main",
    "names",
    "reads",
    "reduced_cached",
    "reduced_function",
    "remember",
    "remembered",
    "seen",
    "start",
]

main: Final = ModuleType("__main__")
"""The module that code runs in."""
names: Final = main.__dict__
"""The names of this session: one process, one session."""

HEAP: Final = 1 << 9
"""Flag of a class that was made at run time."""
CACHED: Final = type(functools.lru_cache(int))
_KEPT: Final = [
    name
    for name in """__name__ __qualname__ __defaults__ __kwdefaults__ __doc__ __annotations__ __module__
    __type_params__""".split()  # noqa: SIM905 - as a list it would be a page long
    if hasattr(lambda: None, name)
]
"""Attributes of functions."""
_HITS: Final = 1_000_000
"""The most uses of cached results that a copy counts."""
DELETING: Final = "deleting"
EXECUTING: Final = "executing"
seen: set[str] = set()
"""Actions of this session's code that need care: it notices the deletion of objects, or executes text."""
_made_cells: dict[int, CellType] = {}
_made_targets: dict[int, Any] = {}


def start() -> None:
    """Begin or end loading of bytes: functions from different bytes share no variables."""
    _made_cells.clear()
    _made_targets.clear()


def importable(value: Any) -> bool:
    """Whether an object's own module has it under its name."""
    found: Any = sys.modules.get(getattr(value, "__module__", None) or "")
    if found is None or found is main or found.__name__ == "__main__":
        return False
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


class Cells:
    """The variables of closures that are pickled together, by number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self.cells: list[CellType] = []

    def number(self, cell: CellType) -> int:
        number = self._numbers.setdefault(id(cell), len(self.cells))
        if number == len(self.cells):
            self.cells.append(cell)
        return number


def reads(code: CodeType) -> set[str]:
    """The names that code, and the functions in it, look up."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(reads, inner))


def reduced_function(
    function: FunctionType, cells: Cells, space: dict[str, Any] | str | None = None
) -> tuple[Any, ...]:
    """The reduction of a function: its code, its variables by number, and its globals if these are not the thread's own
    (a module, by its name, or a dictionary); and then its attributes and the contents of its variables.
    """
    numbers = [cells.number(cell) for cell in function.__closure__ or ()]
    contents = {
        number: _content(cell) for number, cell in zip(numbers, function.__closure__ or (), strict=True) if _full(cell)
    }
    state = {name: getattr(function, name) for name in _KEPT} | {"__dict__": function.__dict__}
    # Version 2 has no back references, which would depend on how often an object is used.
    made = marshal.dumps(function.__code__, 2), numbers, *([] if space is None else [space])
    return _function, made, (state, contents), None, None, _completed


def _full(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell says so
    except ValueError:
        return False
    return True


def _content(cell: CellType) -> Any:
    return cell.cell_contents


def _function(code: bytes, numbers: list[int], where: dict[str, Any] | str = names) -> FunctionType:
    cells = tuple(_made_cells.setdefault(number, CellType()) for number in numbers)
    space = import_module(where).__dict__ if isinstance(where, str) else where
    if isinstance(where, dict) and where is not names:
        seen.add(EXECUTING)
    return FunctionType(marshal.loads(code), space, closure=cells or None)  # noqa: S302


def _completed(function: FunctionType, state: tuple[dict[str, Any], dict[int, Any]]) -> None:
    for name, value in state[0].items():
        setattr(function, name, value)
    for number, content in state[1].items():
        _made_cells[number].cell_contents = content


def reduced_cached(cached: Any) -> tuple[Any, ...]:
    """The reduction of a caching function, without its results."""
    known = cast("dict[str, Any]", cached.__dict__)
    state = {name: value for name, value in known.items() if name != "cache_parameters"}
    return _cached, (cached.cache_parameters(),), state, None, None, _set_cached


def remembered(cached: Any) -> tuple[int, int, list[tuple[Any, ...]]]:
    """The cache of such a function: hits, misses, and results with their arguments, those used last at the end. Empty
    if this Python keeps it in an unknown way.
    """
    return _remembered(cached) if _KNOWN else (0, 0, [])


def _is_known() -> bool:
    """Whether this Python keeps results as `_remembered` expects, which no public interface guarantees."""
    for most in (2, None):
        probe: Any = functools.lru_cache(most)(_pair)
        for number in (0, 2, 1, 2):
            probe(number, k=most)
        kept = [1, 2] if most else [0, 2, 1]  # those used last are at the end, where there is a bound
        entries = [((number,), {"k": most}, (number, most)) for number in kept]
        try:
            if _remembered(probe) != (1, 3, entries):
                return False
        except (ValueError, AttributeError, TypeError):
            return False
    return True


def _pair(number: int, k: int | None) -> tuple[int, int | None]:
    return number, k


def _remembered(cached: Any) -> tuple[int, int, list[tuple[Any, ...]]]:
    info = cached.cache_info()
    # What an `lru_cache` consists of (Modules/_functoolsmodule.c): its type; of a bounded one, key, result and a type
    # for each result; the dictionary of results; the function; and the mark before keywords in a key.
    parts = gc.get_referents(cached)
    bounded = 3 * info.currsize if info.maxsize is not None else 0
    pairs = zip(parts[1 : 1 + bounded : 3], parts[2 : 2 + bounded : 3], strict=True)
    results, _, mark = parts[1 + bounded : 4 + bounded]
    typed = cached.cache_parameters()["typed"]
    entries = pairs if bounded else ((key, result) for key, result in results.items() if info.maxsize is None)
    return info.hits, info.misses, [(*_arguments(key, mark, typed=typed), result) for key, result in entries]


def remember(cached: Any, hits: int, misses: int, entries: list[tuple[Any, ...]]) -> None:
    """Give a function the cache of another one, by calling it with another function in the place of its own."""
    target = _made_targets[id(cached)]
    function = target.func
    pending: list[Any] = []

    def replay(*_: object, **__: object) -> Any:
        if pending:
            return pending.pop()
        raise _MissError

    target.__setstate__((replay, (), {}, None))
    for _ in range(misses - len(entries)):
        try:
            cached(object())
        except _MissError:
            continue
    for place, (args, kwargs, result) in enumerate(entries):
        pending.append(result)
        cached(*args, **kwargs)
        for _ in range(0 if place else min(hits, _HITS)):
            cached(*args, **kwargs)
    target.__setstate__((function, (), {}, None))


class _MissError(Exception):
    """A result that is no longer cached."""


def _arguments(key: Any, mark: object, *, typed: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments and keywords, from the key of a cached result."""
    if type(key) is not tuple:
        return (key,), {}
    parts = list(cast("tuple[Any, ...]", key))
    at = next((place for place, part in enumerate(parts) if part is mark), None)
    if typed:  # the types of all values stand at the end
        count = len(parts) // 2 if at is None else at + 2 * ((len(parts) - 1 - 2 * at) // 3)
        parts = parts[: count + (at is not None)]
    if at is None:
        return tuple(parts), {}
    return tuple(parts[:at]), dict(zip(parts[at + 1 :: 2], parts[at + 2 :: 2], strict=True))


def _cached(parameters: dict[str, Any]) -> Any:
    target = functools.partial(int)
    made = functools.lru_cache(**parameters)(target)
    _made_targets[id(made)] = target
    return made


def _set_cached(made: Any, state: dict[str, Any]) -> None:
    made.__dict__.update(state)
    _made_targets[id(made)].__setstate__((state["__wrapped__"], (), {}, None))


_KNOWN: Final = _is_known()
