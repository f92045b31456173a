"""Finds environments in the entry-point group `thread_cli.environments`, our adapters like those of others."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, cast, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from thread_cli.contracts.environment import Finds, Task
from thread_cli.contracts.errors import UserError
from thread_cli.distribution import remedy, requirement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.environment import Environment

__all__ = ["Broken", "Installed", "find", "installed", "names", "open_environment", "paths_of", "task_of"]

_GROUP: Final = "thread_cli.environments"
_NUMBERS_AS_TEXT: Final = ConfigDict(coerce_numbers_to_str=True)
_DECLARED: Final = ("splits", "requires", "extra", "graded", "rules")


@dataclass(frozen=True, slots=True)
class Installed:
    """One adapter. `missing` are the packages that it needs and that are not installed."""

    name: str
    adapter: type[Environment]
    missing: tuple[str, ...]

    @property
    def remedy(self) -> str:
        """The command that installs the missing packages."""
        if self.adapter.extra:
            return remedy(self.adapter.extra)
        return "pip install " + " ".join(f"'{requirement(name)}'" for name in self.missing)


@dataclass(frozen=True, slots=True)
class Broken:
    """An adapter that cannot be used; `error` is one line."""

    name: str
    error: str


def names() -> list[str]:
    """The names of all adapters, none of them loaded."""
    return sorted(_points().names)


def installed() -> list[Installed | Broken]:
    """All adapters, by name."""
    found: list[Installed | Broken] = []
    for point in sorted(_points(), key=lambda point: point.name):
        try:
            found.append(_load(point))
        except UserError as error:
            found.append(Broken(point.name, error.message))
    return found


def find(name: str) -> Installed:
    """The adapter of that name.

    Raises:
        UserError: there is none, or it cannot be imported.
    """
    points = _points()
    if name not in points.names:
        raise UserError(f"there is no environment {name!r}; there are {', '.join(sorted(points.names))}")
    return _load(points[name])


def open_environment(name: str, options: Mapping[str, Any]) -> Environment:
    """A new environment object.

    Raises:
        UserError: there is no such adapter, it lacks packages, or it does not take these options.
    """
    found = find(name)
    if found.missing:
        raise UserError(f"{name} needs {', '.join(found.missing)}: {found.remedy}")
    takes = inspect.signature(found.adapter).parameters
    if unknown := options.keys() - takes.keys():
        raise UserError(f"{name} takes no option {min(unknown)!r}; it takes {', '.join(takes)}")
    return found.adapter(**_typed(name, found.adapter, options))


def paths_of(name: str) -> Sequence[str]:
    """The options of an environment that name files or folders; raises UserError as `find` does."""
    return getattr(find(name).adapter, "paths", ())


def task_of(environment: Environment, name: str, task: str | None) -> Task:
    """A task by `SPLIT:INDEX`, or by its name in any split; without a name the default split's first task.

    Raises:
        UserError: there is no such task.
    """
    splits = list(environment.splits)
    if task is None:
        first = environment.tasks(splits[0])
        if not first:
            raise UserError(f'{name} has no tasks of its own: say what to do with --task "…"')
        return first[0]
    split, colon, index = task.partition(":")
    if colon and split in splits and index.isdecimal():
        return _at(environment.tasks(split), int(index), f"{name}, split {split}")
    if isinstance(environment, Finds):
        found = environment.find(task)
        if found is None:
            raise UserError(f"{name} has no task {task!r}: list its splits with `thread envs`, write SPLIT:INDEX")
        return found
    tasks = {known.id: known for split in splits for known in environment.tasks(split)}
    if task in tasks:
        return tasks[task]
    if not tasks and not task.strip():
        raise UserError(f"{name}: the text of the task is empty")
    if not tasks:
        return Task(id="text", text=task)
    raise UserError(f"{name} has no task {task!r}; it has {_range(list(tasks))}")


def _typed(name: str, adapter: type[Environment], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, converted to the types of the adapter's parameters where these are known at run time.

    Raises:
        UserError: a value is of another type.
    """
    typed = dict(options)
    try:
        hints = get_type_hints(adapter.__init__)
    except (NameError, TypeError):
        return typed
    for option in options.keys() & hints.keys():
        try:
            kind: TypeAdapter[Any] = TypeAdapter(hints[option], config=_NUMBERS_AS_TEXT)
            typed[option] = kind.validate_python(options[option])
        except PydanticUserError:
            continue
        except ValidationError as error:
            wrong = error.errors()[0]["msg"].removeprefix("Input ")
            raise UserError(f"{name}: option {option!r} {wrong}, not {options[option]!r}") from None
    return typed


def _at(tasks: Sequence[Task], index: int, where: str) -> Task:
    if index >= len(tasks):
        raise UserError(f"{where}: there is no task {index}; there are {len(tasks)}")
    return tasks[index]


def _range(ids: list[str]) -> str:
    return f"{ids[0]} to {ids[-1]}" if len(ids) > 6 else ", ".join(ids)


def _points() -> EntryPoints:
    return _points_on(tuple(sys.path))


@cache
def _points_on(path: tuple[str, ...]) -> EntryPoints:  # noqa: ARG001 - what is installed depends on it
    """The entry points of all adapters, looked up once, as that takes longer than opening most of them."""
    return entry_points(group=_GROUP)


def _load(point: EntryPoint) -> Installed:
    try:
        adapter = cast("type[Environment]", point.load())
        missing = tuple(name for name in adapter.requires if find_spec(name) is None)
        lacks = next((name for name in _DECLARED if not hasattr(adapter, name)), None)
    except Exception as error:
        raise UserError(
            f"environment {point.name} ({point.value}) does not load: {type(error).__name__}: {error}"
        ) from error
    if lacks:
        raise UserError(f"environment {point.name} ({point.value}) is no adapter: it declares no `{lacks}`")
    return Installed(point.name, adapter, missing)
