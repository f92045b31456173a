"""Turns exceptions into bytes, with their causes and tracebacks.

A traceback is made again of frames with the same positions and without their variables. On a Python that keeps
positions in an unknown way, copies of exceptions have no traceback.
"""

from __future__ import annotations

import sys
from itertools import islice
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from thread_cli.interpreters.session_functions import names

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reduced_exception", "reduced_traceback"]


_LINKS: Final[dict[Any, tuple[str, ...]]] = {
    BaseException: ("__cause__", "__context__", "__suppress_context__", "__traceback__"),
    (NameError, AttributeError): ("name",),
    AttributeError: ("obj",),
    ImportError: ("name", "path"),
    OSError: ("filename", "filename2"),
}
"""Fields of exceptions besides their arguments and attributes."""


def reduced_exception(error: BaseException, *, own: bool) -> tuple[Any, ...] | None:
    """The reduction of an exception with cause, context and traceback; None if the standard one suffices."""
    links: dict[str, Any] = {
        name: value
        for kinds, names_ in _LINKS.items()
        if isinstance(error, kinds)
        for name in names_
        if (value := getattr(error, name)) not in (None, False) and (_KNOWN or name != "__traceback__")
    }
    if own:
        return _exception, (type(error), error.args), (links, error.__dict__), None, None, _set_exception
    if not links:
        return None
    function, args, *state = cast("tuple[Any, ...]", error.__reduce_ex__(5))
    return function, args, (links, state[0] if state else None), None, None, _set_exception


def _exception(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    standard = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    made = standard.__new__(kind, *args)
    if standard.__init__ is not BaseException.__init__:  # which sets what it has besides its arguments
        standard.__init__(made, *args)
    made.args = args
    return made


def _set_exception(made: BaseException, state: tuple[dict[str, Any], dict[str, Any] | None]) -> None:
    made.__dict__.update(state[1] or {})
    for name, value in state[0].items():
        setattr(made, name, value)


# --- tracebacks


class _Place(NamedTuple):
    """The position of a frame: the module in which it looks names up, None for the thread's; file, function, line, and
    the line that it ended in; and the last line, the first and the last column of its instruction.
    """

    module: str | None
    file: str
    name: str
    qualname: str
    line: int
    end: int
    columns: tuple[int | None, int | None, int | None]


def reduced_traceback(traceback: TracebackType) -> tuple[Any, ...]:
    """The frames that an exception went through, from the outermost on.

    Raises:
        ValueError: this Python keeps a frame's position in an unknown way.
    """
    if not _KNOWN:
        raise ValueError("a traceback, as this Python keeps it")
    return _traceback, ([tuple(_place(each)) for each in _frames(traceback)],)


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _place(traceback: TracebackType) -> _Place:
    frame, line = traceback.tb_frame, traceback.tb_lineno
    code, space = frame.f_code, frame.f_globals
    module = sys.modules.get(space.get("__name__", ""))
    known = space is not names and module is not None and module.__dict__ is space
    _, *columns = next(islice(code.co_positions(), traceback.tb_lasti // 2, None), (None,) * 4)
    where = code.co_filename, code.co_name, code.co_qualname, line, frame.f_lineno or line
    return _Place(space["__name__"] if known else None, *where, cast("Any", tuple(columns)))


def _traceback(places: list[tuple[Any, ...]]) -> TracebackType | None:
    made: TracebackType | None = None
    for place in map(_Place._make, reversed(places)):
        module = sys.modules.get(place.module) if place.module else None
        space = names if module is None else module.__dict__
        made = TracebackType(made, FunctionType(_code(place), space, None, (_frame,))(), 0, place.line)
    return made


_frame: Final = cast("Any", sys)._getframe


def _here(frame: Any) -> Any:
    return frame()


def _code(place: _Place) -> Any:
    """Code that returns its frame, and whose first instruction has the given position."""
    end, start, stop = place.columns
    if end is None or start is None or stop is None:
        table = _entry(_LINE, 1, 0)
    else:
        table = _entry(_POSITION, 1, 0, end - place.line, start + 1, stop + 1)
    line = place.line
    for at in range(1, len(_here.__code__.co_code) // 2, _UNITS):
        ahead, line = place.end - line, place.end
        units = min(_UNITS, len(_here.__code__.co_code) // 2 - at)
        table += _entry(_LINE, units, ahead << 1 if ahead >= 0 else -ahead << 1 | 1)
    return _here.__code__.replace(
        co_filename=place.file,
        co_name=place.name,
        co_qualname=place.qualname,
        co_firstlineno=place.line,
        co_linetable=table,
    )


# The table of positions of CPython (Objects/locations.md): entries of a byte with the kind and the count of
# instructions, and numbers in six bits a byte, the lowest first.
_LINE, _POSITION, _UNITS = 13, 14, 8


def _entry(kind: int, units: int, *numbers: int) -> bytes:
    parts = [0x80 | kind << 3 | units - 1]
    for number in numbers:
        while number >= 64:
            parts.append(0x40 | number & 63)
            number >>= 6  # noqa: PLW2901 - what is left of it
        parts.append(number)
    return bytes(parts)


def _is_known() -> bool:
    """Whether a made traceback has its positions: the table of positions is no public interface of Python."""
    place = _Place(None, "file", "name", "Class.name", 300, 302, (301, 4, 80))
    try:
        made = _traceback([place])
        return made is not None and _place(made) == place
    except Exception:  # noqa: BLE001 - whatever another Python makes of it
        return False


_KNOWN: Final = _is_known()
