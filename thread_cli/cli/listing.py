"""Tables of installed things, and below them the commands that install missing ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["print_table"]

_NARROW = 70  # columns


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], remedies: Mapping[str, str] | None = None
) -> None:
    """Print rows under headings, none of it read as markup; then a command for each thing that is missing.

    Only the last column is wrapped; on a narrow terminal it stands below the others. Commands are printed whole, to be
    copied.
    """
    console = Console()
    if console.width < _NARROW:
        for *fixed, last in rows:
            console.print(Text("  ".join(fixed), "bold"), Padding(Text(last), (0, 0, 0, 2)), soft_wrap=False)
    else:
        console.print(_table(headings, rows))
    for name, command in (remedies or {}).items():
        print(f"\n{name} is missing something. To install it:\n  {command}")


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(heading, no_wrap=place < len(headings) - 1, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
