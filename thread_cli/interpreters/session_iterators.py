"""How iterators become bytes that the standard pickle does not copy, or not as they are, and the readers of `csv`.

An iterator over a dictionary or a set goes on over the copy of that dictionary or set, and sees what is changed in it.
It begins anew and is then brought to where the original is, once the copies are as they should be.
"""

from __future__ import annotations

import csv
import gc
from collections.abc import Iterator
from itertools import chain, repeat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ITERATING", "READING", "bring", "dialect_told", "taken"]

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
    """How many items an iterator has passed; 0 where it passes no more."""
    if not gc.get_referents(iterator):
        return 0
    try:
        return len(_over(iterator)) - len(iterator.__reduce__()[1][0])
    except RuntimeError:
        return 0


def bring(iterator: Iterator[Any], passed: int) -> None:
    """Have an iterator pass items."""
    for _ in range(passed):
        next(iterator)


def _over(iterator: Any) -> Any:
    parts: list[Any] = gc.get_referents(iterator)
    return next(each for each in parts if isinstance(each, (_dict, _set, _frozenset)))


def _reduced_iterator(iterator: Any) -> tuple[Any, ...] | None:
    """An iterator at its beginning, or one that fails where the size of what it goes over has changed; None where it is
    at its end, and has left what it went over.
    """
    if not gc.get_referents(iterator):
        return None
    try:
        iterator.__reduce__()
    except RuntimeError:
        return _failing, (type(_over(iterator)), _KINDS[type(iterator)])
    return _iterator, (_over(iterator), _KINDS[type(iterator)])


def _iterator(over: Any, view: str) -> Iterator[Any]:
    if isinstance(over, _dict):
        return iter(getattr(_dict, view)(over))
    return (_set if isinstance(over, _set) else _frozenset).__iter__(over)


def _failing(kind: type[Any], view: str) -> Iterator[Any]:
    over: Any = {1: 1} if issubclass(kind, dict) else {1}
    iterator = _iterator(over, view)
    over.clear()
    return iterator


# --- the readers and writers of `csv`

_WRITER: Final = cast("Any", type(_csv.writer(SimpleNamespace(write=len))))
_READER: Final[Any] = type(csv.reader([]))
_DIALECT: Final = (
    *("delimiter", "quotechar", "escapechar", "doublequote", "skipinitialspace", "lineterminator", "quoting", "strict"),
)


def dialect_told(dialect: Any) -> dict[str, Any]:
    """What a writer or a reader of the same dialect is made with."""
    return {name: getattr(dialect, name) for name in _DIALECT}


def _reduced_writer(writer: Any) -> tuple[Any, ...]:
    """A writer, with the function that it writes with."""
    parts = gc.get_referents(writer)
    write = next(each for each in parts if callable(each) and not isinstance(each, type))
    return _writer, (write, dialect_told(writer.dialect))


def _writer(write: Any, dialect: dict[str, Any]) -> Any:
    return _csv.writer(SimpleNamespace(write=write), **dialect)


def _reduced_reader(reader: Any) -> tuple[Any, ...]:
    """A reader, with the lines that it has still to read."""
    parts: list[Any] = gc.get_referents(reader)
    lines = next(filter(lambda each: isinstance(each, Iterator), parts))
    return _reader, (lines, dialect_told(reader.dialect), reader.line_num)


def _reader(lines: Iterator[str], dialect: dict[str, Any], number: int) -> Any:
    reader = csv.reader(chain(repeat("", number), lines) if number else lines, **dialect)
    bring(reader, number)
    return reader


ITERATING: Final[dict[Any, Callable[[Any], tuple[Any, ...] | None]]] = dict.fromkeys(_KINDS, _reduced_iterator)
READING: Final[dict[Any, Callable[[Any], tuple[Any, ...] | None]]] = {
    _WRITER: _reduced_writer,
    _READER: _reduced_reader,
}
"""How to tell of an object of these types what makes it again."""
