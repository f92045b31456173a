"""What this machine can do with a model, measured as it is loaded: what speeds are compared with."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from thread_cli.models.llama.backend import Slice

if TYPE_CHECKING:
    from thread_cli.models.llama.backend import Backend

__all__ = ["Ceilings"]

_READ: Final = 64
"""Tokens that are read to measure, if that takes no longer than `_PATIENCE`."""
_PATIENCE: Final = 0.5
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Seconds that a step takes at best, with an empty cache: `first` for one token, `each` for every further one."""

    first: float = 0.0
    each: float = 0.0

    @classmethod
    def of(cls, backend: Backend) -> Ceilings:
        """Measure; the backend must hold nothing, and holds nothing afterwards."""
        first = min(_seconds(backend, 1) for _ in range(_TRIES))
        many = max(2, min(_READ, backend.policy.mixed, backend.context, int(_PATIENCE / first)))
        return cls(first, max(0.0, min(_seconds(backend, many) for _ in range(2)) - first) / (many - 1))

    def of_step(self, tokens: int) -> float:
        """Seconds for a step of so many tokens."""
        return self.first + self.each * (tokens - 1)


def _seconds(backend: Backend, tokens: int) -> float:
    began = time.perf_counter()
    backend.evaluate([Slice(0, 0, array("i", [0]) * tokens, 1)])
    seconds = time.perf_counter() - began
    backend.clear(0, 0)
    return seconds
