"""Writes the tables of a report as text, Markdown or LaTeX.

A cell's content stays text: each format escapes its special characters, and control characters are left out.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, chop_cells

from thread_cli.display.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Table", "as_latex", "as_markdown", "as_text", "terminal_width"]

_GAP: Final = 2
_NARROWEST: Final = 20
_LATEX: Final = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "\u2013": "--", "ψ": r"$\psi$"}
    | {"ϕ": r"$\phi$", "±": r"$\pm$", "\u2212": "$-$", "<": r"$<$", ">": r"$>$", "·": r"$\cdot$", "|": r"\textbar{}"}
    # A row that begins with one of these would be read as an argument of the `\\` before it.
    | {"[": "{[}", "*": "{*}"}
    | {"⏎": r"$\hookleftarrow$"}
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text. The first column is set to the left, the others to the right."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def terminal_width() -> int | None:
    """Columns of the terminal that is printed to; None where it is a file or a pipe."""
    return max(_NARROWEST, get_terminal_size().columns) if sys.stdout.isatty() else None


def as_text(table: Table, width: int | None = None) -> str:
    """For a terminal or a file; columns are aligned by the cells that a terminal gives them.

    A table that is wider than `width` has its first column folded, and goes on below itself with that column again.
    """
    grid = [table.headings, *table.rows]
    widths = [max(cell_len(row[column]) for row in grid) for column in range(len(table.headings))]
    if width is not None and sum(widths) + _GAP * (len(widths) - 1) > width:
        widths[0] = max(cell_len(line) for row in grid for line in _folded(row[0], width * 2 // 5))
    lines = _folded(table.title, width)
    for columns in _blocks(widths, width):
        lines += ["", *_block(grid, columns, widths)]
    lines += [line for note in table.notes for line in _folded(note, width)]
    return "\n".join(lines) + "\n"


def as_markdown(table: Table) -> str:
    """A table of GitHub's dialect."""
    rows = ["| " + " | ".join(map(_markdown, row)) + " |" for row in (table.headings, *table.rows)]
    rows.insert(1, "|---|" + "---:|" * (len(table.headings) - 1))
    notes = [text for note in table.notes for text in ("", _markdown(note))]
    return "\n".join([f"### {_markdown(table.title)}", "", *rows, *notes]) + "\n"


def as_latex(table: Table) -> str:
    """A floating table; it needs the package `booktabs`."""
    rows = [" & ".join(map(_latex, row)) + r" \\" for row in table.rows]
    caption = _latex(table.title) + "".join(f". {_latex(note.rstrip('.'))}" for note in table.notes)
    columns = "l" + "r" * (len(table.headings) - 1)
    head = " & ".join(map(_latex, table.headings)) + r" \\"
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}.}}", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _blocks(widths: Sequence[int], width: int | None) -> Iterator[list[int]]:
    """The columns that stand side by side: after the first as many as fit, at least one."""
    columns: list[int] = []
    for column in range(1, len(widths)):
        wide = sum(widths[each] + _GAP for each in (*columns, column)) + widths[0]
        if width is not None and columns and wide > width:
            yield [0, *columns]
            columns = []
        columns.append(column)
    yield [0, *columns]


def _block(grid: Sequence[Sequence[str]], columns: Sequence[int], widths: Sequence[int]) -> list[str]:
    """Headings, a line, and the rows of some columns; in a continued table only rows with content in them."""
    lines: list[str] = []
    filled = [row for row in grid if columns[1] == 1 or any(row[column] for column in columns[1:])]
    for row in filled:
        label, *more = _folded(row[0], widths[0])
        cells = [_padded(label, widths[0]), *(_padded(row[column], -widths[column]) for column in columns[1:])]
        lines += [(" " * _GAP).join(cells).rstrip(), *more]
        if row is grid[0]:
            lines.append("─" * (sum(widths[column] for column in columns) + _GAP * (len(columns) - 1)))
    return lines


def _folded(text: str, width: int | None) -> list[str]:
    """Text in lines of at most `width` cells, those after the first one indented; broken at blanks where it can be."""
    if width is None or cell_len(text) <= width:
        return [text]
    lines: list[str] = []
    for piece in (piece for word in text.split(" ") for piece in chop_cells(word, width - _GAP)):
        if lines and cell_len(f"{lines[-1]} {piece}") < width:
            lines[-1] += f" {piece}"
        else:
            lines.append(" " * (_GAP if lines else 0) + piece)
    return lines


def _padded(cell: str, width: int) -> str:
    """A cell at the left of `width`, or at the right where it is negative."""
    blanks = " " * (abs(width) - cell_len(cell))
    return cell + blanks if width > 0 else blanks + cell


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|<>#&$~])", r"\\\1", clean(text))


def _latex(text: str) -> str:
    return clean(text).translate(_LATEX)
