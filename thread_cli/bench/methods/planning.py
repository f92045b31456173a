"""What methods with plans have in common: how a thread is asked for a plan or a step, and how its answer is read.

A planner, and an executor for each step of its plan, are threads of the model. What decides whose turn it is, is code:
the method is a writer, and writes a thread of its own. So the tree of an episode shows who did what under every method,
and depth, tokens and the critical path are counted alike. The method's own turns cost no tokens, but count as calls.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.protocol import Child, Spawn
from thread_cli.contracts.writer import Decided

if TYPE_CHECKING:
    from thread_cli.contracts.writer import Feedback

__all__ = ["DO", "PLAN", "STEP", "asks", "ended", "failed", "on_one_line", "steps_of"]

DO: Final = "Do: "
"""Begins the last line of the context of a thread that acts."""
PLAN: Final = "Plan: "
"""Begins the last line of the context of a thread that plans."""
STEP: Final = "Step: "
"""Begins the last line of the context of a thread that the method writes, below the main thread."""

_NUMBER: Final = re.compile(r"\s*(?:(?:step\s*)?\d+\s*[.:)]|[-*])\s*", re.IGNORECASE)
_BRACES: Final = str.maketrans("{}", "()")


def asks(sign: str, what: str, done: str, brief: object = None) -> Decided:
    """A turn that spawns one thread. Its context ends with the steps done, a line each, and its own step."""
    line = f"{sign}{what} "
    return Decided(line, Spawn((Child(f"{done}{line}", brief=brief),)))


def steps_of(plan: str) -> list[str]:
    """The steps of a plan, one a line, without their numbers."""
    return [step for line in plan.split("\n") if (step := on_one_line(_NUMBER.sub("", line, count=1)))]


def on_one_line(text: str) -> str:
    """Text that can stand in a line that spawns and means nothing there: no code, no names, no end of the line."""
    return " ".join(text.split()).translate(_BRACES).replace("=>", "->")


def failed(feedback: Feedback) -> bool:
    """Whether a thread says of itself that it failed, as its prompt has it, or the engine ended it."""
    return feedback.failed or feedback.text.lower().startswith("failed")


def ended(result: str) -> str:
    """The text with which a method's thread ends, returning `result`."""
    return f"print({result!r})\n"
