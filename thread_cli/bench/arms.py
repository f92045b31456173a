"""The arms of a comparison: runs, or variants of runs, under names that tell them apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from thread_cli.bench.report import summarise
from thread_cli.display.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.bench.report import Run, Summary

__all__ = ["Arm", "arms_of", "title_of"]

_FOLDERS: Final = re.compile(r"^((?:faulty:[^+]*\+)?(?:llama|scripted|replay):).*/(?=.)")


@dataclass(frozen=True, slots=True)
class Arm:
    """One column of a comparison: a run, or one variant of it."""

    label: str
    run: Run
    summary: Summary


def arms_of(runs: Sequence[Run], *, times: bool = True) -> list[Arm]:
    """The arms that a report compares: each run, or each of its variants, under a name of its own."""
    parts: list[tuple[Run, str]] = []
    for run in runs:
        parts += [(run.variant(name), name) for name in run.variants] or [(run, "")]
    suites = len({run.suite.name for run in runs}) > 1
    whole = {(part.method, part.model) for part, _ in parts}, {tuple(run.ways[""].words) for run in runs}
    alike = all(name for _, name in parts) and all(len(each) == 1 for each in whole)
    labels: list[str] = []
    for part, variant in parts:
        who = [] if alike else [part.method, _brief(part.model), *part.ways[""].words]
        names = [part.suite.name if suites else "", *who, variant]
        labels.append(" · ".join(clean(name) for name in names if name))
    doubled = {label for label in labels if labels.count(label) > 1}
    labels = [
        f"{label} ({clean(part.path.name)})" if label in doubled else label
        for label, (part, _) in zip(labels, parts, strict=True)
    ]
    return [
        Arm(label, part, summarise(part, variant=variant, times=times))
        for label, (part, variant) in zip(_numbered(labels), parts, strict=True)
    ]


def title_of(arms: Sequence[Arm]) -> str:
    """The title of a report: the suites; and method and model, and branches and watchers, if all arms have the same."""
    who = {(arm.summary.method, _brief(arm.summary.model)) for arm in arms}
    ways = {tuple(arm.run.ways[""].words) for arm in arms}
    names = [", ".join(dict.fromkeys(arm.summary.suite for arm in arms))]
    names += [name for each in (who, ways) if len(each) == 1 for name in each.pop()]
    return clean(" · ".join(names))


def _brief(model: str) -> str:
    """A short name of a model: a file without its folders."""
    return _FOLDERS.sub(r"\1", model)


def _numbered(labels: Sequence[str]) -> list[str]:
    """Labels that are all different."""
    return [
        f"{label} #{labels[:place].count(label) + 1}" if labels.count(label) > 1 else label
        for place, label in enumerate(labels)
    ]
