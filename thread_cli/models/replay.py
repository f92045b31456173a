"""A model that repeats a recorded run's answers, and fails on a request that the recording does not have."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import Ending, ModelError, Status
from thread_cli.contracts.events import (
    Awaiting,
    Corrected,
    EpisodeEnded,
    EpisodeStarted,
    Generated,
    Generating,
    Joined,
    Observed,
    Removed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)
from thread_cli.contracts.model import Completion, Piece, Usage
from thread_cli.models.recorded_ends import RecordedEnds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

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

    `policy` is the recorded version of the model. `choices` are the children that were joined where a thread awaited
    any one of several, by that thread's path. A call in which a thread was stopped takes as long as it did, and then is
    cut, or fails where the whole run was interrupted. Where watchers ended threads or the episode, the watcher `ends`
    does so again; in an episode that it watches, the call in which a thread was ended goes on until then.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.choices: dict[str, list[str]] = {}
        self.policy = ""
        self._interrupted = False
        self._threads: defaultdict[str, _Recording] = defaultdict(_Recording)
        events = list(events)
        for event in events:
            self._read(event)
        self._calls: defaultdict[str, int] = defaultdict(int)
        self.ends = RecordedEnds(events)

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """The recorded answer in one piece; of a call in which the thread was ended, once it is cancelled."""
        held = self.ends.holds(request.thread, self._calls[request.thread])
        answer = self._answer(request, held=held)
        if answer is not None:
            yield Piece(answer.text, answer.reasoning, answer.usage.generated)
        if not held:
            answer = await self._until_stopped(request.thread, answer)
        else:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                if answer is None:
                    raise
        if answer is not None:
            yield answer

    async def complete(self, request: Request) -> Completion:
        """The recorded answer.

        Raises:
            ModelError: the request is not the recorded one.
        """
        return await self._until_stopped(request.thread, self._answer(request))

    def _answer(self, request: Request, *, held: bool = False) -> Completion | None:
        """The recorded answer; None where the thread was ended before there was one."""
        number = self._calls[request.thread]
        recording = self._threads.get(request.thread)
        where = f"the run diverges from its recording in thread {request.thread}, call {number + 1}"
        if recording is None:
            raise ModelError(f"{where}: no such thread was recorded")
        if recording.context not in request.c and not recording.inherited:
            raise ModelError(f"{where}: its context was recorded as {_tail(recording.context)}, now {_tail(request.c)}")
        over = number >= len(recording.calls)
        if over and not held:
            if recording.stopped is not None:
                return None
            raise ModelError(f"{where}: the recording ends here, after {_tail(request.y)}")
        y, answer = (recording.y, None) if over else recording.calls[number]
        y = recording.inherited + y
        if y != request.y:
            at = next(
                (i for i, (a, b) in enumerate(zip(y, request.y, strict=False)) if a != b), min(len(y), len(request.y))
            )
            raise ModelError(f"{where}: recorded {_around(y, at)}, now {_around(request.y, at)}")
        self._calls[request.thread] += 1
        return answer

    async def _until_stopped(self, thread: str, answer: Completion | None) -> Completion:
        """Give an answer; if the thread was stopped in this call, wait for the stop, or the recorded time."""
        if answer is not None and (answer.stop != "cut" or self._threads[thread].stopped is None):
            return answer
        try:
            await asyncio.sleep(self._threads[thread].stopped or 0.0)
        except asyncio.CancelledError:
            if answer is None:
                raise
            return answer  # the text until then is recorded, as in the recorded run
        if self._interrupted:
            raise ModelError(f"the recorded run was interrupted here, in thread {thread}")
        return answer or Completion("", "cut", Usage())

    async def close(self) -> None:
        pass

    def _read(self, event: Event) -> None:
        thread = self._threads[event.thread]
        match event:
            case EpisodeStarted():
                self.policy = event.policy
            case EpisodeEnded():
                self._interrupted = event.status is Status.cancelled
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
            case Awaiting():
                thread.any_will_do = event.which == "any"
            case Joined():
                if thread.any_will_do:
                    self.choices.setdefault(event.thread, []).extend(event.children)
                thread.any_will_do = False
                thread.y += event.text
            case Observed() | Corrected():
                thread.y += event.text
            case Removed():
                thread.y = thread.y[: event.kept]
            case _:
                pass


def _tail(text: str) -> str:
    return repr(text.strip()[-80:])


def _around(text: str, at: int) -> str:
    return repr(text[max(0, at - 30) : at + 50])
