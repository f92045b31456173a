"""Uncertainty of figures: intervals of rates, spread over epochs, and the difference of two runs on the same tasks.

It needs the standard library alone, so a report needs no packages and is the same everywhere.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CONFIDENCE",
    "RESAMPLES",
    "Difference",
    "Interval",
    "mcnemar",
    "paired_bootstrap",
    "standard_error",
    "wilson",
]

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 10_000
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """Two bounds, in the unit of the bounded figure."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean over shared tasks of one run's figure minus the other's."""

    mean: float
    interval: Interval
    better: int
    """Tasks on which the first run did better."""
    worse: int
    p: float
    """Exact McNemar test over `better` and `worse`, two-sided."""


def wilson(successes: float, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a rate (Wilson 1927), as fractions; successes may be fractional, as means over epochs.

    Raises:
        ValueError: there were no trials, or fewer than successes.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} successes in {trials} trials are no rate")
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    rate, weight = successes / trials, z * z / trials
    centre = (rate + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return Interval(low, 1.0 if successes == trials else min(1.0, centre + half))


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean of independent values, such as success rates of epochs; None for fewer than two."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def paired_bootstrap(
    differences: Sequence[float], *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = _SEED
) -> Difference:
    """The mean of paired differences, one per task, with the percentile interval of the bootstrap over tasks.

    Raises:
        ValueError: there is no difference.
    """
    if not differences:
        raise ValueError("no task is shared")
    size = len(differences)
    choices = random.Random(seed).choices
    means = sorted(math.fsum(choices(differences, k=size)) / size for _ in range(resamples))
    tail = (1 - confidence) / 2
    better, worse = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
    return Difference(
        mean=math.fsum(differences) / size,
        interval=Interval(_quantile(means, tail), _quantile(means, 1 - tail)),
        better=better,
        worse=worse,
        p=mcnemar(better, worse),
    )


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p of the exact McNemar test: the probability that two equally good runs differ at least as unevenly."""
    discordant = better + worse
    at_most = sum(math.comb(discordant, count) for count in range(min(better, worse) + 1))
    return min(1.0, 2 * at_most / 2**discordant)


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    """A quantile, by linear interpolation between the two nearest values."""
    place = fraction * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
