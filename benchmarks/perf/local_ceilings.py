"""How fast this machine evaluates batches: the speed of prompts, and the time of a decoding step by its size."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from thread_cli.models.llama.backend import Backend, Slice

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

__all__ = ["Ceilings", "measured"]

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 62, 96, 128, 192, 256)
DEPTH = 2048
"""Tokens before those that are timed, as in an episode."""
TRIES = 3


@dataclass(frozen=True)
class Ceilings:
    """Prompt tokens a second, and seconds of a step by the tokens in it."""

    prompt: float
    steps: dict[int, float]

    def decoding(self, sizes: Counter[int]) -> float:
        """Seconds of so many steps of each size; between two measured sizes, in proportion."""
        return sum(count * self._step(size) for size, count in sizes.items() if size)

    def _step(self, size: int) -> float:
        known = sorted(self.steps)
        at = bisect_left(known, size)
        if at == len(known):
            return self.steps[known[-1]] * size / known[-1]
        if known[at] == size:
            return self.steps[size]
        low, high = known[at - 1], known[at]
        return self.steps[low] + (self.steps[high] - self.steps[low]) * (size - low) / (high - low)

    def halfway(self, other: Ceilings) -> Ceilings:
        """The means of two measurements."""
        steps = {size: (seconds + other.steps[size]) / 2 for size, seconds in self.steps.items()}
        return Ceilings((self.prompt + other.prompt) / 2, steps)

    def __str__(self) -> str:
        steps = ", ".join(f"{size}: {1000 * seconds:.1f}" for size, seconds in self.steps.items())
        return f"prompts {self.prompt:.0f} tokens/s; decoding, ms a step by its tokens: {steps}"


def measured(model: Path, threads: int, gpu_layers: int) -> Ceilings:
    """The middle of several measurements each."""
    backend = Backend(model, context=DEPTH + 512, sequences=2, batch=512, threads=threads, gpu_layers=gpu_layers)
    tokens = array("i", range(1000, 1000 + DEPTH))
    speeds: list[float] = []
    for _ in range(TRIES):
        backend.clear(0, 0)
        began = time.perf_counter()
        for start in range(0, DEPTH, backend.batch):
            part = tokens[start : start + backend.batch]
            backend.evaluate([Slice(0, start, part, int(start + len(part) == DEPTH))])
        speeds.append(DEPTH / (time.perf_counter() - began))
    steps: dict[int, list[float]] = {size: [] for size in SIZES}
    # In turn, as steps of an episode differ in size too: llama.cpp saves some work where one is like the last.
    for size in SIZES * TRIES:
        began = time.perf_counter()
        backend.evaluate([Slice(0, DEPTH, tokens[:size], size)])
        steps[size].append(time.perf_counter() - began)
        backend.clear(0, DEPTH)
    backend.close()
    return Ceilings(median(speeds), {size: median(taken) for size, taken in steps.items()})
