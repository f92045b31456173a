"""Draws what each thread of an episode cost, alone and with all threads below it: a line per thread, as in the tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.text import Text

from thread_cli.display.layout import UNICODE, Glyphs, ThreadRow, lay_out
from thread_cli.display.render import guide_cells, render_label, render_names
from thread_cli.display.text import brief, compact, dollars

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.display.state import TreeState
    from thread_cli.record.costs import Cost, Spent

__all__ = ["render_costs"]

_WIDE: Final = 120  # columns of the terminal, from which on numbers are written out
_NARROWEST: Final = 40
_NOTES: Final = (
    "tokens: prompt and generated; time: of model calls and actions, which may pass at once below a thread;",
    "share: of the episode's tokens",
)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths of the columns of one thread, in cells. `cost` is 0 where no price is known and there is no room."""

    calls: int
    tokens: int
    time: int
    cost: int
    wide: bool

    @property
    def all(self) -> int:
        return self.calls + self.tokens + self.time + self.cost

    def headings(self) -> str:
        return "calls".rjust(self.calls) + "tokens".rjust(self.tokens) + "time".rjust(self.time) + (
            "cost".rjust(self.cost) if self.cost else ""
        )  # fmt: skip

    def cells(self, spent: Spent) -> str:
        number = "{:,}".format if self.wide else compact
        return (
            number(spent.calls).rjust(self.calls)
            + number(spent.tokens).rjust(self.tokens)
            + brief(spent.seconds).rjust(self.time)
            + (dollars(spent.cost).rjust(self.cost) if self.cost else "")
        )


def render_costs(state: TreeState, costs: Mapping[str, Cost], width: int, *, glyphs: Glyphs = UNICODE) -> list[Text]:
    """The tree of threads with calls, tokens, time and cost of each, and of its subtree with its share of the tokens.

    Args:
        state: the tree.
        costs: by path, of the same events (`record/costs.py`).
        width: columns in terminal cells; no line is wider.
        glyphs: characters to draw with.
    """
    if state.main is None:
        return []
    width = max(width, _NARROWEST)
    everything = costs[state.main.path].subtree
    columns = _columns(width, priced=any(cost.own.cost for cost in costs.values()))
    share = 7
    room = max(width - 2 * columns.all - share, 8)
    lines = [
        _line(render_names(state, room, glyphs), room, "own".rjust(columns.all), "with all below".rjust(columns.all)),
        _line(Text(), room, columns.headings(), columns.headings(), "share".rjust(share)),
    ]
    for row in lay_out(state, (), None, glyphs, guide_cells(room)):
        if not isinstance(row, ThreadRow):
            continue
        cost = costs[row.thread.path]
        part = f"{cost.subtree.tokens / everything.tokens:.1%}" if everything.tokens else ""
        label = render_label(row, room - 1, glyphs)
        lines.append(_line(label, room, columns.cells(cost.own), columns.cells(cost.subtree), part.rjust(share)))
    for line in lines:
        line.truncate(width, overflow="crop")
    return [*lines, *(Text(note, "dim", no_wrap=True) for note in _notes(width))]


def _notes(width: int) -> list[str]:
    words, lines = " ".join(_NOTES).split(" "), [""]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _columns(width: int, *, priced: bool) -> _Columns:
    wide = width >= _WIDE
    cost = (10 if wide else 9) if priced or wide else 0
    return _Columns(7, 10, 8, cost, wide) if wide else _Columns(6, 7, 7, cost, wide)


def _line(label: Text, room: int, *cells: str) -> Text:
    line = label.copy()
    line.append(" " * (room - line.cell_len))
    for place, cell in enumerate(cells):
        line.append(cell, "dim" if place == 0 else "not dim")
    return line
