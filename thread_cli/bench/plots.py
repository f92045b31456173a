"""One figure with four views of the results: success, tokens, depth, cost; two more where episodes forked in parallel:
tokens and token latency, and what the parallel threads gained. Needs matplotlib (extra `report`).

A few runs stand beside each other in colours; many, such as the variants of an ablation, below each other in rows.

Nothing in it depends on time or chance: the same results give the same SVG, byte for byte.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final

from thread_cli.bench.report import by_category
from thread_cli.bench.tables import forked
from thread_cli.contracts.errors import UserError
from thread_cli.distribution import remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from thread_cli.bench.arms import Arm
    from thread_cli.bench.report import Rate
    from thread_cli.bench.statistics import Interval

__all__ = ["COLOURS", "FORMATS", "save", "short", "thousands", "with_error", "write_plot"]

FORMATS: Final = (".png", ".svg", ".pdf")
_WIDTH: Final = 11.0  # inches
_HEIGHT: Final = 7.5
_FEW: Final = 6
COLOURS: Final = ("#3b6fb6", "#d9822b", "#3d9a6c", "#b8478f", "#7a6bc4", "#8c6d46")
_STYLE: Final = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9aa5b1",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": "#e3e8ee",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "thread",
    # Names are never formulas.
    "text.parse_math": False,
}


def write_plot(path: Path, arms: Sequence[Arm]) -> None:
    """Draw the four views into a file; its ending decides the format.

    Raises:
        UserError: matplotlib is not installed, the format is none of `FORMATS`, or the file cannot be written.
    """
    if len(arms) > _FEW:
        size = (_WIDTH + 3, 1.2 + 0.3 * len(arms))
        columns = 5 if forked(arms) else 4
        save(path, "--plot", size, lambda figure: _in_rows(figure.subplots(1, columns, sharey=True), arms))
    else:
        height = _HEIGHT * 1.5 if forked(arms) else _HEIGHT
        save(path, "--plot", (_WIDTH, height), lambda figure: _in_colours(figure, arms))


def save(path: Path, option: str, size: tuple[float, float], draw: Callable[[Any], None]) -> None:
    """Write a figure of `size` (width and height in inches) on which `draw` has drawn; `option` named the file.

    Raises:
        UserError: as `write_plot`.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{option} {path}: choose a name that ends in {', '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(f"{option} needs matplotlib, which is not installed: {remedy('report')}")
    mpl: Any = importlib.import_module("matplotlib")
    drawing: Any = importlib.import_module("matplotlib.figure")
    with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE}):
        figure = drawing.Figure(figsize=size, layout="constrained")
        draw(figure)
        undated = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        try:
            figure.savefig(path, dpi=150, metadata=undated[path.suffix.lower()])
        except OSError as error:
            raise UserError(f"the plot cannot be written: {path}: {error.strerror}") from None


def _in_colours(figure: Any, arms: Sequence[Arm]) -> None:
    (success, tokens), (depth, cost), *more = figure.subplots(3 if forked(arms) else 2, 2)
    for latency, gain in more:
        _latency(latency, arms)
        _gain(gain, arms)
    _success(success, arms)
    _tokens(tokens, arms)
    _depth(depth, arms)
    _cost(cost, arms)
    if len(arms) > 1:
        handles, labels = success.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(3, len(arms)))


def _in_rows(columns: Sequence[Any], arms: Sequence[Arm]) -> None:
    """A row for each arm: success with its interval, tokens per episode, depth, and cost per success."""
    success, tokens, depth, cost, *more = columns
    rows, colour = range(len(arms)), COLOURS[0]
    for row, arm in enumerate(arms):
        if arm.summary.success_rate is not None:
            at, error = with_error(arm.summary.success_rate, arm.summary.interval)
            success.errorbar(at, row, xerr=error, fmt="D", color=colour, markersize=5, capsize=2)
    tokens.barh(rows, [arm.summary.tokens.total / arm.summary.episodes for arm in arms], 0.6, color=colour)
    depth.barh(rows, [arm.summary.depth.mean or 0.0 for arm in arms], 0.6, color=colour)
    depth.plot([arm.summary.depth.max or 0 for arm in arms], rows, "|", color="#39434e", markersize=8)
    title, unit, values = _costs(arms)
    cost.barh(rows, [value or 0.0 for value in values], 0.6, color=colour)
    success.set(title="Success (95 % intervals)", xlabel="%", xlim=(-3, 103))
    success.set_yticks(rows, [short(arm.label, 60) for arm in arms])
    success.invert_yaxis()
    tokens.set(title="Tokens of an episode", xlabel="tokens, mean")
    depth.set(title="Depth (line: deepest)", xlabel="depth, mean")
    cost.set(title=title, xlabel=unit)
    for axes in more:
        axes.barh(rows, [100 * _acceleration(arm) for arm in arms], 0.6, color=colour)
        axes.set(title="Acceleration", xlabel="%, mean of an episode")
    for axes in columns:
        axes.grid(axis="y", visible=False)
    for axes in (tokens, cost) if unit == "tokens" else (tokens,):
        axes.xaxis.set_major_formatter(thousands)


