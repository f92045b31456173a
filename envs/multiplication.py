"""Multiplication of long numbers, the toy task of ThreadWeaver (arXiv 2512.07843): the answer is marked.

The teacher multiplies as at school. Each digit of the second number gives a partial product, which a thread of its own
works out; the main thread adds the columns. The sequential twin writes the same steps in one thread.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.environments.lazy import LazyTasks
from thread_cli.models.teacher import Course, Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.writer import Turn

__all__ = ["Multiplication"]

_SIZES: Final = {"test": (0, 200), "train": (1_000_000, 1000)}
"""The first problem of each split, and their number."""
_DIGITS: Final = (4, 8)
_LEAST_OF_SECOND: Final = 3
_TASK: Final = re.compile(r"(?P<split>[a-z]+)-(?P<number>0|[1-9][0-9]{0,8})")
_QUESTION: Final = re.compile(r"What is (?P<first>\d+) \* (?P<second>\d+)\?")
_PART: Final = re.compile(r"\d+: (?P<first>\d+) \* (?P<digit>\d)(?P<zeros>0*)")
_NUMBER: Final = re.compile(r"\d(?:[\d,]*\d)?")
_MOST_DIGITS: Final = 40


class Problem(NamedTuple):
    """Two numbers to be multiplied."""

    first: int
    second: int


class Multiplication:
    """Products of a number of 4 to 8 digits and one of 3 to as many; the number that stands last in the answer counts.

    Args:
        sequential: whether the teacher works in one thread.
        seed: changes nothing.
    """

    splits: ClassVar[Mapping[str, str]] = {
        "test": "200 products of a number of 4 to 8 digits and one of at least 3",
        "train": "1,000 other ones",
    }
    requires: ClassVar[Sequence[str]] = ()
    extra: ClassVar[str | None] = None
    graded: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, Any]] = {"phi": "last_line_after_comma"}
    parallel: ClassVar[Literal[True]] = True

    def __init__(self, *, sequential: bool = False, seed: int = 0) -> None:
        self.seed = seed
        self._sequential = sequential
        self._playing = False

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split.

        Raises:
            UserError: there is no such split.
        """
        if split not in self.splits:
            raise UserError(f"`multiplication` has no split {split!r}; it has: {', '.join(self.splits)}")
        return LazyTasks(range(_SIZES[split][1]), lambda number: _task(split, number))

    def find(self, name: str) -> Task:
        """The task of that name, such as `test-12`.

        Raises:
            UserError: there is none.
        """
        match = _TASK.fullmatch(name)
        if not match or match["split"] not in self.splits or int(match["number"]) >= _SIZES[match["split"]][1]:
            ids = " and ".join(f"{split}-0 to {split}-{size - 1}" for split, (_, size) in _SIZES.items())
            raise UserError(f"`multiplication` has no task {name!r}; ids are {ids}")
        return _task(match["split"], int(match["number"]))

    async def reset(self, task: Task) -> str:
        """Begin an episode; returns the question.

        Raises:
            UserError: there is no such task.
        """
        text = self.find(task.id).text
        self._playing = True
        return text

    async def step(self, action: str) -> Step:  # noqa: ARG002
        """Answer that there is nothing to act on.

        Raises:
            EnvironmentFailed: no episode has begun.
        """
        if not self._playing:
            raise EnvironmentFailed("no episode of multiplication has begun")
        return Step("There is nothing to act on here: the product is the answer.")

    async def close(self) -> None:
        self._playing = False

    def score(self, task: Task, answer: str) -> Mapping[str, float]:
        """1 where the last number of the answer is the product; commas may group its digits."""
        data = self.find(task.id).data
        numbers = [number.replace(",", "") for number in _NUMBER.findall(answer)]
        right = (
            bool(numbers) and len(numbers[-1]) <= _MOST_DIGITS and int(numbers[-1]) == data["first"] * data["second"]
        )
        return {"correct": float(right)}

    def teacher(self, task: Task) -> MultiplicationTeacher:  # noqa: ARG002
        return MultiplicationTeacher(sequential=self._sequential)


