"""Turns the objects of a session into bytes: for the sessions of other threads, and for a session that is opened again.

Objects that belong together (two names for one list, an object and its class) are pickled together, so that they still
belong together after loading. Functions take their code along and look names up in the session that loads them. An
object that cannot be copied (a generator, an open file) is replaced by an `Unkept`, whose use is an error.
"""

from __future__ import annotations

import builtins
import enum
import io
import math
import pickle
import sys
from sys import getrecursionlimit, setrecursionlimit  # of Python, unaffected by changes that the code makes
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
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

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

from thread_cli.interpreters import session_classes, session_functions
from thread_cli.interpreters.session_classes import (
    Plan,
    is_own,
    plan,
    reduced_builtin,
    reduced_class,
    reduced_member,
    reduced_object,
)
from thread_cli.interpreters.session_copies import reduced_other, standard
from thread_cli.interpreters.session_errors import reduced_exception, reduced_traceback
from thread_cli.interpreters.session_functions import (
    CACHED,
    EXECUTING,
    HEAP,
    Cells,
    importable,
    main,
    names,
    reads,
    reduced_cached,
    reduced_function,
    remember,
    remembered,
    seen,
)
from thread_cli.interpreters.session_generics import GENERIC, evaluate, evaluated, reduced_generic
from thread_cli.interpreters.session_iterators import ITERATING, bring, taken
from thread_cli.interpreters.session_running import errors, output
from thread_cli.interpreters.session_sets import arrange, layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LostError", "Pickled", "Unkept", "components", "loaded", "main", "names", "pickled"]

_CloudPickler: Any = cloudpickle.Pickler
_RUNNING: Final[Any] = (
    GeneratorType,
    CoroutineType,
    AsyncGeneratorType,
    FrameType,
    io.FileIO,
    io.BufferedReader,
    io.BufferedWriter,
    io.BufferedRandom,
    io.TextIOWrapper,
)
_ATOMS: Final = {
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
}
_MAKE: Final = object.__new__
_attributes: Final = object.__getattribute__
_SETS: Final = (set, frozenset)
_NESTED: Final = 8_000
"""Greatest nesting of pickled objects, in calls of Python."""


class Unkept:
    """Stands for a value that cannot be copied: an open file, a generator. Every use of it is an error, except asking
    for its type, which no object notices: the type has the name of the value's.
    """

    def __new__(cls, kind: str, module: str = "builtins") -> Unkept:  # noqa: PYI034 - of a class of its own
        made = object.__new__(type(kind, (Unkept,), {"__module__": module}))
        object.__setattr__(made, "_kind", kind)
        return made

    def __getattribute__(self, name: str) -> Any:
        raise LostError(object.__getattribute__(self, "_kind"))


