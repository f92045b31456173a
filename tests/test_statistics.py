"""Intervals, the paired bootstrap and McNemar's test, against SciPy and statsmodels."""

from __future__ import annotations

import pytest
from processes import outputs_under_hash_seeds

from thread_cli.bench.statistics import mcnemar, paired_bootstrap, standard_error, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 1), (7, 12), (187, 200), (1999, 5000)])
def test_wilson_intervals_agree_with_scipy_and_statsmodels(successes, trials) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    stats = pytest.importorskip("scipy.stats")
    for confidence in (0.95, 0.9):
        ours = wilson(successes, trials, confidence)
        theirs = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        others = proportion.proportion_confint(successes, trials, 1 - confidence, method="wilson")
        assert (ours.low, ours.high) == pytest.approx(others, abs=1e-9)


def test_standard_errors_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rates = [0.91, 0.935, 0.9, 0.955]
    assert standard_error(rates) == pytest.approx(stats.sem(rates))
    assert standard_error([0.5]) is None


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (9, 2), (20, 10), (300, 200)])
def test_mcnemar_agrees_with_statsmodels(better, worse) -> None:
    tables_of = pytest.importorskip("statsmodels.stats.contingency_tables")
    if better + worse:
        theirs = tables_of.mcnemar([[40, better], [worse, 20]], exact=True).pvalue
        assert mcnemar(better, worse) == pytest.approx(theirs)
    else:
        assert mcnemar(better, worse) == 1


def test_the_paired_bootstrap_agrees_with_scipy() -> None:
    numpy = pytest.importorskip("numpy")
    stats = pytest.importorskip("scipy.stats")
    draw = numpy.random.default_rng(3)
    ours, theirs = draw.uniform(size=150), draw.uniform(size=150) * 0.8
    found = paired_bootstrap([float(value) for value in ours - theirs])
    expected = stats.bootstrap(
        (ours, theirs),
        lambda one, other, axis: numpy.mean(one - other, axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=10_000,
        rng=numpy.random.default_rng(1),
    ).confidence_interval
    assert found.mean == pytest.approx(float(numpy.mean(ours - theirs)))
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=0.004)
    assert found.better + found.worse == 150


@pytest.mark.parametrize(("better", "worse", "same"), [(30, 12, 158), (3, 9, 38), (120, 0, 80)])
def test_the_bootstrap_of_successes_agrees_with_scipy_on_the_same_counts(better, worse, same) -> None:
    numpy = pytest.importorskip("numpy")
    stats = pytest.importorskip("scipy.stats")
    size = better + worse + same
    differences = [1.0] * better + [-1.0] * worse + [0.0] * same
    found = paired_bootstrap(differences)
    expected = stats.bootstrap(
        (numpy.array(differences),),
        numpy.mean,
        method="percentile",
        n_resamples=10_000,
        rng=numpy.random.default_rng(5),
    ).confidence_interval
    # Means of resamples are multiples of one task.
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=1.01 / size)
    assert (found.better, found.worse) == (better, worse)


def test_the_bootstrap_says_the_same_everywhere() -> None:
    script = "from thread_cli.bench.statistics import *; print(paired_bootstrap([1.0] * 9 + [-1.0] * 4 + [0.0] * 30))"
    assert len(outputs_under_hash_seeds(script)) == 1


def test_rates_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no rate"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="no task"):
        paired_bootstrap([])
