"""A model that repeats a recorded run's answers, and fails on a request that the recording does not have."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import LimitReached, ModelError, OnlyReasoning, ThreadFailure, WatcherFailed, Withheld
from thread_cli.contracts.events import (
    Corrected,
    EpisodeStarted,
    Failed,
    Generated,
    Generating,
    Joined,
    Observed,
    Removed,
    Spawned,
    ThreadStarted,
)
from thread_cli.contracts.model import Completion, Piece, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Request

__all__ = ["ReplayModel"]

_KINDS: Final = {kind("").kind: kind for kind in (ModelError, OnlyReasoning, Withheld, WatcherFailed)}
"""Failures of calls, by name."""


@dataclass(slots=True)
class _Recording:
    """One thread: its context, and for each call the Y before it and the answer, or the error."""

    context: str = ""
    inherited: str = ""
    """Text inherited from threads above it, before its own Y in the prompt."""
    y: str = ""
    spawned: int = 0
    """Characters of its Y before its newest spawn."""
    called: bool = False
    """Whether a call is under way."""
    calls: list[tuple[str, Completion | ThreadFailure]] = field(
        default_factory=list[tuple[str, Completion | ThreadFailure]]
    )


class ReplayModel:
    """Answers each call of each thread as it was answered in the recorded events of one episode, or fails as it failed.

    `policy` is the recorded version of the model. The episode that it writes for is led along the `recording`.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.recording: Sequence[Event] = [*events]
        self.policy = ""
        self._threads: defaultdict[str, _Recording] = defaultdict(_Recording)
        for event in self.recording:
            self._read(event)
        self._calls: defaultdict[str, int] = defaultdict(int)

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """The recorded answer in one piece; raises as `complete` does."""
        answer = await self.complete(request)
        yield Piece(answer.text, answer.reasoning, answer.usage.generated)
        yield answer

    async def complete(self, request: Request) -> Completion:
        """The recorded answer.

        Raises:
            ModelError: the request is not the recorded one.
            ThreadFailure: the recorded failure of the call.
        """
        number = self._calls[request.thread]
        recording = self._threads.get(request.thread)
        where = f"the run diverges from its recording in thread {request.thread}, call {number + 1}"
        if recording is None:
            raise ModelError(f"{where}: no such thread was recorded")
        if recording.context not in request.c and not recording.inherited:
            raise ModelError(f"{where}: its context was recorded as {_tail(recording.context)}, now {_tail(request.c)}")
        if number >= len(recording.calls):
            raise ModelError(f"{where}: the recording ends here, after {_tail(request.y)}")
        y, answer = recording.calls[number]
        y = recording.inherited + y
        if y != request.y:
            at = next(
                (i for i, (a, b) in enumerate(zip(y, request.y, strict=False)) if a != b), min(len(y), len(request.y))
            )
            raise ModelError(f"{where}: recorded {_around(y, at)}, now {_around(request.y, at)}")
        self._calls[request.thread] += 1
        if isinstance(answer, ThreadFailure):
            raise answer
        return answer

    async def close(self) -> None:
        pass

    def _read(self, event: Event) -> None:
        thread = self._threads[event.thread]
        match event:
            case EpisodeStarted():
                self.policy = event.policy
            case ThreadStarted():
                thread.context = event.context
                if event.inherits and event.parent is not None:
                    parent = self._threads[event.parent]
                    thread.inherited = parent.inherited + parent.y[: parent.spawned] + (event.opening or "")
            case Generating():
                thread.called = True
            case Failed() if thread.called:
                thread.called = False
                thread.calls.append((thread.y, _failure(event)))
            case Generated():
                thread.called = False
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
                    logprobs=[number for _, number in event.tokens] or None,
                    pieces=[piece for piece, _ in event.tokens] or None,
                    reasoning=event.reasoning,
                    writer=event.writer,
                )
                thread.calls.append((thread.y, completion))
                thread.y += event.text
            case Spawned():
                thread.spawned = len(thread.y)
                thread.y += event.text
            case Joined() | Observed() | Corrected():
                thread.y += event.text
            case Removed():
                thread.y = thread.y[: event.kept]
            case _:
                pass


def _failure(event: Failed) -> ThreadFailure:
    """The failure of a call, as its event tells of it."""
    if event.limit is not None or event.failure == LimitReached("", "").kind:
        failure: ThreadFailure = LimitReached(
            event.limit or "", event.message, used=event.used, cap=event.cap, owner=event.owner
        )
    else:
        failure = _KINDS.get(event.failure, ModelError)(event.message)
    if event.prompt_tokens or event.generated_tokens or event.cost is not None:
        failure.usage = Usage(event.prompt_tokens, generated=event.generated_tokens, cost=event.cost)
    return failure


def _tail(text: str) -> str:
    return repr(text.strip()[-80:])


def _around(text: str, at: int) -> str:
    return repr(text[max(0, at - 30) : at + 50])