class LostError(RuntimeError):
    """Code uses an object that could not be copied to this session. The code sees a `RuntimeError`."""

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

    `data` are the bytes. The first `length` of them describe the objects; the others describe the further state of a
    copy: the order of sets, cached results of functions, positions of iterators, and evaluated parts of type aliases.
    `reads` are the names that functions among the objects look up; `objects` the ids of all parts that may change or
    whose identity matters; `lost`: a part could not be copied.
    """

    __slots__ = ("_pickler", "data", "length", "lost", "objects", "reads")

    def __init__(
        self, values: Mapping[str, Any], shared: tuple[type, ...], *, patient: bool, careful: bool = False
    ) -> None:
        file = io.BytesIO()
        pickler = (_CarefulPickler if careful else _Pickler)(file, patient=patient)
        limit = getrecursionlimit()
        setrecursionlimit(max(limit, _NESTED))
        try:
            pickler.dump(values)
            self.length = file.tell()
            memo = [value for _, value in pickler.memo.copy().values()]
            orders = [(each, order) for each in memo if issubclass(type(each), _SETS) and (order := layout(each))]
            caches = [(each, *remembered(each)) for each in pickler.caches]
            iterators = [(each, passed) for each in memo if type(each) in ITERATING and (passed := taken(each))]
            generics = [(each, known) for each in pickler.generics if (known := evaluated(each))]
            if orders or caches or iterators or generics:
                pickler.dump((orders, caches, iterators, generics))
                memo = [value for _, value in pickler.memo.copy().values()]
        finally:
            setrecursionlimit(limit)
        self.data = file.getvalue()
        self.reads = pickler.reads
        self.lost = pickler.lost
        self._pickler = pickler  # keeps temporary objects alive, so that no id is used twice
        self.objects = _identities(memo, shared)
        self.objects.update(map(id, pickler.cells.cells), map(id, pickler.numbers))


def pickled(values: Mapping[str, Any], shared: tuple[type, ...]) -> Pickled:
    """`values` as bytes, with an `Unkept` in the place of each object that cannot be copied.

    Args:
        values: objects by name.
        shared: types of objects for which sharing makes no difference.

    Raises:
        Exception: an object does not let itself be pickled in any way.
    """
    values = {sys.intern(name): value for name, value in values.items()}  # so that the bytes do not distinguish names
    patient, careful = False, EXECUTING in seen
    while True:
        try:
            part = Pickled(values, shared, patient=patient, careful=careful)
        except MemoryError:
            raise
        except BaseException:
            if patient:
                raise
            patient = True  # an object's reduction may run any code
            continue
        if careful or _NO_NUMBER not in part.data:
            return part
        careful = True


def loaded(data: bytes, wanted: Iterable[str]) -> dict[str, Any]:
    """Load the wanted objects. A class that this session has stays as it is, unless it is itself wanted."""
    file = io.BytesIO(data)
    reader = _Unpickler(file)
    try:
        values: dict[str, Any] = reader.load()
        if file.tell() < len(data):
            orders, caches, iterators, generics = cast("tuple[list[Any], ...]", reader.load())
            for items, order in orders:
                arrange(items, order)
            for cached, *entry in caches:
                remember(cached, *entry)
            for iterator, passed in iterators:
                bring(iterator, passed)
            for generic, known in generics:
                evaluate(generic, known)
        found = {name: values[name] for name in wanted}
        for value in found.values():
            # A class to which other names refer stays theirs.
            if issubclass(type(value), type) and not any(each is value for each in names.values()):
                session_classes.adopt(value)
        return found
    finally:
        session_classes.start()
        session_functions.start()


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
    """Collects the names that functions look up. `patient`: each object is tried before it is pickled."""

    def __init__(self, file: Any, *, patient: bool) -> None:
        super().__init__(file, protocol=5)  # pyright: ignore[reportUnknownMemberType]
        self.reads: set[str] = set()
        self.lost = False
        self.cells = Cells()
        self.caches: list[Any] = []
        self.generics: list[Any] = []
        self.numbers: list[float] = []
        """NaNs, each of which is identical to itself alone."""
        self._patient = patient
        self._plans: dict[type, Plan] = {}

    def reducer_override(self, obj: Any) -> Any:
        kind = cast("type[Any]", type(obj))
        how = self._plans.get(kind)
        if how is not None and how.simple is not None:
            return _MAKE, how.simple, _attributes(obj, "__dict__")
        try:
            reduced = self._reduced(obj, kind)
            if reduced is NotImplemented and self._patient and not issubclass(kind, (type, *_FOUND)):
                reduce = self.dispatch_table.get(kind)
                return reduce(obj) if reduce else obj.__reduce_ex__(5)
        except Exception:
            if not self._patient:
                raise
            return self._unkept(kind)
        return reduced

    def _reduced(self, obj: Any, kind: Any) -> Any:
        if issubclass(kind, Unkept):
            self.lost = True
            return Unkept, (_attributes(obj, "_kind"), kind.__module__)
        if kind is FunctionType and obj.__globals__ is names:
            self.reads |= reads(obj.__code__)
            return reduced_function(obj, self.cells)
        if kind is FunctionType and not importable(obj):
            return reduced_function(obj, self.cells, _space(obj))
        if kind is CACHED and not importable(obj):
            self.caches.append(obj)
            return reduced_cached(obj)
        if (reduced := reduced_other(obj, kind)) is not None:
            return reduced
        if kind in GENERIC and (reduced := reduced_generic(obj)) is not None:
            self.generics.append(obj)
            return reduced
        if issubclass(kind, type):
            return reduced_class(obj) or reduced_builtin(obj) or self._standard(obj)
        if obj is output.stream or obj is errors:
            return _stream, (obj is errors,)
        if issubclass(kind, _RUNNING) or _is_thread(kind):
            return self._unkept(kind)
        if kind is TracebackType:
            return reduced_traceback(obj)
        if issubclass(kind, BaseException):
            return reduced_exception(obj, own=is_own(kind)) or NotImplemented
        if not is_own(kind):
            return self._standard(obj)
        if issubclass(kind, enum.Enum):
            return reduced_member(obj)
        how = self._plans.get(kind) or self._plans.setdefault(kind, plan(kind))
        if how.simple is not None:
            return _MAKE, how.simple, _attributes(obj, "__dict__")
        return reduced_object(obj, kind, how) or NotImplemented

    def _standard(self, obj: Any) -> Any:
        return super().reducer_override(obj)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def _unkept(self, kind: type[Any]) -> Any:
        self.lost = True
        return Unkept, (kind.__name__[:100], kind.__module__)


def _stream(of_errors: bool) -> Any:
    return errors if of_errors else output.stream


class _CarefulPickler(_Pickler):
    """A slower pickler that keeps the identity of NaNs, of the thread's namespace, and of the builtins in namespaces of
    executed text.
    """

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is float and math.isnan(obj):
            place = next((place for place, number in enumerate(self.numbers) if number is obj), len(self.numbers))
            if place == len(self.numbers):
                self.numbers.append(obj)
            return -1 if obj is _NAN else place
        if obj is names:
            self.reads.add("globals")  # as any name may be read from it
            return "names"
        return "builtins" if obj is builtins.__dict__ else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._numbers: dict[int, float] = {-1: _NAN}

    def persistent_load(self, pid: Any) -> Any:
        if pid in ("names", "builtins"):
            seen.add(EXECUTING)
            return names if pid == "names" else builtins.__dict__
        return self._numbers.setdefault(pid, float("nan"))


_NAN: Final = math.nan
_NO_NUMBER: Final = b"G\x7f\xf8" + bytes(6)
"""NaN, as bytes."""
_FOUND: Final = (FunctionType, BuiltinFunctionType, MethodType)
"""Types of objects that are found by their names, unless they are the code's own."""


