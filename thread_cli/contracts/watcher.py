"""The contract between the engine and a watcher, which sees an episode as it goes, and may end threads or the episode
early.

Watchers of other distributions are found through the entry-point group `thread_cli.watchers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Piece
    from thread_cli.contracts.writer import Turn

__all__ = ["Probe", "Probes", "Watched", "Watcher"]


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


class Probe(NamedTuple):
    """A question that is put to a thread while it writes: which answer it would give now.

    Each time, a child of the thread is spawned, which inherits all that the thread has written so far, and writes on
    after `opening`; the thread itself reads nothing of it. The child returns what it wrote. It draws greedily.
    """

    every: int
    """Tokens that the thread writes between two probes. Where its text ends or listens before, nothing is asked."""
    opening: str
    """The text with which the answer begins. If it ends with `{`, the bracket that closes that one ends the answer."""
    stop: tuple[str, ...] = ("\n",)
    """Strings that end the answer."""
    max_tokens: int = 24
    """Tokens that the answer may have."""


@runtime_checkable
class Probes(Protocol):
    """A watcher that has probes put to threads, besides what `Watcher` says.

    Probes are children like any others: the watcher sees their events, and their tokens are counted.
    """

    branches: bool
    """Whether it watches the branches of one question, and so is of no use where there are none."""

    def probe(self, turn: Turn) -> Probe | None:
        """The probe for a thread that is about to write; None for a thread that is not to be asked.

        The answer may depend on nothing but the turn: it is asked for at every call, and again in a replay, in which
        the watcher neither begins nor sees anything.
        """
        ...