def _task(split: str, number: int) -> Task:
    draw = random.Random(f"multiplication {_SIZES[split][0] + number}")
    longer = draw.randint(*_DIGITS)
    shorter = draw.randint(_LEAST_OF_SECOND, longer)
    first, second = (draw.randint(10 ** (size - 1), 10**size - 1) for size in (longer, shorter))
    text = f"What is {first} * {second}?"
    return Task(f"{split}-{number}", text, split, f"{shorter} digits", Problem(first, second)._asdict())


class MultiplicationTeacher(Teacher):
    """Multiplies as at school, in ThreadWeaver's format.

    Args:
        sequential: one thread writes all.
    """

    def __init__(self, *, sequential: bool) -> None:
        self._sequential = sequential

    def course(self, turn: Turn) -> Course:
        part = _PART.fullmatch(turn.context)
        return self.solve(turn.context) if part is None else _part(int(part[1]), int(part[2]), len(part[3]))

    def solve(self, context: str) -> Course:
        asked = _QUESTION.search(context)
        if asked is None:
            return _lost()
        digits = [int(digit) for digit in reversed(asked["second"])]
        return _alone(int(asked["first"]), digits) if self._sequential else _by_threads(int(asked["first"]), digits)


def _lost() -> Course:
    yield from ()
    return "</think>\nThis is no product of two numbers.\n"


def _by_threads(first: int, digits: Sequence[int]) -> Course:
    outlines = "".join(
        f"<Outline>{place + 1}: {_asked(first, digit, place)}</Outline>\n" for place, digit in enumerate(digits)
    )
    told = yield f"{_opening(len(digits))}<Parallel>\n<Outlines>\n{outlines}"
    parts = [int(found[-1]) for result in told.results if (found := _NUMBER.findall(result.y)) and not result.failed]
    if len(parts) < len(digits):
        return "</Parallel>\nNot all partial products are there.\n</think>\nunknown\n"
    return f"</Parallel>\n{_sum(parts)}"


def _part(first: int, digit: int, zeros: int) -> Course:
    yield f" {_worked_out(first, digit, zeros)}"
    return ""


def _alone(first: int, digits: Sequence[int]) -> Course:
    yield from ()
    parts = [
        f"{_asked(first, digit, place)}: {_worked_out(first, digit, place)}\n" for place, digit in enumerate(digits)
    ]
    products = [first * digit * 10**place for place, digit in enumerate(digits)]
    return f"{_opening(len(digits))}{''.join(parts)}{_sum(products)}"


def _opening(parts: int) -> str:
    return f"There is a partial product for each of the {parts} digits of the second number.\n"


def _asked(first: int, digit: int, zeros: int) -> str:
    return f"{first} * {digit * 10**zeros}"


def _worked_out(first: int, digit: int, zeros: int) -> str:
    """A partial product, digit by digit from the right; its last number is the result."""
    lines, carry, written = list[str](), 0, ""
    for figure in map(int, reversed(str(first))):
        total = figure * digit + carry
        lines.append(f"{figure}*{digit}+{carry}={total}: {total % 10}, carry {total // 10}")
        carry, written = total // 10, f"{total % 10}{written}"
    product = int(f"{carry}{written}") * 10**zeros
    return "\n".join([*lines, f"{_asked(first, digit, zeros)} = {product}"])


def _sum(parts: Sequence[int]) -> str:
    """The sum, column by column from the right, and the answer."""
    width = len(str(sum(parts)))
    lines, carry, written = list[str](), 0, ""
    for column in range(width):
        figures = [part // 10**column % 10 for part in parts]
        total = sum(figures) + carry
        lines.append(
            f"column {column + 1}: {'+'.join(map(str, figures))}+{carry}={total}: {total % 10}, carry {total // 10}"
        )
        carry, written = total // 10, f"{total % 10}{written}"
    return "\n".join(["Now the columns are added.", *lines, "</think>", written, ""])
