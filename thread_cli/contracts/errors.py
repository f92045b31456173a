"""Failures. Each belongs to one boundary, which decides how it is handled.

A model's mistake is data: it reaches the parent thread as text, or ends the episode as failed. A fault of the
infrastructure is retried where it is caught, and reported apart from the model's failures.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from thread_cli.contracts.usage import Usage

__all__ = [
    "Boundary",
    "ChildFailed",
    "Ending",
    "EndlessSpawning",
    "EnvironmentFailed",
    "ExitCode",
    "InterpreterFailed",
    "LimitReached",
    "MalformedOutput",
    "ModelError",
    "OnlyReasoning",
    "Repetition",
    "ReturnedNothing",
    "Status",
    "ThreadFailure",
    "UserError",
    "WatcherFailed",
    "Withheld",
]


class Boundary(StrEnum):
    """The part of the system that a failure belongs to."""

    model = "model"
    environment = "environment"
    interpreter = "interpreter"
    protocol = "protocol"
    limit = "limit"
    engine = "engine"


class Status(StrEnum):
    """How an episode ended."""

    solved = "solved"
    failed = "failed"
    """The model ended, or gave up, without solving the task."""
    answered = "answered"
    """The model ended, and nothing judges its result."""
    limited = "limited"
    """A limit of the task was reached first."""
    model_error = "model_error"
    environment_error = "environment_error"
    interpreter_error = "interpreter_error"
    engine_error = "engine_error"
    cancelled = "cancelled"

    @property
    def infrastructure(self) -> bool:
        """True if the episode says nothing about the model: the infrastructure failed, or the episode was cancelled."""
        return self.value.endswith("_error") or self is Status.cancelled


class Ending(StrEnum):
    """How a thread ended."""

    returned = "returned"
    """The thread ended by itself."""
    failed = "failed"
    """The thread could not go on."""
    pruned = "pruned"
    """A watcher ended the thread; its parent goes on."""
    stopped = "stopped"
    """The episode, or a thread above, ended first."""


class ExitCode(IntEnum):
    """The exit code of a command; where a signal ended the command, it is 128 plus the signal's number."""

    done = 0
    """The task is solved, or nothing judges it; every episode of a bench run has a result; all checks are passed."""
    undone = 1
    """The task is not solved; a budget of a bench run is used up; a check failed."""
    wrong_input = 2
    infrastructure = 4
    """Model, environment, interpreter or log failed, or the process was killed."""
    interrupted = 130
    unread = 141
    """Nobody reads the output any more."""


class ThreadFailure(Exception):
    """A thread cannot go on. `partial` is the result that it would have returned so far, if any."""

    boundary: ClassVar[Boundary] = Boundary.engine
    fatal: ClassVar[bool] = False
    """True if the failure ends the whole episode."""

    def __init__(self, message: str, partial: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.partial = partial
        self.usage: Usage | None = None
        """Tokens and cost of the model call that failed, where it is to be charged."""

    @property
    def kind(self) -> str:
        """The failure's name in words, as a parent thread reads it: `endless spawning`."""
        name = type(self).__name__
        return "".join(f" {char.lower()}" if char.isupper() else char for char in name).strip()


class EndlessSpawning(ThreadFailure):
    """A child would get a context that its ancestors already have."""

    boundary = Boundary.protocol


class Repetition(ThreadFailure):
    """A thread writes the same again and again."""

    boundary = Boundary.protocol


class ReturnedNothing(ThreadFailure):
    """A child ended without anything for its parent."""

    boundary = Boundary.protocol


class OnlyReasoning(ThreadFailure):
    """A model reasoned and wrote no text."""

    boundary = Boundary.model


class Withheld(ThreadFailure):
    """A filter of the server keeps an answer back."""

    boundary = Boundary.model


class ChildFailed(ThreadFailure):
    """A child failed, and the policy is to end the episode then."""

    fatal = True
    boundary = Boundary.protocol


class MalformedOutput(ThreadFailure):
    """The text cannot be read as any move of the protocol."""

    boundary = Boundary.protocol


class LimitReached(ThreadFailure):
    """A limit was reached.

    Args:
        limit: its name, such as `calls`, `depth`, `max_tokens` or `context`.
        used: the amount used, in the unit of the limit; None if unknown.
        cap: the amount that may be used.
        owner: the owner of the limit: `episode`, the path of the thread that was given it, or `model`.
    """

    boundary = Boundary.limit

    def __init__(
        self,
        limit: str,
        message: str,
        partial: str | None = None,
        *,
        used: float | None = None,
        cap: float | None = None,
        owner: str | None = None,
    ) -> None:
        super().__init__(message, partial)
        self.limit = limit
        self.used = used
        self.cap = cap
        self.owner = owner


class ModelError(ThreadFailure):
    """The model cannot be used: unreachable, refused, broken. Retries are over when this is raised."""

    boundary = Boundary.model
    fatal = True


class EnvironmentFailed(ThreadFailure):
    """The environment itself broke."""

    boundary = Boundary.environment
    fatal = True


class InterpreterFailed(ThreadFailure):
    """The interpreter itself broke; the model's code is not at fault."""

    boundary = Boundary.interpreter
    fatal = True


class WatcherFailed(ThreadFailure):
    """A watcher broke."""

    fatal = True


class UserError(Exception):
    """Something the user can put right: `message` is one line that names the fault and the remedy."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.wrong_input) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
