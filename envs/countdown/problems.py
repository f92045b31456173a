"""Countdown problems: APR's files of them, and made-up ones.

Two numbers are combined by their sum, their product, the difference that is not negative, or a division without a
remainder; all numbers are used. Made-up problems are drawn as APR draws its own: numbers from 1 to 99 and a target from
10 to 100, until there is a solution.
"""

from __future__ import annotations

import itertools
import json
import random
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Problem", "combinations", "made", "read", "state"]

_SIZE: Final = 4
_LARGEST: Final = 99
_TARGETS: Final = (10, 100)
_SIZES: Final = range(2, 9)
_MOST_DIGITS: Final = 9


class Problem(NamedTuple):
    """Numbers, and the target that they are to give."""

    numbers: tuple[int, ...]
    target: int


def state(target: int, numbers: Sequence[int], operations: Sequence[str] = ()) -> str:
    """The state of a search, as APR writes it: `Current State: 60:[30, 6], Operations: ['98-92=6']`."""
    return f"Current State: {target}:{[*numbers]}, Operations: {[*operations]}"


def combinations(numbers: Sequence[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """All that can be done with two of the numbers: the operation, such as `98-92=6`, and the numbers after it."""
    for i, j in itertools.combinations(range(len(numbers)), 2):
        rest = tuple(number for place, number in enumerate(numbers) if place not in {i, j})
        one, other = numbers[i], numbers[j]
        more, less = max(one, other), min(one, other)
        yield f"{one}+{other}={one + other}", (*rest, one + other)
        yield f"{one}*{other}={one * other}", (*rest, one * other)
        yield f"{more}-{less}={more - less}", (*rest, more - less)
        if less and more % less == 0:
            yield f"{more}/{less}={more // less}", (*rest, more // less)


@lru_cache(maxsize=4096)
def made(number: int) -> Problem:
    """The made-up problem of that number, the same everywhere; it has a solution."""
    draw = random.Random(f"countdown {number}")
    while True:
        numbers = tuple(draw.randint(1, _LARGEST) for _ in range(_SIZE))
        target = draw.randint(*_TARGETS)
        if target in _reached(numbers):
            return Problem(numbers, target)


def _reached(numbers: tuple[int, ...]) -> set[int]:
    """All that the numbers can give, if all are used: what two parts of them give, combined."""
    of = {1 << place: {number} for place, number in enumerate(numbers)}
    for whole in range(1, 1 << len(numbers)):
        found = of.setdefault(whole, set())
        part = (whole - 1) & whole
        while part > whole - part:
            found.update(result for one in of[part] for other in of[whole - part] for result in _results(one, other))
            part = (part - 1) & whole
    return of[(1 << len(numbers)) - 1]


def _results(one: int, other: int) -> tuple[int, ...]:
    more, less = max(one, other), min(one, other)
    results = one + other, one * other, more - less
    return (*results, more // less) if less and more % less == 0 else results


def read(path: Path, split: str) -> list[Problem]:
    """The problems of a split: of a file, or of the file in a folder whose name begins with that of the split.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    file = _file(path, split)
    try:
        items: Any = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"`countdown`: {str(file)!r}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"`countdown`: {str(file)!r} is no JSON file") from None
    if not isinstance(items, list) or not items:
        raise UserError(f"`countdown`: {str(file)!r} is no list of problems")
    return [_problem(item, f"`countdown`: {str(file)!r}, problem {place}") for place, item in enumerate(_list(items))]


def _list(items: object) -> list[object]:
    return cast("list[object]", items)


def _file(path: Path, split: str) -> Path:
    if not path.is_dir():
        if path.exists():
            return path
        raise UserError(f"`countdown`: there is no {str(path)!r}; `data` names APR's folder of problems, or a file")
    found = sorted(path.glob(f"{split}*.json"))
    if len(found) != 1:
        what = f"{len(found)} files {split}*.json are" if found else f"no file {split}*.json is"
        raise UserError(f"`countdown`: {what} in {str(path)!r}; `data` may also name one file")
    return found[0]


def _problem(item: object, where: str) -> Problem:
    fields = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    numbers, target = fields.get("nums"), fields.get("target")
    if not isinstance(numbers, list) or len(_list(numbers)) not in _SIZES or not _is_number(target):
        raise UserError(f"{where} has no `nums` and `target` of a Countdown problem")
    given = _list(numbers)
    if not all(map(_is_number, given)):
        raise UserError(f"{where}: `nums` are {_SIZES[0]} to {_SIZES[-1]} whole numbers from 0 on")
    return Problem(tuple(cast("list[int]", given)), cast("int", target))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**_MOST_DIGITS
