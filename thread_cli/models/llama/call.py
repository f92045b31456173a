"""What passes between those who await a completion and the worker thread that makes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.contracts.model import Completion, Request

__all__ = ["Call", "Description"]


@dataclass(frozen=True, slots=True)
class Description:
    """What a model's file says of it, and how many tokens a prompt and its continuation may have together."""

    template: str | None
    """The chat template, in Jinja."""
    begin: str
    """The name of the token that begins a text."""
    end: str
    begins: bool
    """True if every prompt begins with that token, written or not."""
    longest: int


@dataclass(eq=False, slots=True)
class Call:
    """One request under way.

    `done` is called once, on the worker thread, with a completion or an exception: soon after `cancelled`, which any
    thread may set, with what was written until then. `told` is called on that thread too, for each token, with what it
    has made certain of the text.
    """

    request: Request
    done: Callable[[Completion | Exception], None]
    told: Callable[[str], None] | None = None
    cancelled: bool = False
    submitted: float = field(default_factory=monotonic)
