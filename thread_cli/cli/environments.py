"""`thread envs`: which environments there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.cli.listing import print_table
from thread_cli.environments.registry import installed

if TYPE_CHECKING:
    from thread_cli.environments.registry import Installed

__all__ = ["environments"]


def environments() -> None:
    """List the environments, their sets of tasks, and what is missing."""
    rows = [
        (found.name if place == 0 else "", split, about, _state(found) if place == 0 else "")
        for found in installed()
        for place, (split, about) in enumerate(found.adapter.splits.items())
    ]
    print_table(("environment", "tasks", "what they are", "installed"), rows)


def _state(found: Installed) -> str:
    return f"no: {found.remedy}" if found.missing else "yes"
