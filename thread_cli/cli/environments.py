"""`thread envs`: which environments there are."""

from __future__ import annotations

from thread_cli.cli.listing import print_table
from thread_cli.environments.registry import installed

__all__ = ["environments"]


def environments() -> None:
    """List the environments, their sets of tasks, and what is missing."""
    found = installed()
    rows = [
        (each.name if place == 0 else "", "" if place else "no" if each.missing else "yes", split, about)
        for each in found
        for place, (split, about) in enumerate(each.adapter.splits.items())
    ]
    remedies = {each.name: each.remedy for each in found if each.missing}
    print_table(("environment", "installed", "tasks", "what they are"), rows, remedies)
