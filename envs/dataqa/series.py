"""Statistics of short series of numbers, and when two of them differ clearly enough to be asked about."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import correlation, fmean, linear_regression

__all__ = ["Series", "clearly_differ", "correlated", "fitted", "slope", "summary", "trend"]

Series = Mapping[int, float] | Mapping[float, float]
"""Values by time, the earliest first."""

_MARGIN = 0.03
"""Least difference that is asked about, as a share of the values' size."""
_LEAST_CORRELATION = 0.5


def summary(statistic: str, series: Series) -> float:
    """The `minimum`, `maximum` or `average` of a series."""
    return {"minimum": min, "maximum": max, "average": fmean}[statistic](series.values())


def slope(series: Series) -> float:
    """The slope of the line of least squares."""
    return linear_regression(list(series), list(series.values())).slope


def fitted(series: Series, time: float) -> float:
    """The value of the line of least squares at `time`."""
    line = linear_regression(list(series), list(series.values()))
    return line.slope * time + line.intercept


def trend(series: Series) -> float | None:
    """The slope; None where it is too small to be told from none, or where the ends of the series contradict it."""
    rise = slope(series)
    times, values = list(series), list(series.values())
    span = times[-1] - times[0]
    if abs(rise) * span < _MARGIN * _size(*values) or rise * (values[-1] - values[0]) <= 0:
        return None
    return rise


def correlated(a: Series, b: Series) -> float | None:
    """Pearson's correlation of two series over the same times; None where it is weak or does not exist."""
    if len(set(a.values())) < 2 or len(set(b.values())) < 2:
        return None
    found = correlation(list(a.values()), list(b.values()))
    return found if abs(found) >= _LEAST_CORRELATION else None


def clearly_differ(a: float, b: float, size: float | None = None) -> bool:
    """Whether two numbers are further apart than the margin; `size` is that of the values where not their own."""
    return abs(a - b) >= _MARGIN * (_size(a, b) if size is None else size) > 0


def _size(*values: float) -> float:
    return max(map(abs, values))
