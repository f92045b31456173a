"""The inside of an analysis session: it runs code over names, and says what became of them.

It lives in a confined process of its own together with the code of a model, which can do to it what it likes: whatever
it says is checked by the runner. A function keeps its code, and looks names up in the session that it comes to.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import io
import json
import marshal
import os
import random
import re
import sys
import warnings
from functools import lru_cache
from threading import Lock
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]
import numpy as np

from thread_cli.interpreters.session_values import (
    ATTACHED_LIMIT,
    BODY_LIMIT,
    HEADER,
    VALUE_LIMIT,
    Held,
    NotPlainError,
    decoded,
    encoded,
    message,
    parsed,
    sizes,
)
from thread_cli.interpreters.values import holds_set

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pickle import PickleBuffer

__all__ = ["TOOLS", "Session", "run"]

_PRINT_LIMIT: Final = 64_000  # characters
_LINE: Final = 300
_IMMUTABLE = (str, int, float, bool, bytes, type(None), FunctionType, BuiltinFunctionType, ModuleType)
_SIZED = (str, bytes, list, tuple, dict, set, frozenset)
_COMPOUND = (ast.If, ast.For, ast.While, ast.Try, ast.TryStar, ast.With, ast.Match)
_CACHED = type(lru_cache(int))
_SCALARS = (np.bool_, np.integer, np.floating, np.str_)

TOOLS: Final = """
import datetime, json, math, re, statistics
import numpy as np, pandas as pd, scipy
from scipy import stats
from scipy.stats import linregress, pearsonr
"""
"""The names that every session has."""

_CloudPickler: Any = cloudpickle.Pickler
_names: dict[str, Any] = {}
"""The names of this session: one process, one session."""


def run(code: str | ast.Module) -> None:
    """Run code over the names of the session."""
    exec(compile(code, "<code>", "exec", dont_inherit=True), _names)  # noqa: S102 - what this process is for


class Session:
    """One session, at its end of a connection, which is the descriptor of a stream socket."""

    def __init__(self, connection: int) -> None:
        self._connection = connection
        self._asking = Lock()
        self._output = _Output()
        self._digests: dict[str, tuple[Any, str]] = {}
        _names.update(__name__="session", __builtins__=builtins)
        run(TOOLS)
        warnings.simplefilter("ignore")
        self._base: dict[str, Any] = {}

    def serve(self) -> None:
        """Take the setup, and then run code until the runner closes the connection."""
        content, _ = parsed(*self._receive())
        _names.update({name: self._call(name) for name in content["calls"]})
        _fix_chance()
        try:
            run(content["setup"])
        except Exception as error:  # noqa: BLE001 - told to the runner
            self._send(message({"failed": _one_line(error)}))
            return
        self._base = dict(_names)
        self._send(message({"set": True}))
        while True:
            content, names = parsed(*self._receive())
            try:
                answer = self._run(content["code"], names, content["drop"], content["watch"])
            except BaseException as error:  # noqa: BLE001 - told to the runner
                self._send(message({"died": _one_line(error)}))
                return
            self._send(answer)

    def _run(self, code: str, given: Mapping[str, Any], drop: Iterable[str], watch: Iterable[str]) -> bytes:
        for name in drop:
            self._digests.pop(name, None)
            _names.pop(name, None)
        for name, value in self._base.items():
            _names.setdefault(name, value)
        for name, value in given.items():
            _names[name] = cloudpickle.loads(value.pickled) if isinstance(value, Held) else value
        before = dict(_names)
        digests = {name: self._digest(name) for name in watch if name in _names}
        _fix_chance()
        bound, printed, error = self._execute(code)
        bound |= {name for name, value in _names.items() if name not in before or value is not before[name]}
        bound |= {
            name for name, digest in digests.items() if name in _names and self._digest(name, anew=True) != digest
        }
        gone = sorted(before.keys() - _names.keys())
        names, large = self._kept(sorted(name for name in bound if _is_name(name) and name in _names))
        if large and error is None:
            error = f"MemoryError: too large to be kept: {', '.join(large)}"
        return message({"printed": printed, "error": error, "gone": gone}, names)

    def _execute(self, code: str) -> tuple[set[str], str | None, str | None]:
        """Run code; the names that its simple statements bound, what was printed last, and the error."""
        bound: set[str] = set()
        printed: str | None = None
        try:
            for statement in ast.parse(code).body:
                sys.stdout = self._output
                self._output.begin()
                try:
                    run(ast.Module([statement], []))
                finally:
                    sys.settrace(None)
                    sys.setprofile(None)
                    printed = self._output.text() if self._output.used else printed
                bound |= _targets(statement)
        except BaseException as error:  # noqa: BLE001 - whatever the code raised
            return bound, printed, _one_line(error)
        return bound, printed, None

    def _kept(self, bound: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
        """The values of names as they travel, and the names of those that are too large for it."""
        kept: dict[str, Any] = {}
        large: list[str] = []
        room = {True: ATTACHED_LIMIT, False: BODY_LIMIT // 2}
        for name in bound:
            try:
                said, cost = self._travelling(name)
                held = isinstance(said, Held)
                if cost > room[held]:
                    raise MemoryError  # noqa: TRY301 - as where it does not even fit here
                room[held] -= cost
            except BaseException as error:  # noqa: BLE001 - a value may do anything when it is pickled
                if isinstance(error, MemoryError):
                    large.append(name)
                _names[name] = Unkept(type(_names[name]).__name__[:100])
                said = _held(_names[name])
            kept[name] = said
        return kept, large

    def _travelling(self, name: str) -> tuple[Any, int]:
        """A value as it travels, and its size in bytes."""
        value = _names[name]
        try:
            if type(value) in _SIZED and len(value) > VALUE_LIMIT // 8:
                raise NotPlainError  # noqa: TRY301 - or it would take long to find out
            said = encoded(value, _plain)
            cost = len(json.dumps(said))
            if cost <= VALUE_LIMIT:
                if isinstance(value, np.generic) or (type(value) in _SIZED and _odd(value)):
                    _names[name] = decoded(said)
                return said, cost
        except NotPlainError:
            pass
        held = _held(value)
        return held, len(held.pickled)

    def _digest(self, name: str, *, anew: bool = False) -> str:
        """What tells whether a value has changed in place."""
        value = _names[name]
        if type(value) in _IMMUTABLE:
            return ""
        known = self._digests.get(name)
        if known is not None and known[0] is value and not anew:
            return known[1]
        try:
            digest = _digest_of(value)
        except BaseException:  # noqa: BLE001 - as above
            digest = "?"
        self._digests[name] = (value, digest)
        return digest

    def _call(self, name: str) -> FunctionType:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._asking:
                self._send(message({"ask": name, "args": json.loads(json.dumps([args, kwargs], default=_json))}))
                answer = json.loads(self._receive()[0])
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


class Unkept:
    """Stands for a value that cannot be kept from one piece of code to the next: an open file, a generator."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __str__(self) -> str:
        return f"<{self._kind}, not kept>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(self._reason())

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(self._reason())

    __iter__ = __next__ = __enter__ = __len__ = __getitem__ = __call__

    def _reason(self) -> str:
        return f"a {self._kind} is not kept from one piece of code to the next"


