"""The installed distribution: its name, the commands that install what an extra brings, and where it keeps files."""

from __future__ import annotations

import os
import re
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from thread_cli.contracts.errors import UserError

__all__ = ["NAME", "at_home", "cache_folder", "remedy", "requirement"]

NAME: Final = "thread-runner"
"""Name of the distribution on package registries; the import package is `thread_cli`."""


def remedy(extra: str) -> str:
    """The command that installs the packages of an extra, without asking any registry for this distribution."""
    marked = [requirement.partition(";") for requirement in requires(NAME) or []]
    wanted = [name.strip() for name, _, marker in marked if re.search(rf"extra == ['\"]{extra}['\"]", marker)]
    return "pip install " + " ".join(f"'{name}'" for name in wanted)


def requirement(package: str) -> str:
    """A package with the versions that this distribution wants of it, if it wants any."""
    for wanted in requires(NAME) or []:
        if re.match(rf"{re.escape(package)}\b(?!-)", wanted, re.IGNORECASE):
            return wanted.partition(";")[0].strip()
    return package


def at_home(path: Path) -> Path:
    """`path` with the user's home put in, if there is one."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def cache_folder() -> Path:
    """Where files that can be made again are kept: $THREAD_CACHE, else `thread-runner` in the user's cache folder.

    Raises:
        UserError: there is no such folder, as this user has no home.
    """
    own = os.environ.get("THREAD_CACHE")
    folder = at_home(Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", NAME))
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise UserError(
            f"{folder} is no place for files, as there is no such home folder: set THREAD_CACHE to a folder"
        )
    return folder
