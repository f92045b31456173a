"""One episode's record: the events as they are emitted, the sums over them, and the verdict at the end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import Boundary, LimitReached, Status, ThreadFailure
from thread_cli.contracts.events import EpisodeEnded, Failed, Generated, Totals
from thread_cli.record.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.contracts.environment import Environment
    from thread_cli.contracts.events import Event, Sink
    from thread_cli.contracts.model import Completion
    from thread_cli.engine.following import Following
    from thread_cli.engine.thread import Thread

__all__ = ["Episode", "Recorder", "judge", "plain"]

_STATUS_OF = {
    Boundary.model: Status.model_error,
    Boundary.environment: Status.environment_error,
    Boundary.interpreter: Status.interpreter_error,
    Boundary.engine: Status.engine_error,
}
_LEAST: Final = -9999.0


@dataclass(frozen=True, slots=True)
class Episode:
    """How an episode went. `reward` is None where nothing judges it; `answer` is the main thread's result."""

    status: Status
    reward: float | None
    answer: str
    message: str
    totals: Totals
    error: ThreadFailure | None = None
    """The main thread's failure, if one ended the episode."""
    marks: Mapping[str, float] = field(default_factory=dict[str, float])
    """All marks of the answer, where the environment gives marks."""


class Recorder:
    """Emits an episode's events to all sinks, and sums them up."""

    def __init__(self, episode: str, sinks: Sequence[Sink], following: Following | None = None) -> None:
        self.following = following
        """Leads the episode, if it repeats a recorded one; as a sink, it sees all events that have come."""
        sinks = sinks if following is None else [*sinks, following]
        self._episode = episode
        self._sinks = sinks
        self._n = 0
        self._began = time.monotonic_ns()
        self._sums = Sums()

    def emit(self, kind: type[Event], thread: Thread, **fields: Any) -> None:
        """Emit an event of `thread`; it is the cause of the thread's next event."""
        fields["episode"] = self._episode
        fields["n"] = self._n
        fields["thread"] = thread.path
        fields["parent"] = thread.parent.path if thread.parent else None
        fields["cause"] = thread.cause
        fields["time"] = (time.monotonic_ns() - self._began) // 1000 / 1e6
        # As `model_validate` does it, but faster, without options.
        event = kind.__pydantic_validator__.validate_python(fields)
        self._sums.add(event)
        thread.cause = self._n
        self._n += 1
        untold: Exception | None = None
        for sink in self._sinks:
            try:
                sink(event)
            except Exception as error:  # noqa: BLE001 - raised once all others have been told
                untold = untold or error
        if untold is not None:
            raise untold

    def generated(self, thread: Thread, written: Completion, prompt_tokens: int, seconds: float) -> None:
        """Emit a completion. `prompt_tokens` are an estimate where the model reported none."""
        usage = written.usage
        unknown = bool(usage.generated) and not usage.prompt
        # Most calls have none of these, and the event has them as its defaults.
        rare: dict[str, Any] = {}
        if usage.estimated or unknown:
            rare["estimated"] = True
        if unknown or not usage.cached_known:
            rare["cached_known"] = False
        if usage.local is not None:
            rare["local"] = usage.local
        if written.reasoning or usage.reasoning:
            rare.update(reasoning=plain(written.reasoning), reasoning_tokens=usage.reasoning)
        if usage.note or written.writer:
            rare.update(note=usage.note, writer=plain(written.writer))
        if written.logprobs is not None:
            pairs = zip(written.pieces or (), written.logprobs, strict=False)
            # JSON has no infinity: what has no probability gets the least that servers tell.
            rare["tokens"] = tuple((plain(piece), max(_LEAST, number)) for piece, number in pairs)
        self.emit(
            Generated,
            thread,
            text=plain(written.text),
            stop=written.stop,
            prompt_tokens=prompt_tokens,
            cached_tokens=usage.cached,
            repeated_tokens=usage.repeated,
            generated_tokens=usage.generated,
            cost=usage.cost,
            seconds=round(seconds, 6),
            waited=written.waited,
            retries=written.retries,
            **rare,
        )

    def failed(self, thread: Thread, failure: ThreadFailure) -> None:
        """Emit the failure of a thread."""
        usage = failure.usage
        spent = {} if usage is None else {
            "prompt_tokens": usage.prompt, "generated_tokens": usage.generated, "cost": usage.cost
        }  # fmt: skip
        reached = {} if not isinstance(failure, LimitReached) else {
            name: getattr(failure, name) for name in ("limit", "used", "cap", "owner")
        }  # fmt: skip
        message = plain(failure.message)
        self.emit(Failed, thread, boundary=failure.boundary, failure=failure.kind, message=message, **spent, **reached)

    def end(self, root: Thread, episode: Episode, reason: str = "", answer: str | None = None) -> None:
        """Emit the end of the episode; `reason` and `answer` come from the watcher that ended it, if one did."""
        self.emit(
            EpisodeEnded,
            root,
            status=episode.status,
            reward=episode.reward,
            marks=dict(episode.marks),
            message=episode.message,
            totals=episode.totals,
            reason=reason,
            answer=answer,
        )

    def totals(self) -> Totals:
        """The sums so far."""
        return self._sums.totals()


def judge(
    environment: Environment | None,
    answer: str | None,
    *,
    reward: float,
    marks: Mapping[str, float],
    error: BaseException | None,
    totals: Totals,
) -> Episode:
    """The verdict over an episode that ended with an `answer`, by the environment (None), or by an `error`.

    Where there are `marks`, the first is the reward, in place of the sum of the rewards of actions.
    """
    graded = environment is not None and environment.graded
    reward = next(iter(marks.values()), reward)
    final = reward if graded else None
    status, message = _verdict(final, error)
    failure = error if isinstance(error, ThreadFailure) else None
    # An answer that could not be judged, as the time was up, is the episode's answer all the same.
    so_far = failure.partial if failure and answer is None else answer
    return Episode(status, final, so_far or "", message, totals, failure, marks)


def _verdict(reward: float | None, error: BaseException | None) -> tuple[Status, str]:
    if isinstance(error, asyncio.CancelledError):
        return Status.cancelled, "interrupted"
    if isinstance(error, LimitReached):
        return Status.limited, plain(error.message)
    if isinstance(error, ThreadFailure):
        status = _STATUS_OF.get(error.boundary, Status.failed) if error.fatal else Status.failed
        return status, plain(f"{error.kind}: {error.message}")
    if error is not None:
        return Status.engine_error, plain(f"{type(error).__name__}: {error}")
    if reward is None:
        return Status.answered, "the main thread ended; nothing here judges its answer"
    if reward >= 1:
        return Status.solved, "the task is solved"
    return Status.failed, f"the task is not solved (reward {reward:g})"


def plain(text: str) -> str:
    """Text that can be written anywhere as UTF-8: lone surrogates replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
