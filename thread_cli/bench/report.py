"""Reads the folder of a bench run, and sums its results up.

Every episode counts in exactly one way. Failures of the infrastructure say nothing about the model: they are left out
of rates and means and counted apart; their tokens and cost count all the same. All sums are over results in one fixed
order, so that the same results give the same figures to the last digit, whichever run or machine they come from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from thread_cli.bench import FailureClass, Result
from thread_cli.bench.journal import Journal
from thread_cli.bench.parallel import Parallel, gained
from thread_cli.bench.statistics import Difference, Interval, paired_bootstrap, standard_error, wilson
from thread_cli.bench.suite import Published
from thread_cli.bench.ways import ways_of
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.model import Local

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from thread_cli.bench.suite import Suite
    from thread_cli.bench.ways import Ways

__all__ = ["Mean", "Rate", "Run", "Summary", "Tokens", "by_category", "compare", "rate", "read_run", "summarise"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder, read. `results` are in the order of the tasks."""

    path: Path
    suite: Suite
    method: str
    model: str
    results: tuple[Result, ...]
    planned: int | None
    """Episodes when the run is complete; None where its plan does not say so."""
    ways: Mapping[str, Ways]
    """Branches and watchers of each variant, by name; of the run by the empty name."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Variants that were played, in the order of the suite; none where the suite has none."""
        played = {result.variant for result in self.results} - {""}
        named = [variant.name for variant in self.suite.variants if variant.name in played]
        return (*named, *sorted(played - set(named)))

    def variant(self, name: str) -> Run:
        """The part of the run that is one variant."""
        results = tuple(result for result in self.results if result.variant == name)
        methods = {result.method for result in results}
        planned = self.planned and self.planned // max(1, len(self.suite.variants))
        return replace(
            self,
            results=results,
            method=methods.pop() if len(methods) == 1 else self.method,
            planned=planned,
            ways={"": self.ways.get(name, self.ways[""])},
        )

    def log(self, result: Result) -> Path:
        """The events of a result's episode."""
        return self.path / "episodes" / f"{result.key}.jsonl"


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Figures):
    """How many episodes succeeded. Rates are fractions; None if nothing judges the episodes, or there are none."""

    episodes: int
    """Episodes that count: judged, and not failures of the infrastructure."""
    successes: int
    success_rate: float | None
    interval: Interval | None
    """Wilson, 95 %. Several epochs of one task are one trial, since they are not independent."""
    score: float | None
    """Mean reward, as a fraction."""


class Mean(_Figures):
    """A figure over the episodes without those that the infrastructure failed; None if no episode is left."""

    mean: float | None
    max: int | None


class Tokens(_Figures):
    """Tokens of all episodes. `total` is prompt and generated; `cached` and `repeated` are parts of the prompt."""

    total: int
    prompt: int
    cached: int
    repeated: int
    generated: int
    estimated: bool
    """Whether some of them are estimates."""
    cached_known: bool
    """Whether all models reported their cached tokens."""


class LocalWork(_Figures):
    """Work of a model on this machine: prompt tokens of its prefill, drafts, and speeds in tokens per second."""

    prefilled: int
    drafted: int
    accepted: int
    batch_size: float | None
    """Mean number of calls that a decode step drew a token for."""
    prefill_speed: float | None
    decode_speed: float | None
    prefill_share: float | None = None
    """Share of the speed that was measured with an empty cache when the model was loaded."""
    decode_share: float | None = None


class Format(_Figures):
    """Which of the main threads' texts keep to their wire format, where that has a checker."""

    checked: int
    correct: int
    share: float
    repairs: int
    """Repairs of the engine to all that threads wrote."""
    problems: dict[str, int]
    """In how many texts something is wrong, by what it is, the most frequent first."""


class Summary(_Figures):
    """The figures of a run, or of one variant of it."""

    suite: str
    method: str
    model: str
    variant: str
    branches: int | None
    """Branches of each question; None for none."""
    watch: Mapping[str, Mapping[str, Any]]
    """The settings of watchers that were given, by the watchers' names."""
    metric: str
    tasks: int
    epochs: int
    episodes: int
    """Number of all episodes, failures of the infrastructure included."""
    planned: int | None
    """Episodes of the complete run; None where that is not known beforehand."""
    judged: int
    successes: int
    success_rate: float | None
    interval: Interval | None
    standard_error: float | None
    """Of the mean success rate over epochs; None for one epoch."""
    score: float | None
    marks: dict[str, float]
    """Mean of each mark of answers."""
    categories: dict[str, Rate]
    tokens: Tokens
    local: LocalWork | None
    """None for models elsewhere, and without times."""
    tokens_per_success: float | None
    calls: Mean
    threads: Mean
    depth: Mean
    """Of the deepest thread of each episode; the main thread has depth 0."""
    depths: dict[int, int]
    """How many episodes went how deep."""
    critical_path: Mean
    """Token latency: generated tokens that had to be generated one after the other."""
    parallel: Parallel | None
    """None if no episode is left."""
    cost: float | None
    """US dollars; None where a price is unknown."""
    cost_per_success: float | None
    failures: dict[FailureClass, int]
    retried_calls: int
    retried_episodes: int
    """How often an episode was begun again after a failure of the infrastructure."""
    pruned_threads: int
    """Threads that watchers pruned."""
    stopped_episodes: int
    """Episodes that watchers ended."""
    format: Format | None
    """None where nothing checks the wire format."""
    seconds: float | None
    """Sum of the wall times of all episodes; None where times are left out."""
    published: tuple[Published, ...]


