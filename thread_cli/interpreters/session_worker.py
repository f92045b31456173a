"""The inside of a session: it runs code over the names of one thread, and reports their values.

It lives in a confined process of its own together with the code of a model, which can change it at will: the runner
checks all its messages. The objects of a thread live on in it from one piece of code to the next. The runner gets the
text or JSON of each name's value, and bytes with which another session can go on (see `session_pickling.py`).
"""

from __future__ import annotations

import builtins
import os
import sys
from importlib.machinery import BuiltinImporter
from json import dumps, loads
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from thread_cli.interpreters.session_copies import note_standard
from thread_cli.interpreters.session_pickling import (
    LostError,
    Pickled,
    Unkept,
    components,
    loaded,
    main,
    names,
    pickled,
)
from thread_cli.interpreters.session_running import ADDRESS, limit_depth, one_line, output, run
from thread_cli.interpreters.session_state import State
from thread_cli.interpreters.session_values import (
    ATTACHED_LIMIT,
    BODY_LIMIT,
    HEADER,
    STATE,
    VALUE_LIMIT,
    Blob,
    Held,
    Kept,
    NotPlainError,
    encoded,
    message,
    parsed,
    sizes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FunctionType

    from thread_cli.contracts.interpreter import Names
    from thread_cli.interpreters.session_tools import Tools

__all__ = ["Session", "prepared"]

_ATOMS: Final = (str, int, float, bool, bytes, complex, type(None))
_SIZED: Final = (str, bytes, list, tuple, dict, set, frozenset)
_SMALL: Final = 4_096
"""Bytes of a pickle up to which pickles are compared themselves; longer ones are compared by a digest."""


def prepared(tools: Tools) -> Callable[[int], Session]:
    """A function that makes a session of a connection, in processes forked from this one."""
    limit_depth()
    note_standard()
    sys.stdout = sys.__stdout__ = output.stream  # pyright: ignore[reportAttributeAccessIssue]
    sys.argv = [""]
    names.update(__builtins__=builtins, __loader__=BuiltinImporter)
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    exec(tools.source, names)  # noqa: S102 - our own code
    tools.chance()
    state = State()
    return lambda connection: Session(connection, tools, state)


class Session:
    """One session, at its end of a connection, which is the descriptor of a stream socket."""

    def __init__(self, connection: int, tools: Tools, state: State) -> None:
        self._connection = connection
        self._asking = Lock()
        self._tools = tools
        self._state = state
        self._base: dict[str, Any] = dict(names)
        self._marks: dict[str, _Mark | None] = {}
        """For each name, and for the state, a mark that shows changes in place since the last report to the runner."""
        self._groups: dict[str, tuple[str, ...]] = {}
        """For each name, the names that share objects with it."""
        self._stores = False
        sys.modules["__main__"] = main
        tools.chance()

    def serve(self) -> None:
        """Run code until the runner closes the connection."""
        while True:
            content, given = parsed(*self._receive())
            try:
                if "setup" in content:
                    answer = self._set_up(content["setup"], content["calls"])
                elif "reset" in content and not self._reset():
                    answer = message({"stale": True})
                else:
                    answer = self._run(content["code"], given, content["drop"], content["watch"])
            except BaseException as error:  # noqa: BLE001 - told to the runner
                self._send(message({"died": one_line(error)}))
                return
            self._send(answer)

    def _set_up(self, setup: str, calls: Iterable[str]) -> bytes:
        names.update({name: self._call(name) for name in calls})
        try:
            exec(compile(setup, "<setup>", "exec", dont_inherit=True), names)  # noqa: S102 - what this process is for
        except Exception as error:  # noqa: BLE001 - told to the runner
            return message({"failed": one_line(error)})
        self._base = dict(names)
        self._state = State()
        return message({"set": True})

    def _reset(self) -> bool:
        """Forget everything that a thread has left here, so that another can use the session; returns whether that was
        possible.
        """
        self._state.reset()
        names.update({name: value for name, value in self._base.items() if name not in names})
        self._marks.clear()
        self._groups.clear()
        return self._state.untouched(classes=self._stores)

    def _run(self, code: str, given: Names, drop: Iterable[str], watch: Iterable[str]) -> bytes:
        self._take(given, drop)
        reached = set(watch).union(*(self._groups.get(name, ()) for name in (*watch, STATE)))
        for name in reached:
            if name in names and name not in self._marks:
                self._marks[name] = _mark(self._part_of(name, names[name]))
        bound, gone, printed, error, stores, classes = run(code, names)
        self._stores = self._stores or stores
        self._state.note(classes)
        names.setdefault("__builtins__", builtins)
        affected = dict.fromkeys(name for name in (*bound, *reached) if _is_name(name) and name in names)
        said, more, blobs, large, state = self._report(affected, set(bound))
        if large and error is None:
            error = f"MemoryError: too large to be kept: {', '.join(large)}"
        gone = sorted(filter(_is_name, gone))
        for name in gone:
            self._marks.pop(name, None)
            self._groups.pop(name, None)
        answer = {"printed": printed, "error": error, "gone": gone, "more": more}
        return message(answer if state is None else answer | {"state": state}, said, blobs)

    def _take(self, given: Names, drop: Iterable[str]) -> None:
        """Take over the runner's values of names that are missing here, or differ."""
        for name in [*drop, *given]:
            self._marks.pop(name, None)
            self._groups.pop(name, None)
            names.pop(name, None)
        for name, value in self._base.items():
            names.setdefault(name, value)
        blobs: dict[Blob, list[str]] = {}
        for name, value in given.items():
            if name in given.kept:
                blobs.setdefault(given.kept[name], []).append(name)
            else:
                names[name] = value
        if STATE in given.kept:
            blobs.setdefault(given.kept[STATE], []).append(STATE)
        for blob, wanted in blobs.items():
            try:
                found = loaded(blob.data, wanted)
            except Exception as error:  # noqa: BLE001 - some values do not let themselves be made again
                kind = error.kind if isinstance(error, LostError) else f"value ({one_line(error)})"
                found = {name: Unkept(kind) for name in wanted if name != STATE}
            changes = cast("Any", found.pop(STATE, None))
            names.update(found)
            self._groups |= dict.fromkeys(wanted, tuple(sorted(wanted)))
            if changes is not None:
                self._stores = self._stores or "modules" in changes
                self._state.set(changes)
                self._marks[STATE] = _mark(self._part_of(STATE, self._state.changes(modules=self._stores)))

    # --- reports to the runner

    def _report(
        self, affected: Iterable[str], bound: set[str]
    ) -> tuple[dict[str, Any], dict[str, int], list[Blob], list[str], int | None]:
        """The encoded values of names that are bound or changed; other names whose bytes are new; the bytes; the names
        that are too large; and the bytes of the state, None if these are not new.
        """
        values = {name: names[name] for name in affected}
        if (state := self._state.changes(modules=self._stores)) or STATE in self._marks:
            values[STATE] = state
        parts: dict[str, Pickled] = {}
        changed: dict[str, None] = {}
        renewed: set[str] = set()
        large: list[str] = []
        for name, value in values.items():
            part = self._part_of(name, value)
            mark, before = _mark(part), self._marks.get(name)
            if name in bound or name not in self._marks or before != mark:
                renewed.add(name)
                known = name in self._marks and before and mark and before.value == mark.value
                if name != STATE and (name in bound or not known):
                    changed[name] = None
            self._marks[name] = mark
            if part is not None:
                parts[name] = part
            else:
                self._groups.pop(name, None)
        said: dict[str, Any] = {}
        more: dict[str, int] = {}
        blobs: list[Blob] = []
        places: dict[str, int] = {}
        room = ATTACHED_LIMIT
        for group in components(parts) if len(parts) > 1 else [list(parts)]:
            key = tuple(sorted(group))
            if all(name not in renewed and self._groups.get(name) == key for name in group):
                continue
            blob = self._together({name: values[name] for name in group}, parts)
            if len(blob.data) > room:
                large += [name for name in group if name in changed]
                blob = _blob(pickled({name: Unkept("value too large to be kept") for name in group if name}, ()))
            room -= len(blob.data)
            blobs.append(blob)
            for name in group:
                self._groups[name] = key
                places[name] = len(blobs) - 1
                if name not in changed:
                    more[name] = len(blobs) - 1
        body = BODY_LIMIT // 2
        for name in changed:
            blob = blobs[places[name]] if name in places else None
            said[name], cost = self._said(name, blob, body)
            body -= cost
            if isinstance(said[name], Held) and blob is None:
                blobs.append(said[name].blob)
                room -= len(said[name].blob.data)
                if room < 0:
                    large.append(name)
        return said, more, blobs, large, more.pop(STATE, None)

    def _together(self, group: Mapping[str, Any], parts: Mapping[str, Pickled]) -> Blob:
        if len(group) == 1:
            return _blob(parts[next(iter(group))])
        try:
            return _blob(pickled(group, ()))
        except MemoryError:
            raise
        except BaseException:  # noqa: BLE001 - a value may do anything when it is pickled
            kinds = {name: type(value).__name__[:100] for name, value in group.items() if name != STATE}
            return _blob(pickled({name: Unkept(kind) for name, kind in kinds.items()}, ()))

    def _part_of(self, name: str, value: Any) -> Pickled | None:
        """A value's bytes; None for an immutable value that travels as JSON."""
        kind = cast("type[Any]", type(value))
        if kind in _ATOMS or (kind is tuple and all(type(item) in _ATOMS for item in value)):
            numbers: tuple[Any, ...] = value if kind is tuple else (value,)
            if all(number == number for number in numbers):  # noqa: PLR0124 - or it is none, and equal to itself alone
                return None
        try:
            return pickled({name: value}, self._tools.shared)
        except BaseException:  # noqa: BLE001 - a value may do anything when it is pickled
            return pickled({name: Unkept(kind.__name__[:100])}, ())

    def _said(self, name: str, blob: Blob | None, room: int) -> tuple[Any, int]:
        """A value encoded for the runner, and its number of bytes: a plain value as JSON, another by a text."""
        value = names[name]
        try:
            if type(value) in _SIZED and len(value) > VALUE_LIMIT // 8:
                raise NotPlainError  # noqa: TRY301 - or it would take long to find out
            plain = encoded(value, self._tools.plain)
            cost = len(dumps(plain))
            if cost <= min(VALUE_LIMIT, room):
                return (plain, cost) if blob is None else (Kept(blob, plain), cost)
        except BaseException:  # noqa: BLE001, S110 - it is told by its text then
            pass
        return Held(blob or _blob(pickled({name: value}, ())), _text(value), type(value).__name__[:100]), 10_000

    # --- the connection

    def _call(self, name: str) -> FunctionType:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._asking:
                self._send(message({"ask": name, "args": loads(dumps([args, kwargs], default=_json))}))
                answer = loads(self._receive()[0])
            if "failed" in answer:
                raise {"TypeError": TypeError}.get(answer["kind"], RuntimeError)(answer["failed"])
            return answer["answer"]

        call.__name__ = call.__qualname__ = name
        return cast("FunctionType", call)

    def _receive(self) -> tuple[bytes, bytes]:
        body, rest = sizes(self._read(HEADER.size))
        return self._read(body), self._read(rest)

    def _read(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = os.read(self._connection, min(length - len(parts), 1 << 20))
            if not part:
                os._exit(0)
            parts += part
        return bytes(parts)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._connection, view) :]


class _Mark(NamedTuple):
    """Distinguishes values, including the order of sets and the cached results of functions."""

    value: bytes | tuple[int, int]
    rest: bytes | tuple[int, int]


def _mark(part: Pickled | None) -> _Mark | None:
    return None if part is None else _Mark(*map(_short, (part.data[: part.length], part.data[part.length :])))


def _short(data: bytes) -> bytes | tuple[int, int]:
    return data if len(data) <= _SMALL else (len(data), hash(data))


def _blob(part: Pickled) -> Blob:
    return Blob(part.data, frozenset(part.reads), lost=part.lost)


def _text(value: Any) -> str:
    try:
        text = str(value)[:10_000]
    except BaseException:  # noqa: BLE001 - a value may do anything when it is written out
        text = f"<{type(value).__name__}>"
    return ADDRESS.sub("", text)


def _json(value: Any) -> Any:
    """The JSON of a value in the arguments of a call to the runner."""
    if isinstance(value, (set, frozenset)):
        return sorted(cast("set[Any]", value))
    listed = getattr(value, "tolist", None)  # as arrays and columns have it
    return listed() if listed else str(value)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not (name.startswith("__") and name.endswith("__"))
