"""What parallel threads gained over the episodes of a run: the measures of `record/measures.py` in the mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from thread_cli.record.measures import acceleration, activated, self_parallelism, wall_speedup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from thread_cli.contracts.events import Totals

__all__ = ["Parallel", "gained"]


class Parallel(BaseModel):
    """Means over the episodes of a run that the infrastructure did not fail.

    An episode without generated tokens has no ratios, and is in no mean of them; None if no episode has the ratio.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    activation_ratio: float
    """Share of the episodes that spawned in parallel: several children at once, or one in the background."""
    total_tokens: float
    """L_total: generated tokens of all threads."""
    token_latency: float
    """L_longest: generated tokens on the critical path."""
    self_parallelism: float | None
    """L_total / L_longest."""
    acceleration: float | None
    """η = 1 - L_longest / L_total, as a fraction."""
    wall_speedup: float | None
    """Seconds of model calls per second of wall time; None without times, and for results of earlier versions."""


def gained(totals: Sequence[Totals], *, times: bool) -> Parallel | None:
    """The measures of some episodes; None if there are none. Without `times`, measured times are left out."""
    if not totals:
        return None
    return Parallel(
        activation_ratio=sum(map(activated, totals)) / len(totals),
        total_tokens=sum(each.generated_tokens for each in totals) / len(totals),
        token_latency=sum(each.token_latency for each in totals) / len(totals),
        self_parallelism=_mean(map(self_parallelism, totals)),
        acceleration=_mean(map(acceleration, totals)),
        wall_speedup=_mean(map(wall_speedup, totals)) if times else None,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
