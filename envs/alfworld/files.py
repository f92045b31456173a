"""Where ALFWorld's games lie: `json_2.1.1/{split}/{type}-{thing}-…/{trial}/game.tw-pddl` below a data folder."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import UserError
from thread_cli.environments.lazy import LazyTasks
from thread_envs.alfworld.reading import CATEGORIES, goal_of, read_game

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["GAME", "data_folder", "file_task", "find_game", "games_of"]

GAME: Final = "game.tw-pddl"
_SOLVABLE: Final = re.compile(rb'"solvable": *(true|false|null)')
_TAIL: Final = 16_384  # bytes


def data_folder(option: str | None) -> Path:
    """The data folder: as asked for, else `$ALFWORLD_DATA`, else where `alfworld` itself keeps it.

    Raises:
        UserError: it is said to be in a home that there is not.
    """
    named = option or os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld"
    try:
        return Path(named).expanduser()
    except RuntimeError:
        raise UserError(
            f"ALFWorld's data folder {named}: there is no such home; name another with $ALFWORLD_DATA"
        ) from None


def games_of(folder: Path, split: str) -> LazyTasks:
    """The tasks of a split, by the names of the games' folders; a game is read when its task is asked for.

    Those that ALFWorld leaves out are left out: games with slicing or with things inside things, and unsolvable ones.

    Raises:
        UserError: there are none.
    """
    found = next((base / split for base in _bases(folder) if (base / split).is_dir()), None)
    files = list(_files(found)) if found else []
    if not files:
        raise UserError(f"ALFWorld's {split} games are not below {folder}: run `thread envs setup alfworld`")
    return LazyTasks(range(len(files)), lambda place: file_task(files[place], split))


def find_game(folder: Path, splits: Sequence[str], name: str) -> tuple[Path, str] | None:
    """The file of the game of that name, `type-thing-…/trial`, and its split; or the game at that path."""
    for file in (Path(name), Path(name) / GAME):
        if _is_file(file):
            return file.resolve(), ""
    if re.fullmatch(r"[\w.+-]+/trial_\w+", name):
        for split in splits:
            for base in _bases(folder):
                if (file := base / split / name / GAME).is_file():
                    return file, split
    return None


def file_task(file: Path, split: str = "") -> Task:
    """The task that a game file holds: of a split by its content, else by its path. UserError where it holds none."""
    goal = goal_of(read_game(file))
    official = file.name == GAME and file.parts[-3:-1] and file.parts[-2].startswith("trial_")
    name = "/".join(file.parts[-3:-1]) if official else str(file)
    if not split:
        return Task(name, goal.sentence, split, goal.category, {"file": str(file)})
    with file.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256").hexdigest()
    return Task(name, goal.sentence, split, goal.category, {"sha256": content})


def _bases(folder: Path) -> list[Path]:
    return [folder / "json_2.1.1", folder / "json_2.1.2", folder]


def _files(split: Path) -> Iterator[Path]:
    for kind in _folders(split):
        played = kind.name.partition("-")[0] in CATEGORIES.values()
        if not played or "Sliced" in kind.name or "movable" in kind.name:
            continue
        for trial in _folders(kind):
            file = trial / GAME
            if file.is_file() and _solvable(file):
                yield file


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, say
        return False


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [folder / name for name in sorted(entry.name for entry in entries if entry.is_dir())]


def _solvable(file: Path) -> bool:
    """Whether ALFWorld found the game to be solvable; it says so at the end of the file."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _TAIL))
        said = _SOLVABLE.search(opened.read()) or _SOLVABLE.search(file.read_bytes())
    return said is not None and said[1] == b"true"
