"""Accuracy against a budget: the three comparisons of APR (arXiv 2504.15466), drawn from the results of any runs.

A curve tells for each budget the share of the judged episodes that were solved within it: with a context window of so
many tokens, with so many generated tokens in all threads, or with a latency of so many tokens one after the other, or
of so many seconds. An episode that needed more counts as unsolved there, whatever it might have done under that budget.
A diamond stands at the mean of a run's episodes, with the interval of its success rate. Needs matplotlib (extra
`report`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from thread_cli.bench.plots import COLOURS, save, short, thousands, with_error
from thread_cli.bench.report import rate
from thread_cli.contracts.errors import UserError
from thread_cli.record import read_events
from thread_cli.record.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from thread_cli.bench import Result
    from thread_cli.bench.arms import Arm
    from thread_cli.bench.report import Run

__all__ = ["Curve", "curve_of", "write_curves"]

_HEIGHT: Final = 4.0  # inches
_WIDTH: Final = 4.4
_LINES: Final = ("-", (0, (5, 2)), (0, (1, 1.5)))


@dataclass(frozen=True, slots=True)
class Curve:
    """What one run solved within each budget. The budgets rise, and so do the shares, as fractions of all episodes."""

    budgets: tuple[float, ...]
    shares: tuple[float, ...]
    mean: float
    """Of what the judged episodes needed."""


def curve_of(run: Run, needed: Callable[[Run, Result], float | None]) -> Curve | None:
    """The curve of a run; None if nothing judged its episodes, or one does not tell what it `needed`."""
    judged = [result for result in run.results if rate([result]).episodes]
    amounts = [needed(run, result) for result in judged]
    known = [amount for amount in amounts if amount is not None]
    if not judged or len(known) < len(judged):
        return None
    solved = sorted(amount for result, amount in zip(judged, known, strict=True) if result.solved)
    budgets, shares = [0.0], [0.0]
    for count, amount in enumerate(solved, 1):
        budgets.append(amount)
        shares.append(count / len(judged))
    budgets.append(max(known))
    shares.append(shares[-1])
    return Curve(tuple(budgets), tuple(shares), sum(known) / len(known))


def write_curves(path: Path, arms: Sequence[Arm], *, times: bool = True) -> None:
    """Draw the curves of all arms into a file; its ending decides the format. Without `times`, not against seconds.

    Raises:
        UserError: as `write_plot`; or nothing judged any of the episodes.
    """
    views: list[tuple[str, str, Callable[[Run, Result], float | None]]] = [
        ("Context window", "tokens of the longest call", _window),
        ("Total tokens", "generated tokens of all threads", lambda _, result: result.totals.generated_tokens),
        ("Latency in tokens", "generated tokens on the critical path", lambda _, result: result.totals.token_latency),
    ]
    if times:
        views.append(("Latency in seconds", "wall time of the episode", lambda _, result: result.seconds))
    drawn = [(title, unit, [curve_of(arm.run, needed) for arm in arms]) for title, unit, needed in views]
    if not any(curve for *_, curves in drawn for curve in curves):
        raise UserError("--curves: nothing judges the episodes of these runs, so there is no accuracy to draw")

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        for axes, (title, unit, curves) in zip(panels, drawn, strict=True):
            _panel(axes, arms, curves, seconds=title == "Latency in seconds")
            axes.set(title=title, xlabel=unit)
        panels[0].set_ylabel("solved, % of episodes")
        panels[0].set_ylim(-3, 103)
        if len(arms) > 1:
            found: dict[str, Any] = {}
            for axes in panels:
                handles, labels = axes.get_legend_handles_labels()
                found |= dict(zip(labels, handles, strict=True))
            figure.legend(found.values(), found.keys(), loc="outside upper left", ncols=min(3, len(found)))

    save(path, "--curves", (_WIDTH * len(drawn), _HEIGHT + 0.25 * ((len(arms) + 2) // 3)), draw)


def _panel(axes: Any, arms: Sequence[Arm], curves: Sequence[Curve | None], *, seconds: bool) -> None:
    furthest = max((curve.budgets[-1] for curve in curves if curve), default=0.0)
    styles = zip(cycle(COLOURS), (line for line in cycle(_LINES) for _ in COLOURS), strict=False)
    for arm, curve, (colour, line) in zip(arms, curves, styles, strict=False):
        if curve is None:
            continue
        budgets, shares = [*curve.budgets, furthest], [100 * share for share in (*curve.shares, curve.shares[-1])]
        axes.step(
            budgets, shares, where="post", color=colour, linestyle=line, linewidth=1.6, label=short(arm.label, 48)
        )
        at, error = with_error(arm.summary.success_rate or 0.0, arm.summary.interval)
        axes.errorbar(curve.mean, at, error, fmt="D", color=colour, markersize=5, capsize=2, elinewidth=0.9)
    if not any(curves):
        axes.annotate("no logs to tell it", (0.5, 0.5), xycoords="axes fraction", ha="center", color="#39434e")
    axes.set_xlim(0, 1.03 * furthest or 1.0)
    if not seconds:
        axes.xaxis.set_major_formatter(thousands)


def _window(run: Run, result: Result) -> float | None:
    """The context window that an episode needed; from its log where an earlier version did not sum it up."""
    if result.totals.context_window or not result.totals.calls:
        return result.totals.context_window
    log = run.log(result)
    if not log.is_file():
        return None
    sums = Sums()
    for event in read_events(log):
        sums.add(event)
    return sums.totals().context_window
