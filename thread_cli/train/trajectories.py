"""Trajectories: the text of threads, divided into the parts that a model has to write and the rest.

A thread's trajectory is exactly its prompts and completions: few-shot prompt, context and Y, cut after the model's last
text. The listen token belongs to the model's text; the engine's text after it is given, not learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from thread_cli.contracts.errors import ExitCode, UserError
from thread_cli.contracts.events import (
    Acted,
    Corrected,
    Generated,
    Joined,
    Observed,
    Removed,
    Repaired,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)
from thread_cli.files import written_whole
from thread_cli.protocols.text import estimated_tokens
from thread_cli.protocols.thread import LISTEN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.protocol import Protocol
    from thread_cli.train.recordings import Recording

__all__ = ["Segment", "Trajectory", "read", "threads_of", "write"]

_LED: Final = "This thread is led by its method, which writes it without the model."
"""Begins what a method wrote in older logs, which do not name the writer."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a trajectory, tokenised by itself."""

    text: str
    learned: bool
    """Whether the model has to write it; otherwise it is given to the model."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The trajectory of one thread.

    Each learned segment is a completion; all segments before it are its context.
    """

    environment: str
    task: str
    category: str
    episode: str
    """The run's folder and the episode's key in it; all threads of an episode share it."""
    thread: str
    """The thread's path, such as `0.1`."""
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, recording: Recording, thread: str, segments: tuple[Segment, ...]) -> Trajectory:
        """The trajectory of a thread of a recorded episode."""
        task = recording.task
        return cls(recording.environment, task.id, task.category, recording.episode, thread, segments)

    def tokens(self, *, learned: bool) -> int:
        """Estimated tokens of the learned segments, or of the others."""
        return sum(estimated_tokens(segment.text) for segment in self.segments if segment.learned is learned)


_adapter: TypeAdapter[Trajectory] = TypeAdapter(Trajectory)


def read(path: Path) -> list[Trajectory]:
    """The trajectories of a file, one a line.

    Raises:
        UserError: the file cannot be read, or a line holds no trajectory.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    found: list[Trajectory] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(_adapter.validate_json(line))
        except ValidationError as error:
            raise UserError(f"{path}, line {number} is no trajectory: {error.errors()[0]['msg']}") from None
    return found


def write(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """Write a file of trajectories, one a line. It is written completely or not at all, and replaces an older file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with written_whole(path) as part, part.open("wb") as file:
            file.writelines(_adapter.dump_json(trajectory) + b"\n" for trajectory in trajectories)
    except OSError as error:
        raise UserError(f"the data cannot be written: {path}: {error.strerror}", ExitCode.infrastructure) from None


def threads_of(
    recording: Recording, events: Iterable[Event], *, examples: bool, clean: bool = False
) -> list[Trajectory | str]:
    """The trajectory of each thread of an episode, by path; the reason in place of one that is left out.

    With `examples`, a trajectory begins with the few-shot prompt. Text that the engine had to correct or repair is
    never learned; with `clean`, its whole thread is left out.
    """
    opening = (Segment(recording.prompt.q, learned=False),) if examples and recording.prompt.q else ()
    threads: dict[str, _Thread] = {}
    for event in events:
        if isinstance(event, ThreadStarted):
            context = Segment(recording.protocol.open(event.context), learned=False)
            threads[event.thread] = _Thread(recording.protocol, [*opening, context])
        elif event.thread in threads:
            threads[event.thread].take(event)
    found: list[Trajectory | str] = []
    for path, thread in threads.items():
        segments = thread.segments()
        wrong = thread.wrong or ("malformed" if clean and thread.malformed else "")
        found.append(wrong or (Trajectory.of(recording, path, segments) if segments else "nothing to learn"))
    return found


class _Thread:
    """Takes the segments of one thread from its events.

    `wrong` is the reason for which the thread is left out, if any; `malformed`: the engine had to correct or repair
    something in it.
    """

    def __init__(self, protocol: Protocol, segments: list[Segment]) -> None:
        self.wrong = ""
        self.malformed = False
        self._listen, self._end = protocol.stop[:2]
        self._segments = segments
        self._written: Generated | None = None
        self._listens = self._repaired = False

    def take(self, event: Event) -> None:
        match event:
            case Generated():
                if event.writer or event.text.startswith(_LED):
                    self.wrong = "led by its method"
                self._written, self._repaired, self._listens = event, False, event.stop == "listen"
            case Repaired():
                self._repaired = self.malformed = True
            case Observed() | Joined() | Corrected() | Spawned(waits=False):
                self._listens = True
                self.malformed |= isinstance(event, Corrected)
                self._write(learned=not (self._repaired or isinstance(event, Corrected)))
                self._segments.append(Segment(event.text.removeprefix(LISTEN), learned=False))
            case Removed():
                self.wrong = "text removed"
            case Acted() | Spawned():
                self._listens = True
            case ThreadEnded():
                if event.failed:
                    self.wrong = "failed"
            case _:
                pass

    def segments(self) -> tuple[Segment, ...]:
        """All segments up to the last learned one, after the last event."""
        self._write(learned=not self._repaired)
        while self._segments and not self._segments[-1].learned:
            self._segments.pop()
        return tuple(self._segments)

    def _write(self, *, learned: bool) -> None:
        """Add the text that was generated last, with the stop string that ended it."""
        if self._written is not None:
            stop = self._listen if self._listens else self._end
            self._segments.append(Segment(self._written.text + stop, learned))
        self._written = None
