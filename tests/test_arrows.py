"""Nothing in the house of `thread_cli` imports upwards, nor sideways but by the arrows that are listed; types count too.

Nor do modules import each other in a circle, wherever they stand.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "thread_cli"
FLOORS = [
    {"contracts"},
    {"distribution", "files", "supervision"},
    {"protocols", "display", "record"},
    {"engine", "models", "environments", "interpreters", "watchers"},
    {"assembly"},
    {"bench", "train", "serve", "conformance"},
    {"cli"},
    {"__init__", "__main__"},
]
"""Rooms, from the ground up."""
SIDEWAYS = {("train", "bench"), ("display", "record")}
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def test_nothing_imports_upwards_or_sideways() -> None:
    pairs = {(room(here), room(there)) for here in modules() for there in imported(here)}
    arrows = {(here, there) for here, there in pairs if here != there}
    assert {each for arrow in arrows for each in arrow} == FLOOR.keys()
    assert [arrow for arrow in sorted(arrows - SIDEWAYS) if FLOOR[arrow[0]] <= FLOOR[arrow[1]]] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {str(here): {str(there) for there in imported(here) if there != here} for here in modules()}
    while free := {here for here, wanted in left.items() if not wanted}:
        left = {here: wanted - free for here, wanted in left.items() if here not in free}
    assert left == {}, "these import each other, or what does"


def test_the_contracts_are_short() -> None:
    count = 0
    for file in sorted((HOUSE / "contracts").glob("*.py")):
        source = file.read_text("utf-8")
        docstrings: set[int] = set()
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                docstrings |= {*range(node.lineno, (node.end_lineno or 0) + 1)}
        count += len(source.splitlines()) - len(docstrings)
    assert count < 1200


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[Path]:
    """Modules of ours that a file imports, wherever in it; a package's own names are those of its `__init__.py`."""
    package = ["thread_cli", *path.relative_to(HOUSE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if isinstance(node, ast.ImportFrom) and node.level else []
            module = [".".join([*above, *filter(None, [node.module])])] if isinstance(node, ast.ImportFrom) else [""]
            for name in node.names:
                parts = [*filter(None, f"{module[0]}.{name.name}".split("."))]
                if parts[0] == "thread_cli" and len(parts) > 1:
                    yield file_of(HOUSE.joinpath(*parts[1:]))


def file_of(module: Path) -> Path:
    """The file of a module, or of the one that a name stands in."""
    if module.is_dir():
        return module / "__init__.py"
    return file if (file := module.with_suffix(".py")).exists() else file_of(module.parent)
