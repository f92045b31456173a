"""Experts that answer in the thread language, as a model would: for tests, demonstrations and training data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from thread_cli.contracts.writer import Course
from thread_cli.models.written import Written

if TYPE_CHECKING:
    from thread_cli.contracts.model import Completion, Request
    from thread_cli.contracts.writer import Turn

__all__ = ["Course", "Teacher"]


class Teacher(ABC):
    """A writer that stands in for a model: `solve` writes every thread, from its context, in THREAD's wire format.

    Token counts are estimates; nothing counts as cached.
    """

    @abstractmethod
    def solve(self, context: str) -> Course:
        """The course of the thread that was given `context`.

        What it yields may depend on nothing but `context` and the feedback. The yielded texts hold no stop string.
        """

    def course(self, turn: Turn) -> Course:
        """The course of a thread."""
        return self.solve(turn.context)

    async def complete(self, request: Request) -> Completion:
        """What its course writes next; a thread that this teacher did not write is ended.

        Raises:
            ModelError: the request does not tell the structure of its thread.
        """
        return await self._written.complete(request)

    async def close(self) -> None:
        """Release nothing: a teacher holds nothing."""
        return

    @cached_property
    def _written(self) -> Written:
        return Written(self)
