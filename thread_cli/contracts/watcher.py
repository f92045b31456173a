"""What a watcher is to the engine: it sees an episode as it goes, and may end threads, or all of it, early.

Watchers of other distributions are found through the entry-point group `thread_cli.watchers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Piece

__all__ = ["Watched", "Watcher"]


class Watched(Protocol):
    """What a watcher may do to the episode that it watches. Whatever it does not do goes on."""

    def prune(self, thread: str, reason: str) -> bool:
        """End a thread, by its path, with all below it. Its parent reads why, and goes on.

        Returns False where there is nothing to end: no such thread lives, it is ending, or it is the main thread.
        """
        ...

    def stop(self, reason: str, answer: str | None = None) -> None:
        """End the episode. `answer` is its answer; None: what the main thread would have returned so far."""
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
        """What a thread has just written, where the model streams; once it is whole, an event has it too."""
        ...
