"""Nothing in the house of `thread_cli` imports upwards, nor sideways but by the arrows that are listed; types count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "thread_cli"
FLOORS = [
    {"contracts"},
    {"distribution", "supervision"},
    {"protocols", "display", "record"},
    {"engine", "models", "environments", "interpreters"},
    {"assembly"},
    {"bench", "train", "serve", "conformance"},
    {"cli"},
    {"__init__", "__main__"},
]
"""Rooms, from the ground up."""
SIDEWAYS = {("train", "bench"), ("display", "record")}
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def test_nothing_imports_upwards_or_sideways() -> None:
    arrows = {(room(path), arrow) for path in HOUSE.rglob("*.py") for arrow in imported(path) if arrow != room(path)}
    assert {each for arrow in arrows for each in arrow} == FLOOR.keys()
    assert [arrow for arrow in sorted(arrows - SIDEWAYS) if FLOOR[arrow[0]] <= FLOOR[arrow[1]]] == []


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Rooms that a file imports from, wherever in it; a name of the package itself is one of its top floor's."""
    package = ["thread_cli", *path.relative_to(HOUSE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if isinstance(node, ast.ImportFrom) and node.level else []
            module = [".".join([*above, *filter(None, [node.module])])] if isinstance(node, ast.ImportFrom) else [""]
            for name in node.names:
                parts = [*filter(None, f"{module[0]}.{name.name}".split("."))]
                if parts[0] == "thread_cli" and len(parts) > 1:
                    yield parts[1] if (HOUSE / parts[1]).is_dir() or (HOUSE / f"{parts[1]}.py").exists() else "__init__"
