"""Test sets: tasks that are excluded from training, because published figures are compared on them.

The installed suites define them. An episode belongs to a test set by its split, by its task's id, and, if the suite
says so, by its task's text in any split.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING

from thread_cli.assembly.environments import open_environment
from thread_cli.bench.suite import installed
from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.bench.suite import Part, Suite
    from thread_cli.contracts.environment import Task

__all__ = ["Reserved"]


class Reserved:
    """The test sets of all installed suites."""

    def __init__(self) -> None:
        suites = [suite for suite in installed() if suite.reserved]
        self._sets = [_TestSet(suite, part) for suite in suites for part in suite.parts]

    def suite(self, environment: str, task: Task) -> str | None:
        """The suite whose test set a task belongs to; None where it belongs to none."""
        fitting = (known for known in self._sets if known.environment == environment and known.holds(task))
        return next((known.name for known in fitting), None)


class _TestSet:
    def __init__(self, suite: Suite, part: Part) -> None:
        self.name = suite.name
        self.environment = part.environment
        self._by_text = suite.reserved == "texts"
        self._part = part

    def holds(self, task: Task) -> bool:
        of_split = self._part.split in {task.split, *PurePath(task.id).parts}
        return of_split or task.id in self._ids or (self._by_text and task.text in self._texts)

    @cached_property
    def _ids(self) -> set[str]:
        return {task.id for task in self._tasks}

    @cached_property
    def _texts(self) -> set[str]:
        return {task.text for task in self._tasks}

    @cached_property
    def _tasks(self) -> Sequence[Task]:
        """The tasks themselves; none if their data are not on this machine, so that only the split decides."""
        try:
            return list(open_environment(self.environment, {}).tasks(self._part.split)[: self._part.tasks])
        except UserError:
            return ()
