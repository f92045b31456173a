"""Plan and execute: one plan, then one thread for each of its steps, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.bench.methods.base import Method
from thread_cli.bench.methods.planning import DO, PLAN, asks, ended, failed, on_one_line, steps_of
from thread_cli.models.written import Written

if TYPE_CHECKING:
    from thread_cli.contracts.model import Model
    from thread_cli.contracts.writer import Course, Turn

__all__ = ["PlanAndExecute"]


class PlanAndExecute(Method):
    """A plan is made before anything is done, and is not changed (arXiv 2305.04091 with an executor per step).

    Each executor is told the task, what the steps before it have returned, and its step. What the last one returns is
    the answer.
    """

    name = "plan-and-execute"
    description = "a plan first, then one thread for each of its steps, in order"
    prompt_name = "plan"
    phi = "line_and_task"
    depth = 1
    writes = True

    def model(self, model: Model) -> Model:
        return Written(self, model, name=self.name)

    def course(self, turn: Turn) -> Course | None:
        """The course of the main thread; all others are the model's."""
        return _main() if turn.depth == 0 else None


def _main() -> Course:
    result = yield asks(PLAN, "the task", "")
    steps = [] if failed(result) else steps_of(result.text)
    done = ""
    for number, step in enumerate(steps, 1):
        result = yield asks(DO, step, done)
        done += f"Step {number} done: {step}: {on_one_line(result.text)}\n"
    return ended(result.text)
