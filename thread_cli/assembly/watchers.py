"""The watchers of an episode: of the entry-point group `thread_cli.watchers`, and of a replay."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, cast

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.model import Recorded

if TYPE_CHECKING:
    from thread_cli.contracts.model import Model
    from thread_cli.contracts.watcher import Watcher

__all__ = ["of_replay", "open_watcher"]

_GROUP: Final = "thread_cli.watchers"
_METHODS: Final = ("begin", "see", "hear")


def open_watcher(name: str) -> Watcher:
    """A new watcher of that name.

    Raises:
        UserError: there is none, its constructor fails, or what it makes is no watcher.
    """
    points = entry_points(group=_GROUP)
    if name not in points.names:
        known = ", ".join(sorted(points.names)) or "none installed"
        raise UserError(f"there is no watcher {name!r}; there are {known}")
    try:
        watcher = cast("Watcher", points[name].load()())
    except Exception as error:
        raise UserError(f"the watcher {name} cannot be used: {type(error).__name__}: {error}") from error
    missing = [method for method in _METHODS if not callable(getattr(watcher, method, None))]
    if missing:
        raise UserError(f"the watcher {name} cannot be used: it has no method {missing[0]}")
    return watcher


def of_replay(model: Model) -> list[Watcher]:
    """The watcher with which a replayed run's watchers end what they ended; none where they ended nothing."""
    if not isinstance(model, Recorded):
        return []
    from thread_cli.models.replay import ReplayModel

    return [model.ends] if isinstance(model, ReplayModel) and model.ends.any else []
