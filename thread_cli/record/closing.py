"""Closes the log of an episode whose process was killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from thread_cli.contracts.errors import Boundary, Ending, Status
from thread_cli.contracts.events import EpisodeEnded, Event, Failed, ThreadEnded, ThreadStarted
from thread_cli.record.folder import read_events
from thread_cli.record.lines import line_of
from thread_cli.record.sums import Sums

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["close_log"]


def close_log(path: Path, message: str, status: Status) -> bool:
    """Append the end of the episode to a log that breaks off. Returns False if the log already has an end.

    A line that was only partly written is dropped. All threads that had not ended count as failed.

    Raises:
        OSError: the file cannot be written.
        UserError: the file cannot be read, or has no event.
    """
    events = read_events(path)
    if isinstance(events[-1], EpisodeEnded):
        return False
    lines = b"".join(line_of(event) for event in _end(events, message, status))
    with path.open("r+b") as file:
        length = len(b"\n".join(file.read().split(b"\n")[: len(events)]))
        file.truncate(length)
        file.seek(length)
        file.write(b"\n" + lines)
        file.flush()
        os.fsync(file.fileno())
    return True


def _end(events: list[Event], message: str, status: Status) -> list[Event]:
    """The events that are missing up to the episode's end."""
    sums, alive, newest = Sums(), dict[str, ThreadStarted](), dict[str, int]()
    for event in events:
        sums.add(event)
        newest[event.thread] = event.n
        match event:
            case ThreadStarted():
                alive[event.thread] = event
            case ThreadEnded():
                alive.pop(event.thread, None)
            case _:
                pass
    added: list[Event] = []

    def tell(kind: type[Event], thread: str, parent: str | None, **fields: Any) -> None:
        event: Event = kind(
            episode=events[0].episode,
            n=events[-1].n + 1 + len(added),
            thread=thread,
            parent=parent,
            cause=newest.get(thread),
            time=max(event.time for event in events),
            **fields,
        )
        newest[thread] = event.n
        added.append(event)

    root = events[0].thread
    tell(Failed, root, None, boundary=Boundary.engine, failure="process killed", message=message)
    for thread in sorted(alive.values(), key=lambda thread: -thread.depth):
        tell(ThreadEnded, thread.thread, thread.parent, result=None, failed=True, how=Ending.stopped)
    tell(EpisodeEnded, root, None, status=status, reward=None, message=message, totals=sums.totals())
    return added
