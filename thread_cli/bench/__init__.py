"""A bench run: many episodes, each with one result that is written once and never changed.

A result is identified by its key, a hash of the episode and its settings, so the same episode has the same key in every
run of the same suite, on every machine, in every order.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from thread_cli.contracts.errors import Status
from thread_cli.contracts.events import Totals

__all__ = ["FailureClass", "Result"]


class FailureClass(StrEnum):
    """Reasons for which an episode was not solved: the classes of arXiv 2405.17402, and two that are not the model's
    fault alone.
    """

    inadequate_plan = "inadequate_plan"
    invalid_action = "invalid_action"
    misread_feedback = "misread_feedback"
    other = "other"
    limit = "limit"
    infrastructure = "infrastructure"


class Result(BaseModel):
    """One episode's result: `results/KEY.json` in the folder of a bench run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """20 hexadecimal digits: a hash of the task, the settings that decide the result, method, variant and epoch."""
    environment: str
    split: str
    task: str
    category: str
    text: str
    method: str
    model: str
    variant: str
    """Name of the suite's variant; empty where it has none."""
    epoch: int
    """From 0."""
    status: Status
    reward: float | None
    marks: dict[str, float]
    message: str
    failure: FailureClass | None
    """None for an episode that was solved or answered."""
    totals: Totals
    pruned: int = 0
    """Threads that watchers pruned."""
    stopped: bool = False
    """Whether a watcher ended the episode."""
    format_correct: bool | None = None
    """Whether the main thread's text keeps to its wire format; None where the format has no checker."""
    format_problems: tuple[str, ...] = ()
    """Its faults, each in a few words."""
    attempts: int
    """1 and the retries of the whole episode after failures of the infrastructure."""
    seconds: float
    """Wall time of the last attempt."""
    finished: str
    """UTC, ISO 8601."""

    @property
    def solved(self) -> bool:
        return self.status is Status.solved
