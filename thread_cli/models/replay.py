"""A model that repeats a recorded run's answers, and fails on a request that the recording does not have."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import ModelError
from thread_cli.contracts.events import Corrected, Generated, Joined, Observed, ThreadStarted
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
    """Text inherited from threads above it, before its own Y in the prompt."""
    y: str = ""
    calls: list[tuple[str, Completion]] = field(default_factory=list[tuple[str, Completion]])


class ReplayModel:
    """Answers each call of each thread as in the recorded events of one episode."""

    def __init__(self, events: Iterable[Event]) -> None:
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
                    thread.inherited = parent.inherited + parent.y + (event.opening or "")
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
                    event.text, event.stop, usage, event.waited, event.retries, reasoning=event.reasoning
                )
                thread.calls.append((thread.y, completion))
                thread.y += event.text
            case Observed() | Joined() | Corrected():
                thread.y += event.text
            case _:
                pass


def _tail(text: str) -> str:
    return repr(text.strip()[-80:])


def _around(text: str, at: int) -> str:
    return repr(text[max(0, at - 30) : at + 50])
