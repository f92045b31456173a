"""The watchers of an episode, and the handling of their failures."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import UserError, WatcherFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Piece
    from thread_cli.contracts.watcher import Watched, Watcher

__all__ = ["Watching"]


class Watching:
    """All watchers of one episode; as a sink, they see its events."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def begin(self, episode: Watched) -> None:
        """Begin all watchers. Raises UserError if one cannot begin."""
        try:
            for watcher in self._watchers:
                watcher.begin(episode)
        except Exception as error:
            raise UserError(f"a watcher cannot be used: {type(error).__name__}: {error}") from error

    def __call__(self, event: Event) -> None:
        with self._blamed():
            for watcher in self._watchers:
                watcher.see(event)

    def hearing(self, thread: str) -> Callable[[Piece], None]:
        """A function that takes the pieces that a thread writes."""

        def hear(piece: Piece) -> None:
            with self._blamed():
                for watcher in self._watchers:
                    watcher.hear(thread, piece)

        return hear

    @contextmanager
    def _blamed(self) -> Generator[None]:
        """Turn a watcher's exception into WatcherFailed. After the first one, no watcher is called any more."""
        try:
            yield
        except Exception as error:
            self._watchers = ()
            raise WatcherFailed(f"{type(error).__name__}: {error}") from error
