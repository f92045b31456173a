"""Suites: tasks, conditions under which they are played, and published figures.

A suite is a TOML file, one of ours (by name) or the user's own (by path). Its tasks are fixed by size and hash, so that
a figure always stands for the same tasks; a suite whose tasks are not exactly those is not played.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from thread_cli.assembly.config import Width
from thread_cli.contracts.environment import SetsUp
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.resources.abc import Traversable

    from thread_cli.contracts.environment import Environment, Task

__all__ = ["Examples", "Part", "Published", "Suite", "Variant", "installed", "load", "task_hash", "tasks_of"]

_PACKAGE: Final = "thread_benchmarks"
_HASH_DIGITS: Final = 16


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Table):
    """A set of tasks of one environment. For a value of None the configuration's or the environment's own counts."""

    environment: str
    split: str
    tasks: int | None = Field(default=None, ge=1)
    """Number of tasks, the first of the split, which must have as many; None for all."""
    hash: str | None = None
    """`task_hash` of these tasks, or its beginning."""
    prompt: str | None = None
    protocol: str | None = None
    phi: str | None = None
    psi: str | None = None
    options: Mapping[str, Any] = Field(default_factory=dict[str, Any])
    """Options of the environment."""
    resources: Mapping[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict[str, float])
    """Resources of one player of this part on a Ray cluster: `CPU`, `GPU`, `memory`, or the cluster's own labels."""

    @property
    def name(self) -> str:
        return f"{self.environment}, split {self.split}"


class Examples(_Table):
    """The selection of a prompt's few-shot examples."""

    keep: int | None = Field(default=None, ge=0)
    """Number of examples; None for all."""
    shuffle: int | None = None
    """Seed of their order; None for the prompt's own."""


class Variant(_Table):
    """One condition of an ablation. For a value of None the part's counts."""

    name: str = Field(min_length=1)
    protocol: str | None = None
    phi: str | None = None
    psi: str | None = None
    prompt: str | None = None
    method: str | None = None
    branches: int | None = Field(default=None, ge=2, le=1024)
    watch: tuple[str, ...] | None = None
    """Watchers, by name."""
    watchers: Mapping[str, Mapping[str, Any]] | None = None
    """Settings of watchers, by name."""
    variables: bool = True
    """Whether names are substituted and handed on."""
    examples: Examples = Field(default_factory=Examples)


class Published(_Table):
    """A figure that somebody has reported for these tasks, or some like them."""

    method: str
    model: str
    success: float | None = Field(default=None, ge=0, le=100)
    """Percent of tasks."""
    score: float | None = None
    """Mean score, as published."""
    categories: Mapping[str, float] = Field(default_factory=dict[str, float])
    """Success in percent by category."""
    tasks: int | None = None
    source: str


class Suite(_Table):
    """Tasks, conditions, and published figures."""

    name: str
    description: str = ""
    metric: Literal["success", "reward"] = "success"
    """`reward`: the mean score is the figure, and success stands beside it."""
    method: str = "thread"
    branches: int | None = Field(default=None, ge=2, le=1024)
    """Branches of each question, where the user says nothing."""
    watch: tuple[str, ...] = ()
    """Watchers of each episode, by name, where the user names none."""
    reserved: Literal["tasks", "texts"] | None = None
    """For a test set, which is excluded from training: `tasks` excludes its tasks, `texts` every task of any split with
    the text of one of them.
    """
    parts: tuple[Part, ...] = Field(min_length=1)
    limits: Limits = Field(default_factory=Limits)
    max_parallel: Width = None
    """Threads of an episode that generate at once, where the user sets nothing else."""
    variants: tuple[Variant, ...] = ()
    published: tuple[Published, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Suite:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError("two variants have the same name")
        return self


def installed() -> Iterator[Suite]:
    """The installed suites, by name."""
    folder = importlib.resources.files(_PACKAGE)
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            yield _read(file, file.name.removesuffix(".toml"))


def load(spec: str) -> Suite:
    """The suite that `spec` names: an installed one, or a file's path.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    if spec.endswith(".toml"):
        return _read(Path(spec), Path(spec).stem)
    file = importlib.resources.files(_PACKAGE).joinpath(f"{spec}.toml")
    if "/" in spec or not file.is_file():
        known = ", ".join(suite.name for suite in installed())
        raise UserError(f"there is no suite {spec!r}; there are {known or 'none'}, or write the path of a .toml file")
    return _read(file, spec)


def tasks_of(part: Part, environment: Environment) -> Sequence[Task]:
    """The tasks of a part, from its environment.

    Raises:
        UserError: they are missing, too few, or not the suite's tasks.
    """
    found = environment.tasks(part.split)
    tasks = list(found if part.tasks is None else found[: part.tasks])
    if not tasks:
        raise UserError(f"{part.name}: there are no tasks")
    remedy = "check the environment's data and options"
    if isinstance(environment, SetsUp):
        remedy += f", or run `thread envs setup {part.environment}`"
    if part.tasks is not None and len(tasks) < part.tasks:
        raise UserError(f"{part.name}: the suite has {part.tasks:,} tasks, only {len(tasks):,} are there; {remedy}")
    if part.hash and not (now := task_hash(tasks)).startswith(part.hash):
        raise UserError(
            f"{part.name}: these are not the tasks of the suite: their hash is {now}, "
            f"that of the suite's {part.hash}; {remedy}"
        )
    return tasks


def task_hash(tasks: Iterable[Task]) -> str:
    """Hash of a set of tasks: 16 hexadecimal digits of the SHA-256 over ids, texts and categories, in order."""
    rows = [[task.id, task.text, task.category] for task in tasks]
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]


def _read(file: Path | Traversable, name: str) -> Suite:
    try:
        table = tomllib.loads(file.read_text("utf-8"))
        return Suite.model_validate({"name": name} | table)
    except OSError as error:
        raise UserError(f"suite {file}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"suite {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise UserError(f"suite {name} is not TOML: {error}") from None
