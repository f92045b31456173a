"""Which targets a table of speeds holds. Pure: `formats.py` measures, this judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CELLS", "Table", "Target", "judged"]

CELLS = ("prefill", "one", "eight")
"""Prefill of a prompt, decoding by one thread, and by eight: tokens per second each."""
OLD_PREFILL, PEAK, FLOOR, SMALLER = 4.0, 0.80, 1.25, 1.5
LARGE = 1e9
"""Parameters from which decoding is held against its floor: the targets speak of the model with 1.5 billion."""


@dataclass
class Table:
    """What one model in one format has shown, in tokens per second: ours, each other contender's, and the floor's."""

    model: str
    format: str
    parameters: float
    amx: bool
    """Whether ours multiplied by AMX."""
    old: str
    """The contender that is the commit before all this."""
    ours: dict[str, float]
    others: dict[str, dict[str, float]]
    floor: dict[str, float]
    """In `prefill` what the int8 peak allows, in `one` what reading the weights allows."""
    left_out: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.model} {self.format}"

    def share(self) -> float:
        """Of the int8 peak, in prefill."""
        return self.ours["prefill"] / self.floor["prefill"]


@dataclass(frozen=True)
class Target:
    """A line for the end."""

    text: str
    held: bool

    def __str__(self) -> str:
        return f"{'held  ' if self.held else 'MISSED'}  {self.text}"


def judged(tables: list[Table]) -> list[Target]:
    """All targets, each for every cell that it speaks of. What could not be measured does not hold."""
    return [*(target for table in tables for target in _of_one(table)), *_of_sizes(tables)]


def _of_one(table: Table) -> Iterator[Target]:
    if table.amx:
        old = table.others.get(table.old)
        if old is None:
            yield Target(f"{table.name}, prefill against {table.old}: not measured", held=False)
        else:
            ratio = table.ours["prefill"] / old["prefill"]
            text = f"{table.name}, prefill with AMX: {ratio:.2f} times {table.old} (wanted {OLD_PREFILL:g})"
            yield Target(text, ratio >= OLD_PREFILL)
    else:
        text = f"{table.name}, prefill on VNNI: {table.share():.0%} of the int8 peak (wanted {PEAK:.0%})"
        yield Target(text, table.share() >= PEAK)
    if table.parameters >= LARGE:
        times = table.floor["one"] / table.ours["one"]
        text = f"{table.name}, decoding by one: {times:.2f} times its floor (wanted at most {FLOOR})"
        yield Target(text, times <= FLOOR)
    if not table.others:
        yield Target(f"{table.name}: no contender ran", held=False)
        return
    for cell in CELLS:
        best = max(table.others, key=lambda name: table.others[name][cell])
        ratio = table.ours[cell] / table.others[best][cell]
        text = f"{table.name}, {cell}: {ratio:.2f} times the best contender, {best} (wanted more than 1)"
        yield Target(text, ratio > 1)


def _of_sizes(tables: list[Table]) -> Iterator[Target]:
    found = {(table.model, table.format): table for table in tables if table.parameters >= LARGE}
    for (model, format_), table in found.items():
        wide = found.get((model, "q8_0"))
        if format_ == "q4_k_m" and wide is not None:
            ratio = table.ours["one"] / wide.ours["one"]
            text = f"{model}, decoding by one: q4_k_m {ratio:.2f} times as fast as q8_0 (wanted {SMALLER})"
            yield Target(text, ratio >= SMALLER)
