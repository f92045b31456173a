"""The tables of a report, and the same figures for programs, as JSON and CSV.

A table is rows of text under headings. `tables` decides its content, `formats.py` its form.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from thread_cli.bench import FailureClass
from thread_cli.bench.arms import title_of
from thread_cli.bench.formats import Table
from thread_cli.bench.report import compare, summarise
from thread_cli.display.text import clean, dollars, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from thread_cli.bench.arms import Arm
    from thread_cli.bench.report import Rate, Run, Summary
    from thread_cli.bench.statistics import Interval
    from thread_cli.bench.suite import Published

__all__ = ["as_csv", "as_json", "episodes_csv", "forked", "tables"]

_NOTHING: Final = "\u2013"


def tables(arms: Sequence[Arm]) -> list[Table]:
    """The tables of a report."""
    spent = [_spent(arms), _parallel(arms), _local(arms), _format(arms)]
    made = [_success(arms), _categories(arms), *spent, _failures(arms)]
    if len(arms) > 1:
        made.append(_compared(arms))
    return [table for table in made if table.rows]


def forked(arms: Iterable[Arm]) -> bool:
    """Whether any episode spawned in parallel. Where none did, a report has none of the measures of it."""
    return _forked(arm.summary for arm in arms)


def as_csv(arms: Iterable[Arm]) -> str:
    """One line for each arm. Columns of categories are as many as there are categories in all."""
    arms = list(arms)
    return _csv([_flat({"run": arm.label} | _plain(arm.summary, parallel=forked(arms))) for arm in arms])


def episodes_csv(arms: Iterable[Arm], *, times: bool = True) -> str:
    """One line for each episode."""
    arms = list(arms)
    left_out: dict[str, Any] = {"text": True, "totals": set[str]()}
    if not times:
        left_out |= {"seconds": True, "finished": True, "totals": {"local", "model_seconds", "seconds"}}
    if not forked(arms):
        left_out["totals"] |= {"context_window", "forks", "parallel_forks", "model_seconds", "seconds"}
    return _csv(
        _flat({"run": arm.label} | result.model_dump(mode="json", exclude=left_out))
        for arm in arms
        for result in arm.run.results
    )


def as_json(runs: Sequence[Run], *, times: bool = True) -> str:
    """A list with one object for each run; the variants of a run are in its `variants`."""
    summaries = [summarise(run, times=times) for run in runs]
    parallel = _forked(summaries)
    objects = [
        _plain(summary, parallel=parallel)
        | {
            "variants": [
                _plain(summarise(run.variant(name), variant=name, times=times), parallel=parallel)
                for name in run.variants
            ]
        }
        for run, summary in zip(runs, summaries, strict=True)
    ]
    text = json.dumps(objects, ensure_ascii=False, indent=2).replace("\x7f", r"\u007f") + "\n"
    return "".join(char if _harmless(char) else json.dumps(char)[1:-1] for char in text)


# --- the content of tables


def _success(arms: Sequence[Arm]) -> Table:
    """Success beside the published figures."""
    epochs = any(arm.summary.epochs > 1 for arm in arms)
    scored = any(arm.summary.metric == "reward" for arm in arms)
    rows = [_success_row(arm.label, arm.summary) for arm in arms]
    published = _published(arms)
    sources = list(dict.fromkeys(each.source for _, each in published))
    for name, each in published:
        label = f"{name} [{sources.index(each.source) + 1}]"
        score = _NOTHING if each.score is None else f"{each.score:.1f}"
        rows.append((label, _count(each.tasks), "", "", _points(each.success), "", "", score))
    headings = ("", "tasks", "episodes", "solved", "success %", "95 % interval", "± epochs", "score")
    kept = [column for column in range(8) if (column != 6 or epochs) and (column != 7 or scored)]
    notes = tuple(f"[{number}] {clean(source)}" for number, source in enumerate(sources, 1))
    return Table(
        title_of(arms),
        tuple(headings[column] for column in kept),
        tuple(tuple(row[column] for column in kept) for row in rows),
        notes,
    )


def _success_row(label: str, summary: Summary) -> tuple[str, ...]:
    unfinished = summary.planned is not None and summary.episodes < summary.planned
    return (
        label,
        _count(summary.tasks),
        f"{summary.episodes:,} of {summary.planned:,}" if unfinished else _count(summary.episodes),
        _count(summary.successes) if summary.judged else _NOTHING,
        _percent(summary.success_rate),
        _interval(summary.interval),
        _NOTHING if summary.standard_error is None else f"{100 * summary.standard_error:.1f}",
        _percent(summary.score),
    )


def _categories(arms: Sequence[Arm]) -> Table:
    """Success by category; categories or arms, whichever are more, become the rows."""
    names = list(dict.fromkeys(name for arm in arms for name in arm.summary.categories))
    columns = [(arm.label, {name: _rate(found) for name, found in arm.summary.categories.items()}) for arm in arms]
    columns += [
        (label, {name: f"{value:.1f}" for name, value in each.categories.items()})
        for label, each in _published(arms)
        if each.categories
    ]
    if len(columns) <= max(3, len(names)):
        headings = ("", *(label for label, _ in columns))
        rows = [(clean(name), *(cells.get(name, _NOTHING) for _, cells in columns)) for name in names]
    else:
        headings = ("", *map(clean, names))
        rows = [(label, *(cells.get(name, _NOTHING) for name in names)) for label, cells in columns]
    return Table("Success % by category (solved/episodes, 95 % interval)", headings, tuple(rows))


def _spent(arms: Sequence[Arm]) -> Table:
    timed = any(arm.summary.seconds is not None for arm in arms)
    headings = ("", "tokens", "prompt", "cached", "generated", "calls", "threads", "depth", "deepest", "critical path")
    headings += (*(("wall",) if timed else ()), "cost", "cost per success")
    rows: list[tuple[str, ...]] = []
    for arm in arms:
        summary, tokens = arm.summary, arm.summary.tokens
        about = "~" if tokens.estimated else ""
        cached = _count(tokens.cached) if tokens.cached_known else "unknown"
        means = (summary.calls, summary.threads, summary.depth)
        wall = (_NOTHING if summary.seconds is None else duration(summary.seconds),) if timed else ()
        rows.append(
            (
                arm.label,
                about + _count(tokens.total),
                about + _count(tokens.prompt),
                cached,
                about + _count(tokens.generated),
                *(_figure(mean.mean, ".1f") for mean in means),
                _count(summary.depth.max),
                (about if summary.critical_path.mean else "") + _figure(summary.critical_path.mean, ",.0f"),
                *wall,
                dollars(summary.cost),
                dollars(summary.cost_per_success),
            )
        )
    note = (
        "Tokens, wall time and cost of all episodes; calls, threads, depth and critical path in the mean of an episode."
    )
    return Table("Spent", headings, tuple(rows), (note,))


def _parallel(arms: Sequence[Arm]) -> Table:
    """What parallel threads gained; no rows where no arm has such threads."""
    timed = any(arm.summary.parallel is not None and arm.summary.parallel.wall_speedup for arm in arms)
    headings = ("", "activation %", "total tokens", "token latency", "self-parallelism", "acceleration %")
    headings += ("wall speed-up",) if timed else ()
    rows = [
        (
            arm.label,
            _percent(found.activation_ratio),
            _about(arm, f"{found.total_tokens:,.0f}"),
            _about(arm, f"{found.token_latency:,.0f}"),
            _about(arm, _figure(found.self_parallelism, ".2f")),
            _about(arm, _percent(found.acceleration)),
            *((_figure(found.wall_speedup, ".2f"),) if timed else ()),
        )
        for arm in arms
        if (found := arm.summary.parallel) is not None and forked(arms)
    ]
    note = (
        "Activation: episodes that spawned several children at once, or one in the background. All else in the mean of "
        "an episode: total tokens (L_total) and token latency (L_longest) are generated tokens, self-parallelism is "
        "L_total / L_longest, acceleration 1 \u2212 L_longest / L_total"
        + (", wall speed-up the number of calls under way." if timed else ".")
    )
    return Table("Parallel threads", headings, tuple(rows), (note,))


def _about(arm: Arm, figure: str) -> str:
    """A figure that counts tokens, marked where some of the tokens are estimates."""
    return f"~{figure}" if arm.summary.tokens.estimated and figure != _NOTHING else figure


def _local(arms: Sequence[Arm]) -> Table:
    """Work of models on this machine."""
    headings = (
        "",
        "prefill tokens",
        "decoded",
        "prefill per second",
        "% of ceiling",
        "decode per second",
        "% of ceiling",
        "drafted",
        "acceptance %",
        "batch size",
    )
    rows = [
        (
            arm.label,
            _count(local.prefilled),
            _count(arm.summary.tokens.generated),
            _figure(local.prefill_speed, ",.0f"),
            _percent(local.prefill_share),
            _figure(local.decode_speed, ",.0f"),
            _percent(local.decode_share),
            _count(local.drafted),
            _percent(local.accepted / local.drafted if local.drafted else None),
            _figure(local.batch_size, ".1f"),
        )
        for arm in arms
        if (local := arm.summary.local) is not None
    ]
    note = (
        "Speeds count tokens that were not cached. Acceptance is the share of drafted tokens that the model confirmed. "
        "The ceiling is the speed with an empty cache, measured when the model was loaded."
    )
    return Table("On this machine", headings, tuple(rows), (note,))


def _format(arms: Sequence[Arm]) -> Table:
    """How well models keep to wire formats that have a checker."""
    headings = ("", "checked", "correct", "format correct %", "repairs", "most frequent problem")
    rows = [
        (
            arm.label,
            _count(found.checked),
            _count(found.correct),
            _percent(found.share),
            _count(found.repairs),
            next((f"{problem} ({number:,})" for problem, number in found.problems.items()), _NOTHING),
        )
        for arm in arms
        if (found := arm.summary.format) is not None
    ]
    return Table("Wire format", headings, tuple(rows), ("By the rules of the format's released checker.",))


def _failures(arms: Sequence[Arm]) -> Table:
    kinds = [kind.value.replace("_", " ") for kind in FailureClass]
    headings = ("", *kinds, "episodes retried", "calls retried")
    rows = [
        (
            arm.label,
            *(_count(arm.summary.failures[kind]) for kind in FailureClass),
            _count(arm.summary.retried_episodes),
            _count(arm.summary.retried_calls),
        )
        for arm in arms
    ]
    notes = ["Failures of the infrastructure are in no rate and no mean."]
    for arm in arms:
        pruned, stopped = arm.summary.pruned_threads, arm.summary.stopped_episodes
        if pruned or stopped:
            notes.append(f"{arm.label}: threads pruned by watchers: {pruned:,}; episodes ended by them: {stopped:,}.")
    return Table("Failures by class", headings, tuple(rows), tuple(notes))


def _compared(arms: Sequence[Arm]) -> Table:
    """Every arm against the first, on the tasks that they share."""
    first, *others = arms
    rows: list[tuple[str, ...]] = []
    for arm in others:
        if (found := compare(arm.run, first.run)) is None:
            rows.append((arm.label, "0", *([_NOTHING] * 5)))
            continue
        shared, difference = found
        low, high = difference.interval.low, difference.interval.high
        figures = (_signed(difference.mean), f"{_signed(low)} to {_signed(high)}")
        counts = (_count(difference.better), _count(difference.worse))
        rows.append((arm.label, _count(shared), *figures, *counts, f"{difference.p:.3g}"))
    headings = ("", "tasks shared", "difference", "95 % interval", "better", "worse", "p")
    notes = (
        "In points of the metric. Interval: paired bootstrap over tasks, 10,000 resamples.",
        "p: exact McNemar test over the tasks that differ.",
    )
    return Table(f"Compared with {first.label}", headings, tuple(rows), notes)


def _published(arms: Sequence[Arm]) -> list[tuple[str, Published]]:
    """The published figures of all suites, each once, with its name."""
    several = len({arm.summary.suite for arm in arms}) > 1
    found: list[tuple[str, Published]] = []
    for arm in arms:
        for each in arm.summary.published:
            names = ([arm.summary.suite] if several else []) + [each.method, each.model]
            figure = (" · ".join(map(clean, names)), each)
            found += [figure] if figure not in found else []
    return found


# --- the form of figures and cells


def _count(number: int | None) -> str:
    return _NOTHING if number is None else f"{number:,}"


def _figure(value: float | None, how: str) -> str:
    return _NOTHING if value is None else format(value, how)


def _percent(fraction: float | None) -> str:
    return _points(None if fraction is None else 100 * fraction)


def _points(percent: float | None) -> str:
    return _figure(percent, ".1f")


def _signed(fraction: float) -> str:
    points = f"{100 * fraction:+.1f}"
    return points[1:] if points in {"+0.0", "-0.0"} else points.replace("-", "\u2212")


def _interval(interval: Interval | None) -> str:
    return _NOTHING if interval is None else f"{100 * interval.low:.1f}\u2013{100 * interval.high:.1f}"


def _rate(found: Rate) -> str:
    if found.success_rate is None:
        return _NOTHING
    return f"{_percent(found.success_rate)} ({found.successes}/{found.episodes}, {_interval(found.interval)})"


def _forked(summaries: Iterable[Summary]) -> bool:
    return any(summary.parallel is not None and summary.parallel.activation_ratio for summary in summaries)


def _plain(summary: Summary, *, parallel: bool) -> dict[str, Any]:
    return summary.model_dump(mode="json", exclude=None if parallel else {"parallel"})


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, keys joined by dots; lists are left to JSON."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict):
            found |= _flat(inner, f"{name}.")  # pyright: ignore[reportUnknownArgumentType]
        elif not isinstance(inner, list):
            found[name] = inner
    return found


def _harmless(char: str) -> bool:
    """Whether a terminal shows a character and does nothing else."""
    return char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cf", "Cs"}


def _visible(cell: Any) -> Any:
    return "".join(filter(_harmless, cell)) if isinstance(cell, str) else cell


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    """Rows under headings, without control characters, which CSV has no way to write visibly."""
    kept = [{_visible(name): _visible(cell) for name, cell in row.items()} for row in rows]
    columns = list(dict.fromkeys(name for row in kept for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    return file.getvalue()
