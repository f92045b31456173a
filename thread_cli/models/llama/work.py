"""What a model on this machine has done: the figures from which its speed is judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Work"]


@dataclass(slots=True)
class Work:
    """Sums since the model was loaded. A step is one batch through the model."""

    steps: int = 0
    seconds: float = 0.0
    """Inside llama.cpp."""
    prompt: int = 0
    """Tokens of prompts that were evaluated."""
    repeated: int = 0
    """Those tokens among all evaluated that had been evaluated before."""
    generated: int = 0
    known: int = 0
    """Those of them that nothing was evaluated for: another thread had drawn them after the same text."""
    drafted: int = 0
    accepted: int = 0
    drawing: int = 0
    """Sequences that drew a token, over all steps."""
    decoding: Counter[int] = field(default_factory=Counter[int])
    """Steps by the number of tokens in them that are not a prompt's: generated ones and drafts."""

    def add(self, prompt: int, decoding: int, drawing: int, seconds: float) -> None:
        """Note a step: its tokens of prompts and others, the sequences that draw in it, and its time."""
        self.steps += 1
        self.seconds += seconds
        self.prompt += prompt
        self.drawing += drawing
        self.decoding[decoding] += 1

    @property
    def occupancy(self) -> float:
        """Sequences that drew a token in a step, on average; 0 before the first."""
        return self.drawing / self.steps if self.steps else 0.0
