"""How the objects of a session become bytes: for the sessions of other threads, and for a session that is opened again.

Objects that belong together (two names for one list, an object and its class) are pickled together, so that they still
belong together where they are read. Functions take their code along and look names up in the session that reads them.
What cannot be copied (a generator, an open file) is replaced by an `Unkept`, which is an error where it is used.
"""

from __future__ import annotations

import gc
import io
import marshal
import random
import re
import sys
from _collections_abc import dict_items, dict_keys, dict_values
from functools import lru_cache
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast
from weakref import WeakSet

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]
from cloudpickle import cloudpickle as internals  # pyright: ignore[reportMissingTypeStubs]

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LostError", "Pickled", "Unkept", "components", "loaded", "main", "names", "pickled"]

main: Final = ModuleType("__main__")
"""The module that code runs in."""
names: Final = main.__dict__
"""The names of this session: one process, one session."""

_CloudPickler: Any = cloudpickle.Pickler
_CACHED: Final = type(lru_cache(int))
_VIEWS: Final[dict[Any, str]] = {
    kind: kind.__name__.removeprefix("dict_") for kind in (dict_keys, dict_values, dict_items)
}
_RUNNING: Final[tuple[type[Any], ...]] = (
    GeneratorType,
    CoroutineType,
    AsyncGeneratorType,
    FrameType,
    TracebackType,
    io.FileIO,
    io.BufferedReader,
    io.BufferedWriter,
    io.BufferedRandom,
    io.TextIOWrapper,
)
_ATOMS: Final = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    type(...),
    type(NotImplemented),
    tuple,
    frozenset,
    CodeType,
    ModuleType,
)
_complete: WeakSet[type] = WeakSet()
"""Classes of the code that are as they should be in this session, whatever bytes from elsewhere say."""
_pending: dict[type, Any] = {}


class Unkept:
    """Stands for a value that cannot be copied: an open file, a generator. Whatever is done with it is an error."""

    def __init__(self, kind: str) -> None:
        object.__setattr__(self, "_kind", kind)

    def __reduce__(self) -> tuple[Any, ...]:
        return Unkept, (object.__getattribute__(self, "_kind"),)

    def __getattribute__(self, name: str) -> Any:
        if name in ("__class__", "__reduce__", "__reduce_ex__", "__dict__"):
            return object.__getattribute__(self, name)
        raise LostError(object.__getattribute__(self, "_kind"))