def _success(axes: Any, arms: Sequence[Arm]) -> None:
    """Success by category, with 95 % intervals, and the best published figure if all arms play the same suite."""
    names = list(dict.fromkeys(name for arm in arms for name in arm.summary.categories))
    found = [(arm, arm.summary.categories) for arm in arms]
    _bars(axes, [(arm, [rates.get(name) for name in names]) for arm, rates in found], names)
    published = [(each.success, each) for arm in arms for each in arm.summary.published if each.success is not None]
    if published and len({arm.summary.suite for arm in arms}) == 1:
        value, best = max(published, key=lambda pair: pair[0])
        axes.axhline(value, color="#39434e", linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            short(f"{best.method} {best.model}: {value:g}"),
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=7,
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1},
        )
    axes.set(title="Success by category (dashed: best published, overall)", ylim=(0, 107))
    axes.set_ylabel("%")


def _bars(axes: Any, groups: Sequence[tuple[Arm, Sequence[Rate | None]]], names: Sequence[str]) -> None:
    width = 0.8 / len(groups)
    for number, ((arm, rates), colour) in enumerate(zip(groups, COLOURS, strict=False)):
        places = [place + (number - (len(groups) - 1) / 2) * width for place in range(len(names))]
        found = [
            with_error(rate.success_rate or 0.0, rate.interval) if rate else (0.0, [[0.0], [0.0]]) for rate in rates
        ]
        heights, errors = [at for at, _ in found], [[error[side][0] for _, error in found] for side in (0, 1)]
        drawn = {"ecolor": "#39434e", "elinewidth": 0.9, "capsize": 2}
        axes.bar(places, heights, width * 0.92, yerr=errors, color=colour, label=short(arm.label, 48), error_kw=drawn)
    axes.set_xticks(range(len(names)), [short(name) for name in names], rotation=30 if len(names) > 5 else 0)
    axes.grid(axis="x", visible=False)


def with_error(rate: float, interval: Interval | None) -> tuple[float, list[list[float]]]:
    """A rate in percent, and the distances to the interval's bounds below and above."""
    low, high = (interval.low, interval.high) if interval else (rate, rate)
    return 100 * rate, [[max(0.0, 100 * (rate - low))], [max(0.0, 100 * (high - rate))]]


def _tokens(axes: Any, arms: Sequence[Arm]) -> None:
    """Mean tokens per episode against success: a point for each arm, small ones for its categories."""
    for arm, colour in zip(arms, COLOURS, strict=False):
        summary = arm.summary
        for name, results in by_category(arm.run).items():
            rate = summary.categories[name]
            if rate.success_rate is None:
                continue
            mean = sum(r.totals.prompt_tokens + r.totals.generated_tokens for r in results) / len(results)
            axes.plot(mean, 100 * rate.success_rate, "o", color=colour, markersize=4, alpha=0.6)
            if len(arms) == 1:
                at = (mean, 100 * rate.success_rate)
                axes.annotate(short(name), at, (4, 3), textcoords="offset points", fontsize=7)
        if summary.success_rate is not None:
            at, error = with_error(summary.success_rate, summary.interval)
            spent = summary.tokens.total / summary.episodes
            axes.errorbar(spent, at, error, fmt="D", color=colour, markersize=7, capsize=3)
    axes.set(title="Tokens of an episode and success (small: categories)", xlabel="tokens, mean", ylim=(-3, 107))
    axes.set_xlim(left=0)
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(thousands)
    axes.set_ylabel("success %")


