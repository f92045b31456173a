"""Checks the text of an episode's main thread by the rules of its wire format, from the events alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.contracts.events import Corrected, EpisodeStarted, Generated, Joined, Observed, Removed, Spawned
from thread_cli.protocols.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.contracts.events import Event

__all__ = ["FormatCheck"]


class FormatCheck:
    """A sink that keeps what the main thread wrote and read, where its wire format has a checker."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.protocol = ""
        self._check = None
        self._parts: list[str] = []
        for event in events:
            self(event)

    def __call__(self, event: Event) -> None:
        """Take the next event."""
        if isinstance(event, EpisodeStarted):
            self.protocol, self._parts = event.protocol, []
            found = FORMATS.get(event.protocol.partition(":")[0])
            self._check = found and found.problems
        elif (
            self._check is not None
            and event.thread == "0"
            and isinstance(event, (Generated, Joined, Observed, Corrected, Spawned))
        ):
            self._parts.append(event.text)

        elif self._check is not None and event.thread == "0" and isinstance(event, Removed):
            # The removed text is checked too, and what stands in its place begins a line.
            last = next((part for part in reversed(self._parts) if part), "\n")
            self._parts.append("" if last.endswith("\n") else "\n")

    def problems(self) -> tuple[str, ...] | None:
        """What is wrong with the text so far, each in a few words; None where the format has no checker."""
        return None if self._check is None else self._check("".join(self._parts))
