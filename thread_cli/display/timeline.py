"""Draws the timeline of an episode: a row for each thread, with what it did in each stretch of time.

Stretches differ by character, so that the picture is the same without colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.text import Text

from thread_cli.display.layout import ASCII, UNICODE, Glyphs, ThreadRow, lay_out
from thread_cli.display.render import guide_cells, render_label, render_names
from thread_cli.display.text import brief
from thread_cli.record.timeline import Doing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.display.state import TreeState
    from thread_cli.record.timeline import Line, Timeline

__all__ = ["render_timeline"]

_NARROWEST: Final = 40
_MARKS: Final = {Doing.model: "█", Doing.action: "▒", Doing.waiting: "·", Doing.other: "─"}
_ASCII_MARKS: Final = {Doing.model: "#", Doing.action: "=", Doing.waiting: ".", Doing.other: "-"}
_STYLES: Final = {Doing.model: "cyan", Doing.action: "yellow", Doing.waiting: "blue", Doing.other: "dim"}
_WORDS: Final = {
    Doing.model: "model call",
    Doing.action: "action",
    Doing.waiting: "waiting",
    Doing.other: "engine or Python",
}
_TICK: Final = 10  # cells, the least between two times of the axis


def render_timeline(state: TreeState, timeline: Timeline, width: int, *, glyphs: Glyphs = UNICODE) -> list[Text]:
    """The rows of all threads in the order of the tree, below an axis in seconds, and the key to their characters.

    Each cell shows what its thread did for the longest part of that time.

    Args:
        state: the tree.
        timeline: of the same events (`record/timeline.py`).
        width: columns in terminal cells; no line is wider.
        glyphs: characters to draw with.
    """
    width = max(width, _NARROWEST)
    room = max(width * 3 // 10, 16)
    cells = width - room
    marks = _ASCII_MARKS if glyphs is ASCII else _MARKS
    head = render_names(state, room, glyphs)
    head.append(" " * (room - head.cell_len)).append(_axis(timeline.seconds, cells), "dim")
    lines = [head]
    for row in lay_out(state, (), None, glyphs, guide_cells(room)):
        if isinstance(row, ThreadRow):
            line = render_label(row, room - 1, glyphs)
            line.append(" " * (room - line.cell_len))
            lines.append(_drawn(line, timeline.lines[row.thread.path], timeline.seconds, cells, marks))
    return [*lines, *_key(marks, width)]


def _drawn(text: Text, line: Line, seconds: float, cells: int, marks: dict[Doing, str]) -> Text:
    shown = _cells(line, seconds, cells)
    begun = 0
    for place in range(1, len(shown) + 1):
        if place == len(shown) or shown[place] is not shown[begun]:
            doing = shown[begun]
            mark, style = (" ", "") if doing is None else (marks[doing], _STYLES[doing])
            text.append(mark * (place - begun), f"not dim {style}" if style != "dim" else style)
            begun = place
    text.rstrip()
    return text


def _cells(line: Line, seconds: float, cells: int) -> list[Doing | None]:
    """What the thread did in each cell for the longest time; None where it did not live.

    A thread that lived at all has a cell.
    """
    scale = cells / seconds if seconds else 0.0
    longest = [0.0] * cells
    shown: list[Doing | None] = [None] * cells
    shares: dict[Doing, float] = {}
    at = -1  # the cell that `shares` are of
    for span in line.spans:
        start, end = span.start * scale, span.end * scale
        for cell in range(min(int(start), cells - 1), min(int(end), cells - 1) + 1):
            if cell != at:
                shares, at = {}, cell
            shares[span.doing] = shares.get(span.doing, 0.0) + min(end, cell + 1) - max(start, cell)
            if shares[span.doing] > longest[cell]:
                longest[cell], shown[cell] = shares[span.doing], span.doing
    first = min(int(line.start * scale), cells - 1)
    if not any(shown):
        shown[first] = Doing.other
    return shown


def _axis(seconds: float, cells: int) -> str:
    """Times at equal distances, each at its cell; the end of the episode at the last one."""
    ticks = max(cells // (2 * _TICK), 1)
    axis = ""
    for tick in range(ticks):
        at = tick * cells // ticks
        axis = axis.ljust(at) + "|" + brief(seconds * at / cells)
    last = brief(seconds) + "|"
    if len(axis) + len(last) < cells:
        axis = axis.ljust(cells - len(last)) + last
    return axis[:cells]


def _key(marks: dict[Doing, str], width: int) -> Iterable[Text]:
    lines = [Text(no_wrap=True)]
    for doing, words in _WORDS.items():
        item = f"{marks[doing]} {words}"
        if lines[-1] and lines[-1].cell_len + cell_len(item) + 3 > width:
            lines.append(Text(no_wrap=True))
        lines[-1].append("   " if lines[-1] else "").append(marks[doing], _STYLES[doing]).append(f" {words}", "dim")
    return lines