def _depth(axes: Any, arms: Sequence[Arm]) -> None:
    deepest = max((depth for arm in arms for depth in arm.summary.depths), default=0)
    width = 0.8 / len(arms)
    for number, (arm, colour) in enumerate(zip(arms, COLOURS, strict=False)):
        places = [depth + (number - (len(arms) - 1) / 2) * width for depth in range(deepest + 1)]
        axes.bar(places, [arm.summary.depths.get(depth, 0) for depth in range(deepest + 1)], width * 0.92, color=colour)
    axes.set(title="How deep threads went", xlabel="depth of the deepest thread", ylabel="episodes")
    axes.set_xticks(range(0, deepest + 1, 1 + deepest // 16))
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="x", visible=False)


def _latency(axes: Any, arms: Sequence[Arm]) -> None:
    """Generated tokens of an episode in all threads, and those on the critical path, side by side."""
    found = [arm.summary.parallel for arm in arms]
    for offset, name, alpha in ((-0.2, "total_tokens", 0.45), (0.2, "token_latency", 1.0)):
        heights = [getattr(each, name) if each else 0.0 for each in found]
        axes.bar([place + offset for place in range(len(arms))], heights, 0.38, color=COLOURS[: len(arms)], alpha=alpha)
    axes.set(title="Total tokens (pale) and token latency", ylabel="generated tokens, mean")
    _named(axes, arms)
    axes.yaxis.set_major_formatter(thousands)


def _gain(axes: Any, arms: Sequence[Arm]) -> None:
    """Activation ratio and acceleration, side by side."""
    activated = [100 * arm.summary.parallel.activation_ratio if arm.summary.parallel else 0.0 for arm in arms]
    gained = [100 * _acceleration(arm) for arm in arms]
    for offset, heights, alpha in ((-0.2, activated, 0.45), (0.2, gained, 1.0)):
        axes.bar([place + offset for place in range(len(arms))], heights, 0.38, color=COLOURS[: len(arms)], alpha=alpha)
    axes.set(title="Activation ratio (pale) and acceleration", ylabel="%", ylim=(0, 107))
    _named(axes, arms)


def _named(axes: Any, arms: Sequence[Arm]) -> None:
    axes.set_xticks(range(len(arms)), [short(arm.label, 24) for arm in arms], rotation=20 if len(arms) > 2 else 0)
    axes.grid(axis="x", visible=False)


def _acceleration(arm: Arm) -> float:
    return arm.summary.parallel.acceleration or 0.0 if arm.summary.parallel else 0.0


def _costs(arms: Sequence[Arm]) -> tuple[str, str, list[float | None]]:
    """Cost per success of each arm, with title and unit: US dollars, or tokens if any price is unknown."""
    if all(arm.summary.cost is not None for arm in arms):
        return "Cost per success", "US dollars", [arm.summary.cost_per_success for arm in arms]
    return "Tokens per success", "tokens", [arm.summary.tokens_per_success for arm in arms]


def _cost(axes: Any, arms: Sequence[Arm]) -> None:
    title, unit, values = _costs(arms)
    priced = unit != "tokens"
    for number, (value, colour) in enumerate(zip(values, COLOURS, strict=False)):
        axes.barh(number, value or 0.0, 0.5, color=colour)
        words = "no success" if value is None else f"${value:,.4f}" if priced else f"{value:,.0f}"
        axes.annotate(words, (value or 0.0, number), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.annotate(short(arms[number].label), (0, number - 0.32), (2, 1), textcoords="offset points", fontsize=8)
    axes.set_yticks([])
    axes.set_ylim(-0.75, len(arms) - 0.5)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max((value or 0.0 for value in values), default=0.0) or 1.0)
    axes.grid(axis="y", visible=False)
    if not priced:
        axes.xaxis.set_major_formatter(thousands)
    axes.set(title=title, xlabel=unit)


def thousands(value: float, _: int) -> str:
    """A number of an axis."""
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def short(text: str, longest: int = 32) -> str:
    """A name in characters that the figure's font surely has, cut where it is long."""
    kept = "".join(char if char.isascii() or char in "·ϕψ" else "?" for char in text)
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"
