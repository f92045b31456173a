"""Turns iterators into bytes that the standard pickle does not copy, or not faithfully, and the readers of `csv`.

An iterator over a dictionary or a set goes on over the copy of that dictionary or set, and sees changes in it. It
begins anew and is then advanced to the original's position, once the copies are complete. The garbage collector returns
the object under an iterator; if this Python's answer has an unknown form, pairs (`pairwise`) are not copied.
"""

from __future__ import annotations

import csv
import gc
import itertools
import warnings
from contextlib import contextmanager
from itertools import chain, groupby, pairwise, repeat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.interpreters.session_classes import is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

__all__ = ["ITERATING", "OTHERS", "bring", "dialect_arguments", "taken"]

_dict, _set, _frozenset = cast("Any", dict), cast("Any", set), cast("Any", frozenset)
_csv = cast("Any", csv)
_EMPTY: Final = dict[Any, Any]()
_KINDS: Final[dict[Any, str]] = {
    type(iter(_EMPTY)): "keys",
    type(iter(_EMPTY.values())): "values",
    type(iter(_EMPTY.items())): "items",
    type(iter(set[Any]())): "",
}
"""Types of iterators, with the view of a dictionary that they go over."""


def taken(iterator: Any) -> int:
    """Number of items that an iterator has passed; 0 if it can pass no more."""
    if (over := _over(iterator)) is None:
        return 0
    try:
        return len(over) - len(iterator.__reduce__()[1][0])
    except RuntimeError:
        return 0


def bring(iterator: Iterator[Any], passed: int) -> None:
    """Advance an iterator by a number of items."""
    for _ in range(passed):
        next(iterator)


def _over(iterator: Any) -> Any:
    """The object under an iterator; None if the iterator is at its end, and has released it."""
    parts: list[Any] = gc.get_referents(iterator)
    return next((each for each in parts if isinstance(each, (_dict, _set, _frozenset))), None)


def _reduced_iterator(iterator: Any) -> tuple[Any, ...] | None:
    """The reduction of an iterator at its beginning, or of one that fails as the size of its object has changed; None
    if it is at its end, and has released the object.
    """
    if (over := _over(iterator)) is None:
        return None
    try:
        iterator.__reduce__()
    except RuntimeError:
        return _failing, (type(over), _KINDS[type(iterator)])
    return _iterator, (over, _KINDS[type(iterator)])


def _iterator(over: Any, view: str) -> Iterator[Any]:
    if isinstance(over, _dict):
        return iter(getattr(_dict, view)(over))
    return (_set if isinstance(over, _set) else _frozenset).__iter__(over)


def _failing(kind: type[Any], view: str) -> Iterator[Any]:
    over: Any = {1: 1} if issubclass(kind, dict) else {1}
    iterator = _iterator(over, view)
    over.clear()
    return iterator


# --- iterators that are made over other iterators


