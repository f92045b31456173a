"""Mathematical questions as an environment: where they come from, and how their answers are marked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.distribution import at_home
from thread_cli.environments.process import OwnProcess
from thread_envs.math.answers import answer_in
from thread_envs.math.comparing import Comparison
from thread_envs.math.generated import generated
from thread_envs.math.reading import reading
from thread_envs.math.sources import bring, folder_of, gsm8k, math_500, own
from thread_envs.math.teacher import OPENING, MathTeacher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from thread_envs.math.expressions import Tree

__all__ = ["Math"]

_PERCENT: Final = re.compile(r"percent|\\?%", re.IGNORECASE)
_STARTING: Final = 120.0
"""Seconds that SymPy may take to be imported."""


class _Asked(Exception):
    """A comparison needs SymPy."""


class Math:
    """Questions whose answers are numbers, expressions, lists, intervals or words.

    Args:
        data: the folder with the files of GSM8K and MATH-500.
        file: a JSONL file, or a JSON list, of questions; then its questions are the default split, `file`.
        question: the column of that file that holds the question.
        answer: the column that holds the answer, behind `####` or in a box if there is one in it.
        category: the column that holds the category; None where there is none.
        seconds: longest time that the comparison of two expressions may take.
        seed: changes nothing. The questions are always the same.
    """

    splits: ClassVar[Mapping[str, str]] = {
        "generated": "60 questions of six kinds, made up; needs no data",
        "gsm8k": "GSM8K's 1,319 test questions",
        "math-500": "500 questions of MATH, by subject and level",
        "file": "the questions of -o options.file=FILE",
    }
    requires: ClassVar[Sequence[str]] = ("math_verify",)
    extra: ClassVar[str | None] = "math"
    graded: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, Any]] = {"phi": "last_line_after_comma"}
    paths: ClassVar[Sequence[str]] = ("data", "file")

    def __init__(
        self,
        *,
        data: str | None = None,
        file: str | None = None,
        question: str = "question",
        answer: str = "answer",
        category: str | None = None,
        seconds: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        self._data, self._file = data, file
        self._columns = (question, answer, category)
        self._seconds = seconds
        self._judge = OwnProcess("thread_envs.math.verifying:Verifier", recycle_after=500, seconds=_STARTING)
        self._known: dict[str, dict[str, Task]] = {}
        self._playing = False
        if file is not None:
            self.splits = dict(sorted(type(self).splits.items(), key=lambda split: split[0] != "file"))

    @classmethod
    def setup(cls, tell: Callable[[str], None]) -> str:
        """Download GSM8K and MATH-500; raises UserError where they cannot be had."""
        return bring(tell)

    def tasks(self, split: str) -> Sequence[Task]:
        """The questions of a split.

        Raises:
            UserError: there is no such split, or its file cannot be read.
        """
        if split not in self.splits:
            raise UserError(f"`math` has no split {split!r}; it has: {', '.join(self.splits)}")
        return [*self._tasks(split).values()]

    def find(self, name: str) -> Task | None:
        """A question by its id; only the file of its split is read."""
        split, _, number = name.rpartition("-")
        return self._tasks(split).get(name) if split in self.splits and number.isdecimal() else None

    async def reset(self, task: Task) -> str:
        """Begin an episode; returns the question.

        Raises:
            UserError: there is no such task, or its file cannot be read.
        """
        question = self._own(task).text
        self._playing = True
        return f"{OPENING}{question}"

    async def step(self, action: str) -> Step:
        """Answer that there is nothing to act on.

        Raises:
            EnvironmentFailed: no episode has begun.
        """
        if not self._playing:
            raise EnvironmentFailed("no episode of math has begun")
        return Step(f"There is nothing to act on here: cannot do {action[:80]!r}")

    async def close(self) -> None:
        self._playing = False
        await self._judge.close()

    async def marks(self, task: Task, answer: str) -> Mapping[str, float]:
        """Marks of the main thread's answer: whether it is `right`; `undecided` is 1 if SymPy came to no end over it.

        Raises:
            EnvironmentFailed: the process with SymPy cannot be started.
        """
        known = self._own(task)
        gold, said = known.data["answer"], answer_in(answer)
        percents = bool(_PERCENT.search(known.text))
        try:
            return {"right": float(_simply_same(gold, said, percents=percents)), "undecided": 0.0}
        except _Asked:
            pass
        self._judge.seconds = _STARTING
        await self._judge.begin()
        self._judge.seconds = self._seconds
        try:
            same = await self._judge.call("same", gold, said, percents)
        except EnvironmentFailed:  # out of time or memory: the fault of what was written, and marked as such
            return {"right": 0.0, "undecided": 1.0}
        return {"right": float(same), "undecided": 0.0}

    def teacher(self, task: Task) -> MathTeacher:
        return MathTeacher(self._own(task))

    def _own(self, task: Task) -> Task:
        """The task as this object knows it, whatever has come with it."""
        found = self.find(task.id)
        if found is None:
            raise UserError(f"`math` has no task {task.id!r}; ids are a split and a number, such as gsm8k-0")
        return found

    def _tasks(self, split: str) -> Mapping[str, Task]:
        if split not in self._known:
            self._known[split] = {task.id: task for task in self._read(split)}
        return self._known[split]

    def _read(self, split: str) -> Sequence[Task]:
        if split == "generated":
            return generated()
        if split == "gsm8k":
            return gsm8k(folder_of(self._data))
        if split == "math-500":
            return math_500(folder_of(self._data))
        if self._file is None:
            raise UserError("math: the split `file` has the questions of -o options.file=FILE, and none is named")
        question, answer, category = self._columns
        return own(at_home(Path(self._file)), question, answer, category)


def _simply_same(gold: str, said: str, *, percents: bool) -> bool:
    """Whether two answers are the same, where exact numbers and words decide that; raises _Asked elsewhere."""
    return Comparison(_ask, percents=percents).same(reading(gold), reading(said))


def _ask(gold: Tree, said: Tree) -> bool:
    raise _Asked(gold, said)