def read_run(path: Path) -> Run:
    """A run's folder.

    Raises:
        UserError: it is not the folder of a bench run, cannot be read, or holds no result yet.
    """
    journal, plan = Journal.opened(path)
    results = sorted(map(journal.read, journal.keys()), key=_place(plan.suite))
    if not results:
        raise UserError(f"{path} holds no results yet: run the bench first, or wait for an episode to end")
    ways = {"": ways_of(plan), **{variant.name: ways_of(plan, variant) for variant in plan.suite.variants}}
    return Run(path, plan.suite, plan.method, plan.model, tuple(results), plan.episodes, ways)


def summarise(run: Run, *, variant: str = "", times: bool = True) -> Summary:
    """Sum up a run, or the results of one variant where the suite has variants.

    Args:
        run: the run, or one variant of it.
        variant: the variant's name, for the summary.
        times: False leaves out measured times, so that the same results give the same summary.
    """
    results = run.results
    counted = [result for result in results if result.failure is not FailureClass.infrastructure]
    overall = rate(results)
    tokens = _tokens(results)
    cost = _cost(results)
    return Summary(
        suite=run.suite.name,
        method=run.method,
        model=run.model,
        variant=variant,
        branches=run.ways[""].branches,
        watch=run.ways[""].watch,
        metric=run.suite.metric,
        tasks=len({_task(result) for result in results}),
        epochs=len({result.epoch for result in results}),
        episodes=len(results),
        planned=run.planned,
        judged=overall.episodes,
        successes=overall.successes,
        success_rate=overall.success_rate,
        interval=overall.interval,
        standard_error=_over_epochs(results),
        score=overall.score,
        marks=_marks(counted),
        categories={name: rate(group) for name, group in by_category(run).items()},
        tokens=tokens,
        local=_local(results) if times else None,
        tokens_per_success=tokens.total / overall.successes if overall.successes else None,
        calls=_mean([result.totals.calls for result in counted]),
        threads=_mean([result.totals.threads for result in counted]),
        depth=_mean([result.totals.depth for result in counted]),
        depths=dict(sorted(Counter(result.totals.depth for result in counted).items())),
        critical_path=_mean([result.totals.token_latency for result in counted]),
        parallel=gained([result.totals for result in counted], times=times),
        cost=cost,
        cost_per_success=cost / overall.successes if cost is not None and overall.successes else None,
        failures={kind: sum(result.failure is kind for result in results) for kind in FailureClass},
        retried_calls=sum(result.totals.retries for result in results),
        retried_episodes=sum(result.attempts - 1 for result in results),
        pruned_threads=sum(result.pruned for result in results),
        stopped_episodes=sum(result.stopped for result in results),
        format=_format(counted),
        seconds=math.fsum(result.seconds for result in results) if times else None,
        published=run.suite.published,
    )


def rate(results: Iterable[Result]) -> Rate:
    """The success rate of episodes."""
    judged = [result for result in results if _judged(result)]
    if not judged:
        return Rate(episodes=0, successes=0, success_rate=None, interval=None, score=None)
    successes = sum(result.solved for result in judged)
    success_rate = successes / len(judged)
    trials = len({(*_task(result), result.variant) for result in judged})
    return Rate(
        episodes=len(judged),
        successes=successes,
        success_rate=success_rate,
        interval=wilson(success_rate * trials if successes < len(judged) else trials, trials),
        score=math.fsum(result.reward or 0.0 for result in judged) / len(judged),
    )


def by_category(run: Run) -> dict[str, list[Result]]:
    """The results of each category of tasks, by name; the environment is part of it where there are several."""
    several = len({result.environment for result in run.results}) > 1
    groups: dict[str, list[Result]] = {}
    for result in run.results:
        name = result.category or "all tasks"
        groups.setdefault(f"{result.environment}: {name}" if several else name, []).append(result)
    return {name: groups[name] for name in sorted(groups, key=_natural)}


