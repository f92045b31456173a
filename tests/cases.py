"""The cases of what threads compute: the pieces in `pieces.py`, and those in the files in `cases/`.

A line `---` stands between cases, `===` between the pieces of code of a thread, `>>>` where it spawns a child, whose
pieces follow up to `<<<`, or to `<<=` where its parent reads the child's names after the join.
"""

from __future__ import annotations

from pathlib import Path

from pieces import PIECES

FORK, BACK, JOIN = ">>>", "<<<", "<<="


def _read(file: Path) -> list[list[str]]:
    """For each case its pieces, with the marks of children among them."""
    text = file.read_text(encoding="utf-8")
    return [_pieces(case) for case in text.removesuffix("\n").split("\n---\n")]


def _pieces(case: str) -> list[str]:
    pieces: list[str] = []
    lines: list[str] = []
    for line in [*case.split("\n"), "==="]:
        if line in ("===", FORK, BACK, JOIN):
            pieces += ["\n".join(lines)] if lines else []
            pieces += [line] if line != "===" else []
            lines = []
        else:
            lines.append(line)
    return pieces


FILES = sorted(Path(__file__).with_name("cases").glob("*.txt"))
TABLE = [[piece] for piece in PIECES] + [case for file in FILES for case in _read(file)]


def label(case: list[str]) -> str:
    """What a test of a case is called."""
    return case[0].replace("\n", " ")[:60]
