"""The installed distribution: its name, and the commands that install what an extra brings."""

from __future__ import annotations

import re
from importlib.metadata import requires
from typing import Final

__all__ = ["NAME", "remedy"]

NAME: Final = "thread-runner"


def remedy(extra: str) -> str:
    """The command that installs the packages of an extra, without asking any registry for this distribution."""
    marked = [requirement.partition(";") for requirement in requires(NAME) or []]
    wanted = [name.strip() for name, _, marker in marked if re.search(rf"extra == ['\"]{extra}['\"]", marker)]
    return "pip install " + " ".join(f"'{name}'" for name in wanted)