class _Output(io.TextIOBase):
    """What one statement prints, up to a limit."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._parts: list[str] = []
        self._room = _PRINT_LIMIT
        self.used = False

    def write(self, text: str) -> int:
        self.used = True
        if self._room > 0:
            part = str(text[: self._room])
            self._parts.append(part)
            self._room -= max(len(part), 1)
        return len(text)

    def text(self) -> str:
        return "".join(self._parts)


class _Pickler(_CloudPickler):
    """Pickles with functions of the session as code, taking note of the names that they look up."""

    def __init__(self, file: Any, **options: Any) -> None:
        super().__init__(file, **options)  # pyright: ignore[reportUnknownMemberType]
        self.reads: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType) and obj.__globals__ is _names:
            self.reads |= _reads(obj.__code__)
            cells = obj.__closure__ or ()
            # Version 2 has no back references, which would depend on how often an object is used.
            made = (marshal.dumps(obj.__code__, 2), len(cells))
            return _function, made, (_state(obj), cells), None, None, _complete
        if isinstance(obj, _CACHED) and getattr(obj.__wrapped__, "__globals__", None) is _names:
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        return super().reducer_override(obj)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _function(code: bytes, cells: int) -> FunctionType:
    return FunctionType(marshal.loads(code), _names, closure=tuple(CellType() for _ in range(cells)) or None)  # noqa: S302


def _cached(function: FunctionType, parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(function)


def _state(function: FunctionType) -> dict[str, Any]:
    kept = ("__name__", "__qualname__", "__defaults__", "__kwdefaults__", "__doc__", "__annotations__", "__module__")
    return {name: getattr(function, name) for name in kept} | {"__dict__": function.__dict__}


def _complete(function: FunctionType, state: tuple[dict[str, Any], tuple[CellType, ...]]) -> None:
    for name, value in state[0].items():
        setattr(function, name, value)
    for place, cell in zip(function.__closure__ or (), state[1], strict=True):
        try:
            place.cell_contents = cell.cell_contents
        except ValueError:
            continue


def _reads(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_reads, inner))


def _held(value: Any) -> Held:
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=5)
    pickler.dump(value)
    try:
        text = str(value)[:10_000]
    except Exception:  # noqa: BLE001 - as above
        text = f"<{type(value).__name__}>"
    return Held(file.getvalue(), re.sub(r" at 0x[0-9a-f]+", "", text), type(value).__name__, frozenset(pickler.reads))


def _digest_of(value: Any) -> str:
    digest = hashlib.blake2b()
    try:
        digest.update(json.dumps(encoded(value, _plain)).encode())
    except NotPlainError:
        file = io.BytesIO()

        def take(part: PickleBuffer) -> None:
            digest.update(part.raw())

        _Pickler(file, protocol=5, buffer_callback=take).dump(value)
        digest.update(file.getbuffer())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A scalar of numpy as one of Python."""
    return cast("Any", value).item() if isinstance(value, _SCALARS) else value


def _odd(value: Any) -> bool:
    """Whether a collection would be another after a journey: with scalars of numpy in it, or sets."""
    if holds_set(value):
        return True
    try:
        encoded(value)
    except NotPlainError:
        return True
    return False


def _json(value: Any) -> Any:
    """What stands for a value in the arguments of a call of the runner."""
    if isinstance(value, (set, frozenset)):
        return sorted(cast("set[Any]", value))
    listed = getattr(value, "tolist", None)  # as arrays and columns have it
    return listed() if listed else str(value)


def _targets(statement: ast.stmt) -> set[str]:
    """The names that a simple statement binds, also where it binds them to what they were bound to."""
    if isinstance(statement, _COMPOUND):
        return set()
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    nodes = list(ast.walk(statement))
    own = {name for node in nodes if isinstance(node, ast.comprehension) for name in ast.walk(node.target)}
    stored = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    imported = [node.asname or node.name for node in nodes if isinstance(node, ast.alias)]
    return {node.id for node in stored if node not in own} | {name.split(".")[0] for name in imported}


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not name.startswith("__")


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())[:_LINE]
        if isinstance(error, SyntaxError):
            text = str(error.msg)[:_LINE]
    except BaseException:  # noqa: BLE001 - an error may do anything when it is written out
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _fix_chance() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code that uses it
