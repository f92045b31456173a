"""The watchers of an episode: of the entry-point group `thread_cli.watchers`, and of a replay."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.events import Recorded
from thread_cli.contracts.watcher import Probes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.assembly.config import Config
    from thread_cli.contracts.model import Model
    from thread_cli.contracts.watcher import Watcher

__all__ = ["acting", "names", "open_watcher", "open_watchers", "probed"]

_GROUP: Final = "thread_cli.watchers"
_METHODS: Final = ("begin", "see", "hear")


@cache
def _found(path: tuple[str, ...]) -> EntryPoints:  # noqa: ARG001 - where packages are looked for
    """The entry points; looking them up reads a file of each package, and each episode of a bench run needs them."""
    return entry_points(group=_GROUP)


def _points() -> EntryPoints:
    return _found(tuple(sys.path))


def names() -> list[str]:
    """The names of all watchers that are installed."""
    return sorted(_points().names)


def open_watcher(name: str, settings: Mapping[str, Any] | None = None) -> Watcher:
    """A new watcher of that name. `settings` are keyword arguments of its constructor.

    Raises:
        UserError: there is none, its constructor fails, or what it makes is no watcher.
    """
    points = _points()
    if name not in points.names:
        raise UserError(f"there is no watcher {name!r}; there are {', '.join(names()) or 'none installed'}")
    try:
        watcher = cast("Watcher", points[name].load()(**(settings or {})))
    except Exception as error:
        raise UserError(f"the watcher {name} cannot be used: {type(error).__name__}: {error}") from error
    missing = [method for method in _METHODS if not callable(getattr(watcher, method, None))]
    if missing:
        raise UserError(f"the watcher {name} cannot be used: it has no method {missing[0]}")
    return watcher


def open_watchers(config: Config) -> list[Watcher]:
    """New watchers, as the configuration names and sets them.

    Raises:
        UserError: as `open_watcher`; a watcher is set that does not exist; or one that is named has nothing to watch.
    """
    if not config.watch and not config.watchers:
        return []  # most episodes are not watched
    if unknown := sorted(config.watchers.keys() - set(names())):
        raise UserError(f"watchers.{unknown[0]}: there is no such watcher; there are {', '.join(names())}")
    watchers = [open_watcher(name, config.watchers.get(name)) for name in config.watch]
    probing = [name for name, watcher in zip(config.watch, watchers, strict=True) if isinstance(watcher, Probes)]
    if len(probing) > 1:
        raise UserError(f"the watchers {probing[0]} and {probing[1]} both probe threads: only one watcher may")
    for name, watcher in zip(config.watch, watchers, strict=True):
        if isinstance(watcher, Probes) and watcher.branches and config.branches is None:
            raise UserError(f"the watcher {name} watches branches of one question: add --branches N")
    return watchers


def probed(model: Model, watchers: list[Watcher]) -> Model:
    """The model with which probes are put to threads, where one of the watchers has any."""
    watcher = next((watcher for watcher in watchers if isinstance(watcher, Probes)), None)
    if watcher is None:
        return model
    from thread_cli.models.probed import Probed  # loaded for probes alone

    return Probed(model, watcher)


def acting(model: Model, watchers: list[Watcher]) -> list[Watcher]:
    """The watchers that may end something: none in a replay, where the recording decides all ends."""
    return [] if isinstance(model, Recorded) else watchers
