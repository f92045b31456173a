"""The environment `countdown`: there is nothing to act on, the main thread's answer is marked."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.distribution import at_home
from thread_cli.environments.lazy import LazyTasks
from thread_envs.countdown.checking import is_solution
from thread_envs.countdown.problems import made, read, state
from thread_envs.countdown.teacher import CountdownTeacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_envs.countdown.problems import Problem

__all__ = ["Countdown"]

_MADE: Final = {"val": (0, 1000), "train": (1_000_000, 1000)}
"""The first made-up problem of each split, and their number."""
_MOST: Final = 100


class Countdown:
    """Countdown problems, made-up ones where no data are named.

    Args:
        data: a folder with APR's files of problems, `val*.json` and `train*.json`, or one such file.
        width: searches that the teacher calls at once, 1 to 100.
        sequential: whether the teacher searches in one thread.
        seed: changes nothing.
    """

    splits: ClassVar[Mapping[str, str]] = {
        "val": "1,000 problems for tests, or those of the data's file `val*.json`",
        "train": "1,000 other problems, or those of the data's file `train*.json`",
    }
    requires: ClassVar[Sequence[str]] = ()
    extra: ClassVar[str | None] = None
    graded: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, Any]] = {"phi": "last_line_after_comma"}
    paths: ClassVar[Sequence[str]] = ("data",)
    parallel: ClassVar[Literal[True]] = True
    whole_answers: ClassVar[Literal[True]] = True

    def __init__(self, *, data: str | None = None, width: int = 6, sequential: bool = False, seed: int = 0) -> None:
        if not 1 <= width <= _MOST:
            raise UserError(f"`countdown`: the width of the teacher's search is from 1 to {_MOST}, not {width}")
        self.seed = seed
        self._data = data
        self._width = width
        self._sequential = sequential
        self._playing = False

    def tasks(self, split: str) -> Sequence[Task]:
        """The problems of a split.

        Raises:
            UserError: there is no such split, or the data cannot be read.
        """
        if split not in self.splits:
            raise UserError(f"`countdown` has no split {split!r}; it has: {', '.join(self.splits)}")
        return LazyTasks(range(self._size(split)), lambda number: self._task(split, number))

    def find(self, name: str) -> Task:
        """The task of that name, such as `val-12`.

        Raises:
            UserError: there is none, or the data cannot be read.
        """
        split, number = self._place(name)
        return self._task(split, number)

    async def reset(self, task: Task) -> str:
        """Begin an episode; returns the root of the search, as APR writes it.

        Raises:
            UserError: there is no such task, or the data cannot be read.
        """
        problem = self._problem(*self._place(task.id))
        self._playing = True
        return f"Moving to Node #0\n{state(problem.target, problem.numbers)}"

    async def step(self, action: str) -> Step:  # noqa: ARG002
        """Answer that there is nothing to act on.

        Raises:
            EnvironmentFailed: no episode has begun.
        """
        if not self._playing:
            raise EnvironmentFailed("no episode of countdown has begun")
        return Step("There is nothing to act on here: the steps of the solution are the answer.")

    async def close(self) -> None:
        self._playing = False

    def score(self, task: Task, answer: str) -> Mapping[str, float]:
        """1 for the steps of a solution; see `checking.is_solution`."""
        problem = self._problem(*self._place(task.id))
        return {"correct": float(is_solution(problem.numbers, problem.target, answer))}

    def teacher(self, task: Task) -> CountdownTeacher:  # noqa: ARG002
        return CountdownTeacher(width=self._width, sequential=self._sequential)

    def _task(self, split: str, number: int) -> Task:
        numbers, target = self._problem(split, number)
        text = f"make {target} of {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
        data = {"numbers": [*numbers], "target": target}
        return Task(f"{split}-{number}", text, split, f"{len(numbers)} numbers", data)

    def _place(self, name: str) -> tuple[str, int]:
        match = re.fullmatch(r"(?P<split>[a-z]+)-(?P<number>0|[1-9][0-9]{0,8})", name)
        if not match or match["split"] not in self.splits:
            raise UserError(
                f"`countdown` has no task {name!r}; ids are {' and '.join(f'{s}-NUMBER' for s in self.splits)}"
            )
        split, number = match["split"], int(match["number"])
        if number >= self._size(split):
            raise UserError(
                f"`countdown` has no task {name!r}; ids go from {split}-0 to {split}-{self._size(split) - 1}"
            )
        return split, number

    def _size(self, split: str) -> int:
        return _MADE[split][1] if self._data is None else len(self._given[split])

    def _problem(self, split: str, number: int) -> Problem:
        return made(_MADE[split][0] + number) if self._data is None else self._given[split][number]

    @cached_property
    def _given(self) -> _Given:
        return _Given(at_home(Path(self._data or "")))


class _Given(dict[str, "list[Problem]"]):
    """The problems of the data's files by split, each read when it is first asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def __missing__(self, split: str) -> list[Problem]:
        self[split] = read(self._path, split)
        return self[split]
