"""What passes between those who await a completion and the worker thread that makes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.models import Completion, Request

__all__ = ["Call"]


@dataclass(eq=False, slots=True)
class Call:
    """One request under way.

    `done` is called at most once, on the worker thread, with a completion or an exception; never after `cancelled`,
    which any thread may set, was seen.
    """

    request: Request
    done: Callable[[Completion | Exception], None]
    cancelled: bool = False
    submitted: float = field(default_factory=monotonic)