def compare(one: Run, other: Run) -> tuple[int, Difference] | None:
    """The mean of `one` minus that of `other`, in the suite's metric, on the tasks that were judged in both.

    Returns the number of those tasks with the difference; None where there are none.
    """
    mine, theirs = (_by_task(run, one.suite.metric) for run in (one, other))
    shared = [task for task in mine if task in theirs]
    if not shared:
        return None
    return len(shared), paired_bootstrap([mine[task] - theirs[task] for task in shared])


# --- reading


def _place(suite: Suite) -> Any:
    """Sorting key of a result: part of the suite, task, variant, epoch."""
    parts = {(part.environment, part.split): number for number, part in reversed(list(enumerate(suite.parts)))}
    variants = {variant.name: number for number, variant in enumerate(suite.variants)}

    def place(result: Result) -> tuple[Any, ...]:
        part = parts.get((result.environment, result.split), len(parts))
        return part, _natural(result.task), variants.get(result.variant, 0), result.epoch, result.key

    return place


def _natural(text: str) -> tuple[tuple[bool, int, str], ...]:
    """Order in which numbers within names count as numbers: depth 2 before depth 10."""
    pieces: list[str] = []
    for char in text:
        if pieces and pieces[-1][-1:].isdecimal() == char.isdecimal():
            pieces[-1] += char
        else:
            pieces.append(char)
    return tuple((not piece.isdecimal(), int(piece) if piece.isdecimal() else 0, piece) for piece in pieces)


# --- summing up


def _judged(result: Result) -> bool:
    return result.failure is not FailureClass.infrastructure and result.status is not Status.answered


def _task(result: Result) -> tuple[str, str, str, str]:
    return result.environment, result.split, result.task, result.text


def _by_task(run: Run, metric: str) -> dict[tuple[str, str, str, str], float]:
    """Mean of each task over its epochs."""
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for result in filter(_judged, run.results):
        value = (result.reward or 0.0) if metric == "reward" else float(result.solved)
        values.setdefault(_task(result), []).append(value)
    return {task: math.fsum(several) / len(several) for task, several in values.items()}


def _over_epochs(results: Sequence[Result]) -> float | None:
    epochs = sorted({result.epoch for result in results})
    rates = [rate(result for result in results if result.epoch == epoch).success_rate for epoch in epochs]
    return standard_error([value for value in rates if value is not None])


def _marks(counted: Sequence[Result]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for result in counted:
        for name, mark in result.marks.items():
            values.setdefault(name, []).append(mark)
    return {name: math.fsum(values[name]) / len(values[name]) for name in sorted(values)}


def _tokens(results: Sequence[Result]) -> Tokens:
    totals = [result.totals for result in results]
    prompt, generated = sum(each.prompt_tokens for each in totals), sum(each.generated_tokens for each in totals)
    return Tokens(
        total=prompt + generated,
        prompt=prompt,
        cached=sum(each.cached_tokens for each in totals),
        repeated=sum(each.repeated_tokens for each in totals),
        generated=generated,
        estimated=any(each.estimated for each in totals),
        cached_known=all(each.cached_known for each in totals),
    )


def _local(results: Sequence[Result]) -> LocalWork | None:
    made = [result.totals.local for result in results if result.totals.local is not None]
    if not made:
        return None
    local, tokens = sum(made, Local()), _tokens(results)
    return LocalWork(
        prefilled=tokens.prompt - tokens.cached,
        drafted=local.drafted,
        accepted=local.accepted,
        batch_size=local.batch_sizes / local.steps if local.steps else None,
        prefill_speed=(tokens.prompt - tokens.cached) / local.prefill_seconds if local.prefill_seconds else None,
        decode_speed=tokens.generated / local.decode_seconds if local.decode_seconds else None,
        prefill_share=local.prefill_floor / local.prefill_seconds if local.prefill_floor else None,
        decode_share=local.decode_floor / local.decode_seconds if local.decode_floor else None,
    )


def _format(counted: Sequence[Result]) -> Format | None:
    checked = [result for result in counted if result.format_correct is not None]
    if not checked:
        return None
    correct = sum(result.format_correct is True for result in checked)
    problems = Counter(problem for result in checked for problem in result.format_problems)
    return Format(
        checked=len(checked),
        correct=correct,
        share=correct / len(checked),
        repairs=sum(result.totals.repairs for result in checked),
        problems=dict(sorted(problems.items(), key=lambda each: (-each[1], each[0]))),
    )


def _cost(results: Sequence[Result]) -> float | None:
    """Cost of all episodes; an episode that called no model cost nothing."""
    costs = [0.0 if not result.totals.calls else result.totals.cost for result in results]
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None


def _mean(values: Sequence[int]) -> Mean:
    return Mean(mean=sum(values) / len(values) if values else None, max=max(values, default=None))
