"""Collects training data from recorded runs: selects episodes and threads, and counts their text."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import Status
from thread_cli.train.flatten import flattened
from thread_cli.train.recordings import recordings
from thread_cli.train.reserved import Reserved
from thread_cli.train.trajectories import threads_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from thread_cli.train.recordings import Recording
    from thread_cli.train.trajectories import Segment, Trajectory

__all__ = ["Choice", "Collected", "collect", "is_held_out"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The selection of trajectories from runs.

    Args:
        examples: whether trajectories begin with the few-shot prompt.
        successes: take solved episodes only; otherwise all that ended without a fault of the infrastructure.
        max_tokens: estimated length of the longest trajectory that is taken.
        flat: take each episode as one thread that spawns nothing.
        clean: leave out threads in which the engine had to correct or repair something.
    """

    examples: bool = True
    successes: bool = True
    max_tokens: int | None = None
    flat: bool = False
    clean: bool = False


@dataclass(slots=True)
class Collected:
    """Trajectories, with counts: of those found by environment and category, of those left out by reason."""

    trajectories: list[Trajectory] = field(default_factory=list["Trajectory"])
    episodes: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    threads: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    refused: Counter[str] = field(default_factory=Counter[str])
    """Episodes of test sets, by suite."""
    left_out_episodes: Counter[str] = field(default_factory=Counter[str])
    left_out_threads: Counter[str] = field(default_factory=Counter[str])


def collect(paths: Iterable[Path], choice: Choice) -> Collected:
    """The trajectories in the folders of runs. Of identical ones only the first is taken.

    Raises:
        UserError: a folder holds no run, or cannot be read.
    """
    collected, reserved = Collected(), Reserved()
    seen: set[tuple[Segment, ...]] = set()
    for recording in (recording for path in paths for recording in recordings(path)):
        suite = reserved.suite(recording.environment, recording.task)
        if suite is not None:
            collected.refused[suite] += 1
            collected.left_out_episodes["of a test set"] += 1
        elif reason := _unfit(recording, choice):
            collected.left_out_episodes[reason] += 1
        else:
            _take(collected, recording, choice, seen)
    return collected


def is_held_out(trajectory: Trajectory, share: float) -> bool:
    """Whether a trajectory's task is held out. The held-out tasks are the same for all runs."""
    task = f"{trajectory.environment}\n{trajectory.task}"
    return int.from_bytes(hashlib.sha256(task.encode()).digest()[:8]) < share * 2**64


def _unfit(recording: Recording, choice: Choice) -> str | None:
    if recording.status is None:
        return "not ended"
    if recording.status.infrastructure:
        return "infrastructure failed"
    if choice.successes and recording.status is not Status.solved:
        return "not solved"
    if choice.flat and recording.method != "thread":
        return f"played by {recording.method}"
    return None


def _take(collected: Collected, recording: Recording, choice: Choice, seen: set[tuple[Segment, ...]]) -> None:
    place = recording.environment, recording.task.category
    events = recording.events()
    if choice.flat:
        found = flattened(recording, events, examples=choice.examples)
    else:
        found = threads_of(recording, events, examples=choice.examples, clean=choice.clean)
    collected.episodes[place] += 1
    collected.threads[place] += len(found)
    for trajectory in found:
        if reason := _excess(trajectory, choice, seen):
            collected.left_out_threads[reason] += 1
        elif not isinstance(trajectory, str):
            seen.add(trajectory.segments)
            collected.trajectories.append(trajectory)


def _excess(trajectory: Trajectory | str, choice: Choice, seen: set[tuple[Segment, ...]]) -> str | None:
    if isinstance(trajectory, str):
        return trajectory
    if (
        choice.max_tokens is not None
        and sum(trajectory.tokens(learned=own) for own in (True, False)) > choice.max_tokens
    ):
        return "too long"
    return "the same as another" if trajectory.segments in seen else None
