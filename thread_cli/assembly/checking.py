"""Checks the text of an episode's main thread, or of its branches, by the rules of its wire format and that format's
options, from the events alone.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import Ending
from thread_cli.contracts.events import (
    Corrected,
    EpisodeStarted,
    Generated,
    Joined,
    Observed,
    Removed,
    Spawned,
    ThreadEnded,
)
from thread_cli.protocols.formats import FORMATS
from thread_cli.protocols.prompt import divided

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from thread_cli.contracts.events import Event

__all__ = ["FormatCheck"]


class FormatCheck:
    """A sink that keeps what the main thread wrote and read, where its wire format has a checker.

    Where code writes the main thread, its children are kept instead, such as the branches of a vote; those that were
    pruned or stopped are not.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.protocol = ""
        self._check: Callable[[str], tuple[str, ...]] | None = None
        self._level = 0
        """How many levels below the main thread the texts are."""
        self._texts: dict[str, list[str]] = {}
        for event in events:
            self(event)

    def __call__(self, event: Event) -> None:
        """Take the next event."""
        if isinstance(event, EpisodeStarted):
            self.protocol, self._texts, self._level = event.protocol, {}, 0
            name, options = divided(event.protocol)
            check = FORMATS[name].load().problems if name in FORMATS else None
            self._check = check and partial(check, options={word for word, *_ in options})
        elif self._check is None or event.thread.count(".") > 1:
            return
        elif isinstance(event, Generated) and event.thread == "0" and event.writer:
            self._level = 1
            self._texts.pop("0", None)
        elif event.thread.count(".") == self._level:
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, (Generated, Joined, Observed, Corrected, Spawned)):
            self._texts.setdefault(event.thread, []).append(event.text)
        elif isinstance(event, Removed):
            # The removed text is checked too, and what stands in its place begins a line.
            parts = self._texts.setdefault(event.thread, [])
            last = next((part for part in reversed(parts) if part), "\n")
            parts.append("" if last.endswith("\n") else "\n")
        elif isinstance(event, ThreadEnded) and self._level and event.how in {Ending.pruned, Ending.stopped}:
            self._texts.pop(event.thread, None)

    def problems(self) -> tuple[str, ...] | None:
        """The faults of the texts so far, in a few words each; None without a checker, or a text to check."""
        if self._check is None or (self._level and not self._texts):
            return None
        texts = map("".join, self._texts.values()) if self._texts else [""]
        return tuple(dict.fromkeys(problem for text in texts for problem in self._check(text)))
