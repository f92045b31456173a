"""ADaPT: a task is taken apart only where it cannot be done as a whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from thread_cli.bench.methods.base import Method
from thread_cli.bench.methods.leading import DO, PLAN, STEP, Led, asked, ended, failed, on_one_line, steps_of

if TYPE_CHECKING:
    from thread_cli.contracts.model import Model
    from thread_cli.models.teacher import Course

__all__ = ["Adapt"]

_LEVELS: Final = 3
"""How often a task may be taken apart, one step within the other. The paper counts attempts instead, from 1: this is
its d_max = 4, which its released script has for TextCraft; for ALFWorld and WebShop it has 3."""
_DONE: Final = re.compile(r"^Step \d+ done: .*\n", re.MULTILINE)


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

    def model(self, model: Model) -> Model:
        return _Led(model)


class _Led(Led):
    def lead(self, context: str, depth: int) -> Course | None:
        last = context.rpartition("\n")[2]
        if depth == 0:
            return _controller("the task", "", depth)
        if last.startswith(STEP):
            return _controller(asked(context, STEP), "".join(_DONE.findall(context)), depth)
        return None


def _controller(what: str, done: str, level: int) -> Course:
    result = yield f"{done}{DO}{what} "
    if not failed(result) or level == _LEVELS:
        return ended(result)
    plan = yield f"{done}{PLAN}{what} "
    steps = [] if failed(plan) else steps_of(plan)
    if not steps:
        return ended(result)
    first = done.count("\n") + 1
    for number, step in enumerate(steps, first):
        result = yield f"{done}{STEP}{step} "
        if failed(result):
            return ended(result)
        done += f"Step {number} done: {step}: {on_one_line(result)}\n"
    return ended(result)
