"""ADaPT: a task is taken apart only where it cannot be done as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from thread_cli.bench.methods.base import Method
from thread_cli.bench.methods.planning import DO, PLAN, STEP, asks, ended, failed, on_one_line, steps_of
from thread_cli.models.written import Written

if TYPE_CHECKING:
    from thread_cli.contracts.model import Model
    from thread_cli.contracts.writer import Course, Turn

__all__ = ["Adapt"]

_LEVELS: Final = 3
"""How often a task may be taken apart, one step within the other. The paper counts attempts instead, from 1: this is
its d_max = 4, which its released script has for TextCraft; for ALFWorld and WebShop it has 3."""


class Adapt(Method):
    """As-needed decomposition (ADaPT, arXiv 2311.05772), with steps that all have to succeed.

    A thread tries the task. Only where it says that it has failed, or the engine ends it, is a plan made, and each step
    is treated as the task was. A step that fails fails what it is a step of. The paper's plans may also name steps of
    which one has to succeed; these do not.
    """

    name = "adapt"
    description = "one thread tries; only what fails is taken apart into steps, each treated alike (ADaPT, 2311.05772)"
    prompt_name = "plan"
    phi = "line_and_task"
    depth = _LEVELS + 1
    writes = True

    def model(self, model: Model) -> Model:
        return Written(self, model, name=self.name)

    def course(self, turn: Turn) -> Course | None:
        """The course of the main thread, and of each thread that is to take its step apart where it has to."""
        if turn.depth == 0:
            return _course("the task", "", level=0)
        if isinstance(turn.brief, _Step):
            return _course(turn.brief.what, turn.brief.done, level=turn.depth)
        return None


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of a plan, and a line for each step that was done before it."""

    what: str
    done: str


def _course(what: str, done: str, level: int) -> Course:
    tried = yield asks(DO, what, done)
    if not failed(tried) or level == _LEVELS:
        return ended(tried.text)
    plan = yield asks(PLAN, what, done)
    steps = [] if failed(plan) else steps_of(plan.text)
    if not steps:
        return ended(tried.text)
    first = done.count("\n") + 1
    for number, step in enumerate(steps, first):
        tried = yield asks(STEP, step, done, _Step(step, done))
        if failed(tried):
            return ended(tried.text)
        done += f"Step {number} done: {step}: {on_one_line(tried.text)}\n"
    return ended(tried.text)
