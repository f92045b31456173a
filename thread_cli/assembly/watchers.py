"""Finds watchers in the entry-point group `thread_cli.watchers`."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, cast

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from thread_cli.contracts.watcher import Watcher

__all__ = ["open_watcher"]

_GROUP: Final = "thread_cli.watchers"


def open_watcher(name: str) -> Watcher:
    """A new watcher of that name.

    Raises:
        UserError: there is none, or its constructor fails.
    """
    points = entry_points(group=_GROUP)
    if name not in points.names:
        known = ", ".join(sorted(points.names)) or "none installed"
        raise UserError(f"there is no watcher {name!r}; there are {known}")
    try:
        return cast("Watcher", points[name].load()())
    except Exception as error:
        raise UserError(f"the watcher {name} cannot be used: {type(error).__name__}: {error}") from error
