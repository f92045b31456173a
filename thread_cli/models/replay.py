"""A model that repeats what a recorded run's model wrote, and notices when it is asked something else."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import Ending, ModelError
from thread_cli.contracts.events import (
    Awaiting,
    Corrected,
    Generated,
    Generating,
    Joined,
    Observed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)
from thread_cli.contracts.model import Completion, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Request

__all__ = ["ReplayModel"]


@dataclass(slots=True)
class _Recording:
    """One thread: its context, and for each call the Y before it and the answer."""

    context: str = ""
    inherited: str = ""
    """What its prompt has before its own Y, from those above it."""
    y: str = ""
    spawned: int = 0
    """Characters of its Y before its newest spawn."""
    any_will_do: bool = False
    """Whether it waits for any one child."""
    asked: float = 0.0
    """When its newest call began."""
    stopped: float | None = None
    """Seconds from then until it was stopped, if it was."""
    calls: list[tuple[str, Completion]] = field(default_factory=list[tuple[str, Completion]])


class ReplayModel:
    """Answers each call of each thread as it was answered in the recorded events of one episode.

    `choices` are the children that waits for any one of several came to, by the path of the thread that waited. A call
    in which a thread was stopped takes as long as it did, and then is cut.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.choices: dict[str, list[str]] = {}
        self._threads: defaultdict[str, _Recording] = defaultdict(_Recording)
        for event in events:
            self._read(event)
        self._calls: defaultdict[str, int] = defaultdict(int)

    async def complete(self, request: Request) -> Completion:
        number = self._calls[request.thread]
        recording = self._threads.get(request.thread)
        where = f"the run diverges from its recording in thread {request.thread}, call {number + 1}"
        if recording is None:
            raise ModelError(f"{where}: no such thread was recorded")
        if recording.context not in request.c and not recording.inherited:
            raise ModelError(f"{where}: its context was recorded as {_tail(recording.context)}, now {_tail(request.c)}")
        if number >= len(recording.calls) and recording.stopped is not None:
            await asyncio.sleep(recording.stopped)
            return Completion("", "cut", Usage())
        if number >= len(recording.calls):
            raise ModelError(f"{where}: the recording ends here, after {_tail(request.y)}")
        y, completion = recording.calls[number]
        y = recording.inherited + y
        if y != request.y:
            at = next(
                (i for i, (a, b) in enumerate(zip(y, request.y, strict=False)) if a != b), min(len(y), len(request.y))
            )
            raise ModelError(f"{where}: recorded {_around(y, at)}, now {_around(request.y, at)}")
        self._calls[request.thread] += 1
        if completion.stop == "cut" and recording.stopped is not None:
            with suppress(asyncio.CancelledError):  # what was written until then is recorded, as it was
                await asyncio.sleep(recording.stopped)
        return completion

    async def close(self) -> None:
        pass

    def _read(self, event: Event) -> None:
        thread = self._threads[event.thread]
        match event:
            case ThreadStarted():
                thread.context = event.context
                if event.inherits and event.parent is not None:
                    parent = self._threads[event.parent]
                    thread.inherited = parent.inherited + parent.y[: parent.spawned] + (event.opening or "")
            case Generating():
                thread.asked = event.time
            case ThreadEnded(how=Ending.stopped):
                thread.stopped = event.time - thread.asked
            case Generated():
                usage = Usage(
                    event.prompt_tokens,
                    event.cached_tokens,
                    event.generated_tokens,
                    event.repeated_tokens,
                    event.cost,
                    event.local,
                    event.reasoning_tokens,
                    event.note,
                    event.estimated,
                    event.cached_known,
                )
                completion = Completion(
                    event.text,
                    event.stop,
                    usage,
                    event.waited,
                    event.retries,
                    reasoning=event.reasoning,
                    writer=event.writer,
                )
                thread.calls.append((thread.y, completion))
                thread.y += event.text
            case Spawned():
                thread.spawned = len(thread.y)
                thread.y += event.text
            case Awaiting():
                thread.any_will_do = event.which == "any"
            case Joined():
                if thread.any_will_do:
                    self.choices.setdefault(event.thread, []).extend(event.children)
                thread.any_will_do = False
                thread.y += event.text
            case Observed() | Corrected():
                thread.y += event.text
            case _:
                pass


def _tail(text: str) -> str:
    return repr(text.strip()[-80:])


def _around(text: str, at: int) -> str:
    return repr(text[max(0, at - 30) : at + 50])
