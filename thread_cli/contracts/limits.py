"""Limits of a task, and of each child in it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Budgets", "ChildLimits", "Limits"]


class Budgets(BaseModel):
    """Limits of a thread together with all threads below it. None is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = Field(default=None, ge=1)
    calls: int | None = Field(default=None, ge=1)
    generated_tokens: int | None = Field(default=None, ge=1)
    total_tokens: int | None = Field(default=None, ge=1)
    """Prompt and generated tokens of all calls."""
    cost: float | None = Field(default=None, gt=0)
    """US dollars."""
    wall_time: float | None = Field(default=None, gt=0)
    """Seconds."""
    working_time: float | None = Field(default=None, gt=0)
    """Seconds spent in the model, the environment and the interpreter, summed over threads, without queueing and
    backing off."""


class ChildLimits(Budgets):
    """Limits of each spawned thread together with all threads below it: of each kind the smaller of two amounts."""

    share: float | None = Field(default=None, gt=0, le=1)
    """Share of its parent's remaining limits when the thread is spawned. Counts are rounded down, but not below 1."""


class Limits(Budgets):
    """Limits of one task."""

    depth: int = Field(default=16, ge=0)
    """Depth of the deepest thread; the main thread has depth 0."""
    fan_out: int = Field(default=100, ge=1)
    """Children in one fork."""
    threads: int | None = Field(default=1000, ge=1)
    calls: int | None = Field(default=200, ge=1)
    wall_time: float | None = Field(default=3600, gt=0)
    max_tokens: int = Field(default=1000, ge=1)
    """Tokens of text that one model call may write; published THREAD prompts need up to 1,000."""
    max_reasoning_tokens: int = Field(default=4000, ge=0)
    """Tokens of reasoning that one call of a model that reasons may write beside them."""
    repeats: int = Field(default=2, ge=1)
    """How often a thread may take a step with the same feedback, and have the same context among its ancestors."""
