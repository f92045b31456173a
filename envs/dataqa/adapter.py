"""What the environments of data question answering have in common: they ask, threads compute, answers are marked."""

from __future__ import annotations

import functools
import importlib.resources
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_envs.dataqa.scoring import marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.environment import Concurrency
    from thread_envs.dataqa.questions import Question

__all__ = ["DataQA", "helpers"]


class DataQA(ABC):
    """An environment whose tasks are questions about data; a task's id is all that counts."""

    extra: ClassVar[str | None] = "dataqa"
    graded: ClassVar[bool] = True
    concurrency: ClassVar[Concurrency] = "shared"
    rules: ClassVar[Mapping[str, Any]] = {
        "phi": "last_line",
        "actions": "code",
        "blank_line": False,
        "observation": {"names": False, "comment": "# "},
    }

    splits: ClassVar[Mapping[str, str]]
    _name: ClassVar[str]
    _sizes: ClassVar[Mapping[str, int]]
    """Number of questions of each split, in their order."""
    _opening: ClassVar[str]
    """What stands before a question in published prompts."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._playing = False

    @abstractmethod
    def _questions(self, count: int) -> Sequence[Question]:
        """Up to `count` questions over the data, always the same ones."""

    def tasks(self, split: str) -> Sequence[Task]:
        """The questions of a split.

        Raises:
            UserError: there is no such split, or the data cannot be had or allow no questions.
        """
        if split not in self.splits:
            raise UserError(f"`{self._name}` has no split {split!r}; it has: {', '.join(self.splits)}")
        return [task for task in self._tasks.values() if task.split == split]

    async def reset(self, task: Task) -> str:
        """Begin an episode; returns the question as published prompts have it.

        Raises:
            UserError: there is no such task, or the data cannot be had.
        """
        question = self._known(task).text
        self._playing = True
        return f"{self._opening}: {question}"

    async def step(self, action: str) -> Step:
        """Answer that there is nothing to act on but Python.

        Raises:
            EnvironmentFailed: no episode has begun.
        """
        if not self._playing:
            raise EnvironmentFailed(f"no episode of {self._name} has begun")
        return Step(f"Actions are Python here, in prompts with `actions = 'code'`: cannot do {action[:80]!r}")

    async def close(self) -> None:
        self._playing = False

    def score(self, task: Task, answer: str) -> Mapping[str, float]:
        """Marks of the main thread's answer; see `scoring.marks`."""
        data = self._known(task).data
        return marks(answer, data["answer"], data["decimals"])

    def _known(self, task: Task) -> Task:
        if task.id not in self._tasks:
            sizes = ", ".join(f"{split}-0 to {split}-{size - 1}" for split, size in self._sizes.items())
            raise UserError(f"`{self._name}` has no task {task.id!r}; ids are {sizes}")
        return self._tasks[task.id]

    @functools.cached_property
    def _tasks(self) -> Mapping[str, Task]:
        questions = iter(self._questions(sum(self._sizes.values())))
        tasks = [
            _task(f"{split}-{index}", split, question)
            for split, size in self._sizes.items()
            for index, question in zip(range(size), questions, strict=False)
        ]
        if not tasks:
            raise UserError(f"`{self._name}`: these data allow no questions; each needs a few values of two series")
        return {task.id: task for task in tasks}


def helpers(name: str) -> str:
    """The text of a module of this package that sessions run at their beginning."""
    return importlib.resources.files("thread_envs.dataqa").joinpath(f"{name}.py").read_text("utf-8")


def _task(name: str, split: str, question: Question) -> Task:
    data = {
        "answer": question.answer,
        "choices": question.choices,
        "decimals": question.decimals,
        "statistic": question.template.statistic,
        "form": question.template.form,
        **question.about,
    }
    return Task(name, question.text, split, question.template.name, data)