def _space(function: FunctionType) -> dict[str, Any] | str:
    """A function's globals: the name of a module, or a dictionary that belongs to no module."""
    space = function.__globals__
    module = sys.modules.get(space.get("__name__", ""))
    return module.__name__ if module is not None and module.__dict__ is space else space


def _is_thread(kind: type[Any]) -> bool:
    threading = sys.modules.get("threading")
    return threading is not None and issubclass(kind, threading.Thread)


def _identities(values: Iterable[Any], shared: tuple[type, ...]) -> set[int]:
    """The ids of objects for which sharing by two names matters: all but those found by a name in a module."""
    found: set[int] = set()
    known: dict[int, bool | None] = {}
    for value in values:
        kind = cast("type[Any]", type(value))
        matters = known.get(id(kind), kind)
        if matters is kind:
            special = issubclass(kind, type) or kind is FunctionType or kind is BuiltinFunctionType
            matters = known[id(kind)] = None if special else kind not in _ATOMS and not issubclass(kind, shared)
        if matters or (matters is None and _is_own(value, kind)):
            found.add(id(value))
    return found.difference(standard)


def _is_own(value: Any, kind: type[Any]) -> bool:
    """Whether a function or a class is the code's own."""
    if kind is FunctionType:
        return value.__globals__ is names
    if kind is BuiltinFunctionType:
        return type(value.__self__) is not ModuleType
    return bool(value.__flags__ & HEAP) and not importable(value)