class _Over:
    """Wraps an iterator whose own `__iter__` must not be called: it may be the code's, and begin anew."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator

    def __iter__(self) -> Iterator[Any]:
        return self._iterator


def _reduced_tool(iterator: Any) -> tuple[Any, ...]:
    """An iterator of `itertools` or a builtin one. Python 3.12 and 3.13 warn where one is copied, which code can turn
    into an error.
    """
    with _without_warnings():
        make, args, *state = iterator.__reduce__()
    if type(iterator) in _MADE_OVER:
        args = tuple(_Over(each) if _begins(each) else each for each in args)
    return make, args, *([(state[0],), None, None, _set_tool] if state and state[0] is not None else [])


def _begins(value: Any) -> bool:
    """Whether a value is an iterator whose `__iter__` may do anything."""
    kind = cast("type[Any]", type(value))
    return is_own(kind) and hasattr(kind, "__next__") and not callable(value)


def _set_tool(made: Any, state: tuple[Any]) -> None:
    with _without_warnings():
        made.__setstate__(*state)


@contextmanager
def _without_warnings() -> Generator[None]:
    with _catch_warnings():
        _filter_warnings("ignore")
        yield


_catch_warnings: Final = warnings.catch_warnings
_filter_warnings: Final = warnings.simplefilter
_TOOLS: Final = {kind for kind in vars(itertools).values() if "__reduce__" in getattr(kind, "__dict__", ())}
"""Types of `itertools` that can be copied: none from Python 3.14 on."""
_MADE_OVER: Final = {enumerate, filter, map, zip} | {
    kind for kind in _TOOLS if not kind.__name__.startswith("_") and kind is not repeat
}
"""Types that are called with the iterators that they go over."""


def _reduced_groups(groups: Any) -> tuple[Any, ...]:
    """An iterator over groups. Where a group has given items, the standard way leaves out the key of that group.

    Raises:
        ValueError: this Python keeps the key in an unknown way.
    """
    reduced = _reduced_tool(groups)
    key = gc.get_referents(groups)[_UNGROUPED:]
    if len(reduced) > 2 or not key:
        return reduced
    if not _KNOWN:
        raise ValueError("groups, as this Python keeps them")
    return *reduced, key, None, None, _set_groups


def _set_groups(made: Any, key: list[Any]) -> None:
    with _without_warnings():
        made.__setstate__((*key, None, *key))
    next(cast("Any", itertools)._grouper(made, *key))  # which takes the item that was put there


_UNGROUPED: Final = len(gc.get_referents(groupby(())))


# --- pairs


class _Passed(chain[Any]):
    """An iterator with items before it that the original has passed already; it drops each as it passes it."""

    __slots__ = ("first", "iterator")
    first: Iterator[Any]
    iterator: Iterator[Any]


def _passed(first: Iterable[Any], iterator: Iterator[Any]) -> _Passed:
    first = iter(first)
    made = _Passed(first, _Over(iterator))
    made.first, made.iterator = first, iterator
    return made


def _reduced_pairs(pairs: Any) -> tuple[Any, ...]:
    """An iterator over pairs, with the iterator below it and the item that it has passed last.

    Raises:
        ValueError: this Python keeps these in an unknown way.
    """
    if not _KNOWN:
        raise ValueError("pairs, as this Python keeps them")
    if not (parts := _parts(pairs)):
        return pairwise, ((),)
    iterator, *last = parts
    if type(iterator) is _Passed:  # a copy itself
        return _pairs, (last or iterator.first, iterator.iterator)
    return _pairs, (last, iterator)


def _pairs(first: Iterable[Any], iterator: Iterator[Any]) -> Any:
    return pairwise(_passed(first, iterator))


def _parts(pairs: Any) -> list[Any]:
    """The iterator below and the item passed last, as far as there are any."""
    held = _held(pairs)
    return held[: len(held) - _SPARE]


def _held(pairs: Any) -> list[Any]:
    """All objects that pairs hold, without their type, which comes first from Python 3.12 on."""
    held = gc.get_referents(pairs)
    return held[1:] if held and held[0] is pairwise else held


_SPARE: Final = len(_held(pairwise(()))) - 1
"""From Python 3.13 on a tuple comes last, for the next pair."""


def _is_known() -> bool:
    """Whether this Python keeps pairs as `_parts` expects, and the key of a group as `_reduced_groups` does, which no
    public interface guarantees.
    """
    below = iter("abc")
    pairs: Any = pairwise(below)
    seen_parts = [_parts(pairs)]
    for _ in range(3):
        next(pairs, None)
        seen_parts.append(_parts(pairs))
    groups = groupby("aab")
    _, group = next(groups)
    next(group)
    return seen_parts == [[below], [below, "b"], [below, "c"], []] and gc.get_referents(groups)[_UNGROUPED:] == ["a"]


_KNOWN: Final = _is_known()


# --- the readers and writers of `csv`

_WRITER: Final = cast("Any", type(_csv.writer(SimpleNamespace(write=len))))
_READER: Final[Any] = type(csv.reader([]))
_DIALECT: Final = (
    *("delimiter", "quotechar", "escapechar", "doublequote", "skipinitialspace", "lineterminator", "quoting", "strict"),
)


def dialect_arguments(dialect: Any) -> dict[str, Any]:
    """The arguments for a writer or a reader of the same dialect."""
    return {name: getattr(dialect, name) for name in _DIALECT}


def _reduced_writer(writer: Any) -> tuple[Any, ...]:
    """A writer, with the function that it writes with."""
    parts = gc.get_referents(writer)
    write = next(each for each in parts if callable(each) and not isinstance(each, type))
    return _writer, (write, dialect_arguments(writer.dialect))


def _writer(write: Any, dialect: dict[str, Any]) -> Any:
    return _csv.writer(SimpleNamespace(write=write), **dialect)


def _reduced_reader(reader: Any) -> tuple[Any, ...]:
    """A reader, with the lines that it has still to read."""
    parts: list[Any] = gc.get_referents(reader)
    lines = next(each for each in parts if hasattr(cast("Any", type(each)), "__next__"))
    below = lines.iterator if type(lines) is _Passed else lines
    return _reader, (below, dialect_arguments(reader.dialect), reader.line_num)


def _reader(lines: Iterator[str], dialect: dict[str, Any], number: int) -> Any:
    reader = csv.reader(_passed(repeat("", number), lines), **dialect)
    bring(reader, number)
    return reader


ITERATING: Final[dict[Any, Callable[[Any], tuple[Any, ...] | None]]] = dict.fromkeys(_KINDS, _reduced_iterator)
OTHERS: Final[dict[Any, Callable[[Any], tuple[Any, ...] | None]]] = {
    **dict.fromkeys((*_TOOLS, *_MADE_OVER), _reduced_tool),
    **({groupby: _reduced_groups} if groupby in _TOOLS else {}),
    pairwise: _reduced_pairs,
    _WRITER: _reduced_writer,
    _READER: _reduced_reader,
}
"""Functions that reduce objects of these types."""
