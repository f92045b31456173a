"""Sorts failed episodes into the paper's classes by their events.

The names of the classes are the paper's (arXiv 2405.17402); the rules are ours, so that every run is judged alike. An
action is *refused* when the environment's answer begins as answers to impossible actions do, or with the name of a
Python error where actions are code. The first rule that fits decides:

- `infrastructure`: the model, the environment, the interpreter or the engine broke, or the run was interrupted.
- `limit`: a limit ended the episode, or the last thread that failed did so on a limit.
- `misread_feedback`: a thread ignored feedback. It repeated a refused action unchanged, with nothing done in
  between, or it was ended for repeating a step without effect.
- `invalid_action`: a thread's last move was an action that was refused, or a line that the engine could not carry out.
- `other`: a thread's last Python failed, or a thread failed for any other reason than spawning itself again or
  returning nothing.
- `inadequate_plan`: all moves were carried out, and they did not solve the task; or a thread spawned itself again,
  or returned nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from thread_cli.bench import FailureClass
from thread_cli.contracts.errors import Boundary, EndlessSpawning, Repetition, ReturnedNothing, Status
from thread_cli.contracts.events import (
    Acted,
    CodeRan,
    Corrected,
    EpisodeEnded,
    Event,
    Failed,
    Observed,
    Spawned,
    ThreadStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Signs", "classify"]

_REFUSED: Final = re.compile(
    r"\s*(?:could not |cannot |can't |nothing happens|invalid action|unknown (?:action|command)|not a valid |"
    r"actions are python|there is nothing here to act on|you can't |traceback \(most recent|"
    r"(?:\w+\.)*\w+(?:error|exception): )",
    re.IGNORECASE,
)
_KIND_REPETITION: Final = Repetition("").kind
_KINDS_OF_PLAN: Final = {EndlessSpawning("").kind, ReturnedNothing("").kind}


@dataclass(slots=True)
class _Thread:
    """A thread's data for classification. Each of its last steps counts as good until an event shows otherwise."""

    refused: set[str] = field(default_factory=set[str])
    """Actions refused since the thread last acted, or had another thread act, with an effect."""
    action: str = ""
    code_failed: bool = False
    corrected: bool = False


class Signs:
    """A sink that collects the signs of a failed episode's class, in memory that grows with its threads only."""

    def __init__(self) -> None:
        self._threads: dict[str, _Thread] = {}
        self._failures: list[Failed] = []
        self._status: Status | None = None
        self._ignored = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpisodeEnded):
            self._status = event.status
            return
        if isinstance(event, ThreadStarted):
            self._threads[event.thread] = _Thread()
            return
        thread = self._threads.setdefault(event.thread, _Thread())
        match event:
            case Acted():
                thread.action, thread.corrected = event.action, False
            case Observed():
                self._observed(thread, event.observation)
            case CodeRan():
                thread.code_failed = event.error is not None
            case Spawned():
                thread.corrected = False
                thread.refused.clear()
            case Corrected():
                thread.corrected = True
            case Failed():
                self._failures.append(event)
            case _:
                pass

    def failure(self, status: Status | None = None) -> FailureClass | None:
        """The class of the episode; None where it was solved or answered.

        Args:
            status: the end of the episode, if its last event is missing; without it, such a log counts as torn by the
                infrastructure.
        """
        status = status or self._status
        if status in {Status.solved, Status.answered}:
            return None
        if status is None or status.infrastructure:
            return FailureClass.infrastructure
        if status is Status.limited or (self._failures and self._failures[-1].boundary is Boundary.limit):
            return FailureClass.limit
        return self._fault()

    def _observed(self, thread: _Thread, observation: str) -> None:
        if not _REFUSED.match(observation):
            thread.refused.clear()
            return
        self._ignored = self._ignored or thread.action in thread.refused
        thread.refused.add(thread.action)

    def _fault(self) -> FailureClass:
        """The class of the model's mistake."""
        kinds = {failed.failure for failed in self._failures}
        threads = self._threads.values()
        if self._ignored or _KIND_REPETITION in kinds:
            return FailureClass.misread_feedback
        if any(thread.refused or thread.corrected for thread in threads):
            return FailureClass.invalid_action
        if any(thread.code_failed for thread in threads) or kinds - _KINDS_OF_PLAN:
            return FailureClass.other
        return FailureClass.inadequate_plan


def classify(events: Iterable[Event]) -> FailureClass | None:
    """The class of an episode from its events; None where it was solved or answered."""
    signs = Signs()
    for event in events:
        signs(event)
    return signs.failure()
