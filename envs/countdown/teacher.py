"""Countdown's expert: a complete search, the most promising numbers first, that writes APR's traces.

A node with more than three numbers is searched by threads, a few of its children at a time, and each of them knows its
own node alone. The sequential twin makes the same search in one thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import TYPE_CHECKING, Final

from thread_cli.models.teacher import Course, Teacher
from thread_cli.protocols.apr import goal_path
from thread_envs.countdown.problems import combinations, state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from thread_cli.contracts.writer import Turn

__all__ = ["CountdownTeacher"]

_START: Final = re.compile(
    r"Moving to Node #(?P<node>\d+(?:,\d+)*)\n"
    r"Current State: (?P<target>\d+):\[(?P<numbers>[\d, ]*)\], Operations: \[(?P<operations>[^\]\n]*)\]"
)
_ALONE: Final = 3
"""Numbers of the largest node that a thread searches by itself."""
_EXPLORED: Final = re.compile(r"^Exploring Operation: (\S+),", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of the search: the numbers left, and the operations that led to them."""

    name: str
    target: int
    numbers: tuple[int, ...]
    operations: tuple[str, ...]

    def arrival(self) -> str:
        return f"Moving to Node #{self.name}\n{state(self.target, self.numbers, self.operations)}\n"

    def children(self) -> list[_Node]:
        """The nodes one operation on; of those with the same numbers, the first."""
        found: dict[tuple[int, ...], tuple[str, tuple[int, ...]]] = {}
        for operation, numbers in combinations(self.numbers):
            found.setdefault(tuple(sorted(numbers)), (operation, numbers))
        return [
            _Node(f"{self.name},{place}", self.target, numbers, (*self.operations, operation))
            for place, (operation, numbers) in enumerate(found.values())
        ]

    def hope(self) -> float:
        """How far the numbers are from factors of the target: one multiplication leads from two factors to it."""
        return sum(min(abs(number - factor) for factor in _factors(self.target)) for number in self.numbers)


class CountdownTeacher(Teacher):
    """Searches without knowing the solution.

    Args:
        width: searches that a thread calls at once.
        sequential: one thread makes the whole search, in the same order.
    """

    def __init__(self, *, width: int, sequential: bool) -> None:
        self._width = width
        self._sequential = sequential

    def course(self, turn: Turn) -> Course:
        return self._at(turn.context, turn.depth)

    def solve(self, context: str) -> Course:
        return self._at(context, 0)

    def _at(self, context: str, depth: int) -> Course:
        found = _START.search(context)
        if found is None:
            return _lost()
        numbers = tuple(int(number) for number in found["numbers"].split(",") if number.strip())
        operations = tuple(re.findall(r"'([^']*)'", found["operations"]))
        node = _Node(found["node"], int(found["target"]), numbers, operations)
        if self._sequential or len(numbers) <= _ALONE:
            return _alone(node)
        return _by_threads(node, self._width, depth + 1)


def _lost() -> Course:
    return "\nNo solution found.\n"
    yield  # a course is a generator


def _alone(node: _Node) -> Course:
    text, path = "\n", ()
    for part, reached in _search(node):
        text += part
        path = reached or path
    return text + (_path(node, path) if path else "No solution found.\n")
    yield  # a course is a generator


def _by_threads(node: _Node, width: int, level: int) -> Course:
    children = node.children()
    waiting = sorted(children, key=_Node.hope)
    text = "\n" + "".join(_explored(child) + _generated(child) for child in children)
    while waiting:
        called, waiting = waiting[:width], waiting[width:]
        lines = [
            f"<Start Sub Search {place} at level {level}> Moving to Node #{child.name}\n"
            for place, child in enumerate(called)
        ]
        told = yield f"{text}<Calling Sub Searches>\n{''.join(lines)}<End Calling Sub Searches>\n"
        text = ""
        for child, result in zip(called, told.results, strict=False):
            path = None if result.failed else goal_path(result.y)
            if path is not None:
                operations = (*child.operations, *_EXPLORED.findall(path))
                return f"{node.target},{node.target} equal: Goal Reached\n{_path(node, operations)}"
    return f"{text}No solution found.\n"


def _search(node: _Node) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lines of a search below a node, up to the goal; the operations that reach it stand beside the last one."""
    children = node.children()
    for child in children:
        if len(child.numbers) > 1:
            yield _explored(child) + _generated(child), ()
        elif child.numbers == (node.target,):
            yield f"{_explored(child)}{node.target},{node.target} equal: Goal Reached\n", child.operations
            return
        else:
            yield f"{_explored(child)}{child.numbers[0]},{node.target} unequal: No Solution\n", ()
    for child in sorted(children, key=_Node.hope) if len(node.numbers) > 2 else ():
        yield child.arrival(), ()
        for part, reached in _search(child):
            yield part, reached
            if reached:
                return


def _explored(node: _Node) -> str:
    return f"Exploring Operation: {node.operations[-1]}, Resulting Numbers: {[*node.numbers]}\n"


def _generated(node: _Node) -> str:
    return f"Generated Node #{node.name}: {node.target}:{[*node.numbers]} Operation: {node.operations[-1]}\n"


def _path(start: _Node, operations: Sequence[str]) -> str:
    """The way from a node to the goal, which a search that has reached it repeats."""
    node, lines = start, [start.arrival()]
    for operation in operations[len(start.operations) :]:
        node = next(child for child in node.children() if child.operations[-1] == operation)
        lines.append(_explored(node))
        lines += [_generated(node), node.arrival()] if len(node.numbers) > 1 else []
    return f"{''.join(lines)}{start.target},{start.target} equal: Goal Reached\n"


@cache
def _factors(target: int) -> tuple[int, ...]:
    small = [factor for factor in range(1, isqrt(target) + 1) if target % factor == 0]
    return tuple({*small, *(target // factor for factor in small)}) or (0,)
