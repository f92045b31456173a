"""Free-text tasks: no environment at all, only threads that answer each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.environment import Concurrency


class FreeText:
    """Gives the task's text to the main thread. There is nothing to act on and no reward."""

    splits: ClassVar[Mapping[str, str]] = {"free": "no tasks of its own: give the text with --task"}
    requires: ClassVar[Sequence[str]] = ()
    extra: ClassVar[str | None] = None
    graded: ClassVar[bool] = False
    concurrency: ClassVar[Concurrency] = "shared"
    rules: ClassVar[Mapping[str, Any]] = {"phi": "last_line_after_comma"}

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def tasks(self, split: str) -> Sequence[Task]:
        """An empty sequence.

        Raises:
            UserError: there is no such split.
        """
        if split not in self.splits:
            raise UserError(f"`none` has no split {split!r}; it has: {', '.join(self.splits)}")
        return ()

    async def reset(self, task: Task) -> str:
        return task.text

    async def step(self, action: str) -> Step:  # noqa: ARG002
        return Step("There is nothing to act on here.")

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""
