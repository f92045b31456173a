"""Threads that a method writes itself, where others use a loop around the model.

A planner, and an executor for each step of its plan, are threads of the model. What decides whose turn it is, is code:
here it is a thread as well, written by the method as an expert would write it. So the tree of an episode shows who did
what under every method, and depth, tokens and the critical path are counted alike. The method's own turns cost no
tokens, but count as calls.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.model import Completion, StopReason, Usage
from thread_cli.protocols.acting import LEAD
from thread_cli.protocols.streams import completed, poured
from thread_cli.protocols.thread import CLOSE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from thread_cli.contracts.model import Model, Piece, Request
    from thread_cli.models.teacher import Course

__all__ = ["DO", "PLAN", "STEP", "Led", "asked", "ended", "failed", "on_one_line", "steps_of"]

DO: Final = "Do: "
"""Begins the last line of the context of a thread that acts."""
PLAN: Final = "Plan: "
"""Begins the last line of the context of a thread that plans."""
STEP: Final = "Step: "
"""Begins the last line of the context of a thread that the method leads, below the main thread."""

_CLOSED: Final = f"{CLOSE}\n\n"
_NUMBER: Final = re.compile(r"\s*(?:(?:step\s*)?\d+\s*[.:)]|[-*])\s*", re.IGNORECASE)
_BRACES: Final = str.maketrans("{}", "()")


class Led(ABC):
    """A model around another one. It writes the threads that `lead` has a course for; the model writes all others."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @abstractmethod
    def lead(self, context: str, depth: int) -> Course | None:
        """The course of a thread, without `LEAD`; None for a thread of the model's."""

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """The next turn of the thread, piece by piece where the model streams; raises as `complete` does."""
        return poured(lambda tell: self._turn(request, lambda: completed(self._model, request, tell)))

    async def complete(self, request: Request) -> Completion:
        """The next turn of the thread.

        Raises:
            ModelError: as the model does.
            MalformedOutput: the thread cannot be followed, because an answer in it reads like the format itself.
        """
        return await self._turn(request, lambda: self._model.complete(request))

    async def _turn(self, request: Request, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        context = request.c.rpartition("\n\n\nResponse:\n")[0].lstrip("\n").removeprefix("Prompt:\n")
        course = self.lead(context, request.thread.count("."))
        if course is None:
            return await ask()
        text, stop = _followed(course, request.y, request.stop[0])
        return Completion(text, stop, Usage(cost=0.0))

    async def close(self) -> None:
        """Release nothing: the model belongs to whoever has opened it."""
        return


def asked(context: str, sign: str) -> str:
    """What stands behind `sign` in the last line of a context."""
    return context.rpartition(f"\n{sign}")[2].removesuffix("=>").strip()


def steps_of(plan: str) -> list[str]:
    """The steps of a plan, one a line, without their numbers."""
    return [step for line in plan.split("\n") if (step := on_one_line(_NUMBER.sub("", line, count=1)))]


def on_one_line(text: str) -> str:
    """Text that can stand in a line of a led thread and means nothing there: no code, no names, no end of the line."""
    return " ".join(text.split()).translate(_BRACES).replace("=>", "->")


def failed(result: str) -> bool:
    """Whether a thread says of itself that it failed, or the engine says it."""
    return result.lower().startswith(("failed", "error:"))


def ended(result: str) -> str:
    """The text with which a led thread ends, returning `result`."""
    return f"print({result!r})\n"


def _followed(course: Course, y: str, listen: str) -> tuple[str, StopReason]:
    """What a course writes next, after all that it has written and read in `y`."""
    opening = f"{LEAD}\n\n"
    try:
        text = opening + next(course)
        while y:
            written = text + listen
            if not y.startswith(written):
                raise MalformedOutput("an answer in this thread cannot be told from the format of threads")
            feedback, _, y = y.removeprefix(written).partition(_CLOSED)
            text = course.send(feedback.strip())
    except StopIteration as end:
        return end.value, "end"
    return text, "listen"
