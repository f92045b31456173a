"""Experts that answer in the thread language, as a model would: for tests, demonstrations and training data.

A teacher keeps nothing between calls. Each call runs the thread's course again from its beginning, over the feedback
found in the request's Y, so the same request always gets the same answer, however often it is repeated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator

from thread_cli.contracts.model import Completion, Request, StopReason, Usage
from thread_cli.protocols.text import estimated_tokens
from thread_cli.protocols.thread import CLOSE

__all__ = ["Course", "Teacher"]

Course = Generator[str, str, str]
"""What one thread writes: yields each text that ends in listening, is sent the feedback, returns the last text."""

_NOT_MINE = "\nprint('the teacher did not write this thread')\n"


class Teacher(ABC):
    """A model whose answers are written by `solve`, in THREAD's wire format.

    Token counts are estimates; nothing counts as cached.
    """

    @abstractmethod
    def solve(self, context: str) -> Course:
        """The course of the thread that was given `context`.

        What it yields may depend on nothing but `context` and the feedback. The yielded texts hold no stop string.
        """

    async def complete(self, request: Request) -> Completion:
        """The text that follows the request's Y; a thread that this teacher did not write is ended."""
        text, stop = self._follow(self.solve(self._context(request.c)), request)
        usage = Usage(
            prompt=estimated_tokens(request.prompt),
            generated=estimated_tokens(text),
            estimated=True,
            cached_known=False,
        )
        return Completion(text, stop, usage)

    async def close(self) -> None:
        """Release nothing: a teacher holds nothing."""
        return

    def _context(self, c: str) -> str:
        opened = c.rpartition("\n\n\nResponse:\n")[0] or c
        return opened.lstrip("\n").removeprefix("Prompt:\n")

    def _follow(self, course: Course, request: Request) -> tuple[str, StopReason]:
        rest = request.y
        try:
            text = next(course)
            while rest:
                written = text + request.stop[0]
                if not rest.startswith(written):
                    return _NOT_MINE, "end"
                feedback, _, rest = rest.removeprefix(written).partition(CLOSE)
                rest = rest.lstrip("\n")
                text = course.send(feedback.strip())
        except StopIteration as ended:
            return _NOT_MINE if rest else ended.value, "end"
        return text, "listen"
