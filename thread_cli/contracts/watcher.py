"""The contract between the engine and a watcher, which sees an episode as it goes, and may end threads or the episode
early.

Watchers of other distributions are found through the entry-point group `thread_cli.watchers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Piece

__all__ = ["Watched", "Watcher"]


class Watched(Protocol):
    """The episode, as a watcher may act on it. Where the watcher does nothing, all threads go on."""

    def prune(self, thread: str, reason: str) -> bool:
        """End a thread, by its path, with all below it. Its parent reads why, and goes on.

        Returns False where there is nothing to end: no such thread lives, it is ending, or it is the main thread.
        """
        ...

    def stop(self, reason: str, answer: str | None = None) -> None:
        """End the episode. `answer` is its answer; None: the result that the main thread would have returned so far."""
        ...


class Watcher(Protocol):
    """One watcher of one episode at a time. All calls come on the engine's event loop, and must return quickly.

    Its constructor takes only keyword arguments, all optional. An exception ends the episode as a fault of the engine.
    """

    def begin(self, episode: Watched) -> None:
        """An episode begins."""
        ...

    def see(self, event: Event) -> None:
        """An event of the episode, as sinks get it."""
        ...

    def hear(self, thread: str, piece: Piece) -> None:
        """A piece of text that a thread has just written, if the model streams; an event has the full text later."""
        ...