class LostError(RuntimeError):
    """Something that cannot be copied is used where it is not. The code sees a `RuntimeError`."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"a {kind} cannot be copied: it is lost where a thread is spawned, and where a session ends")
        self.kind = kind


LostError.__name__ = LostError.__qualname__ = "RuntimeError"


def _refuse(self: Unkept, *_: object, **__: object) -> NoReturn:
    raise LostError(object.__getattribute__(self, "_kind"))


for (
    _name
) in """call iter next enter exit len getitem setitem delitem contains str repr format bool eq ne lt le gt ge hash
    add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow neg pos abs int float index and or
    xor rand ror setattr delattr dir await aiter anext reversed""".split():  # noqa: SIM905 - as a list it would be a page long
    setattr(Unkept, f"__{_name}__", _refuse)


class Pickled:
    """Bytes of named objects.

    `reads` are the names that functions among them look up; `objects` the ids of what the objects consist of that may
    change or has an identity that matters; `lost` whether something in them could not be copied.
    """

    __slots__ = ("_pickler", "data", "lost", "objects", "reads")

    def __init__(self, data: bytes, pickler: _Pickler, shared: tuple[type, ...]) -> None:
        self.data = data
        self.reads = pickler.reads
        self.lost = pickler.lost
        self._pickler = pickler  # keeps temporary objects alive, so that no id is used twice
        self.objects = {
            place
            for place, (_, value) in pickler.memo.copy().items()
            if type(value) not in _ATOMS and _has_identity(value, shared)
        }


def pickled(values: Mapping[str, Any], shared: tuple[type, ...]) -> Pickled:
    """`values` as bytes, with an `Unkept` in the place of all that cannot be copied.

    Args:
        values: objects by name.
        shared: types of objects that may be shared without anybody noticing.

    Raises:
        Exception: an object does not let itself be pickled in any way.
    """
    values = {sys.intern(name): value for name, value in values.items()}  # so that the bytes do not tell names apart
    for patient in (False, True):
        file = io.BytesIO()
        pickler = _Pickler(file, patient=patient)
        try:
            pickler.dump(values)
        except MemoryError:
            raise
        except BaseException:
            if patient:
                raise
            continue
        return Pickled(file.getvalue(), pickler, shared)
    raise AssertionError


def loaded(data: bytes, wanted: Iterable[str]) -> dict[str, Any]:
    """The wanted ones of the objects that were pickled. A class that this session knows stays as it is, unless it is
    itself wanted.
    """
    _pending.clear()
    values: dict[str, Any] = internals.pickle.loads(data)
    found = {name: values[name] for name in wanted}
    for value in found.values():
        if type(value) is type and value in _pending:
            internals._class_setstate(value, _pending.pop(value))  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
    _pending.clear()
    return found


def components(parts: Mapping[str, Pickled]) -> list[list[str]]:
    """Names in groups: those whose values share an object are in one group."""
    groups: list[tuple[list[str], set[int]]] = []
    for name, part in parts.items():
        names_, objects = [name], set(part.objects)
        apart: list[tuple[list[str], set[int]]] = []
        for group in groups:
            if group[1].isdisjoint(objects):
                apart.append(group)
            else:
                names_ = group[0] + names_
                objects |= group[1]
        groups = [*apart, (names_, objects)]
    return [group for group, _ in groups]


class _Pickler(_CloudPickler):
    """Takes note of the names that functions look up. `patient` tries each object before it is pickled."""

    def __init__(self, file: Any, *, patient: bool) -> None:
        super().__init__(file, protocol=5)  # pyright: ignore[reportUnknownMemberType]
        self.reads: set[str] = set()
        self.lost = False
        self._patient = patient

    def reducer_override(self, obj: Any) -> Any:
        kind = cast("type[Any]", type(obj))
        if kind is FunctionType and obj.__globals__ is names:
            self.reads |= _reads(obj.__code__)
            cells = obj.__closure__ or ()
            # Version 2 has no back references, which would depend on how often an object is used.
            made = (marshal.dumps(obj.__code__, 2), len(cells))
            return _function, made, (_state(obj), cells), None, None, _completed
        if kind in _VIEWS:
            return _view, (_VIEWS[kind], _dict_of(obj))
        if kind is re.Match:
            return self._match(obj)
        if kind is _CACHED and getattr(obj.__wrapped__, "__globals__", None) is names:
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if obj is _CHANCE:
            return _chance, ()
        if issubclass(kind, _RUNNING) and not _is_standard(obj):
            return self._unkept(cast("type[Any]", type(obj)))
        if issubclass(kind, BaseException) and kind.__module__ == "__main__" and _plain_exception(kind):
            return _exception, (kind, obj.args), obj.__dict__ or None
        reduced = cast("Any", super().reducer_override(obj))  # pyright: ignore[reportUnknownMemberType]
        if reduced is not NotImplemented:
            if issubclass(kind, type) and len(cast("tuple[Any, ...]", reduced)) == 6:
                _complete.add(obj)
                reduced[2][0].pop("__slotnames__", None)  # which pickling itself puts into a class
                return (*reduced[:5], _set_class)
            return reduced
        return self._tried(obj, cast("type[Any]", type(obj))) if self._patient else NotImplemented

    def _tried(self, obj: Any, kind: type[Any]) -> Any:
        if issubclass(kind, (type, FunctionType, BuiltinFunctionType, MethodType)):
            return NotImplemented
        reduce = self.dispatch_table.get(kind)
        try:
            return reduce(obj) if reduce else obj.__reduce_ex__(5)
        except Exception:  # noqa: BLE001 - an object may do anything when it is asked how it is made
            return self._unkept(kind)

    def _match(self, found: re.Match[Any]) -> Any:
        """A match, by what finds it again."""
        for way, start in (
            ("search", found.pos),
            ("match", found.pos),
            ("fullmatch", found.pos),
            ("match", found.start()),
        ):
            again = getattr(found.re, way)(found.string, start, found.endpos)
            if again is not None and again.regs == found.regs:
                return _matched, (found.re, way, found.string, start, found.endpos)
        return self._unkept(re.Match)

    def _unkept(self, kind: type[Any]) -> Any:
        self.lost = True
        return Unkept, (kind.__name__[:100],)


_CHANCE: Final = cast("Any", random)._inst


def _chance() -> random.Random:
    return _CHANCE


def _matched(pattern: re.Pattern[Any], way: str, *where: Any) -> Any:
    return getattr(pattern, way)(*where)


def _view(kind: str, of: dict[Any, Any]) -> Any:
    return getattr(of, kind)()


def _dict_of(view: Any) -> dict[Any, Any]:
    return next(cast("dict[Any, Any]", each) for each in gc.get_referents(view) if isinstance(each, dict))


def _exception(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    made = kind.__new__(kind, *args)
    made.args = args
    return made


def _plain_exception(kind: type) -> bool:
    return kind.__reduce__ is BaseException.__reduce__ and "__reduce_ex__" not in vars(kind)


def _is_standard(file: Any) -> bool:
    return file is sys.stdout or file is sys.stderr


def _function(code: bytes, cells: int) -> FunctionType:
    return FunctionType(marshal.loads(code), names, closure=tuple(CellType() for _ in range(cells)) or None)  # noqa: S302


def _cached(function: FunctionType, parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(function)


def _state(function: FunctionType) -> dict[str, Any]:
    kept = ("__name__", "__qualname__", "__defaults__", "__kwdefaults__", "__doc__", "__annotations__", "__module__")
    return {name: getattr(function, name) for name in kept} | {"__dict__": function.__dict__}


def _completed(function: FunctionType, state: tuple[dict[str, Any], tuple[CellType, ...]]) -> None:
    for name, value in state[0].items():
        setattr(function, name, value)
    for place, cell in zip(function.__closure__ or (), state[1], strict=True):
        try:
            place.cell_contents = cell.cell_contents
        except ValueError:
            continue


def _set_class(made: type, state: Any) -> type:
    if made in _complete:
        _pending[made] = state
        return made
    _complete.add(made)
    return internals._class_setstate(made, state)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]


def _reads(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_reads, inner))


def _has_identity(value: Any, shared: tuple[type, ...]) -> bool:
    """Whether it matters that two names share this object: not for what is found by its name in a module."""
    kind = cast("type[Any]", type(value))
    if kind is FunctionType:
        return value.__globals__ is names
    if issubclass(kind, type):
        return value.__module__ == "__main__"
    if kind is BuiltinFunctionType:
        return type(value.__self__) is not ModuleType
    return value is not _CHANCE and not issubclass(kind, shared)
