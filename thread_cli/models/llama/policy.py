"""Which tokens may be evaluated in one batch, so that each call's output is bit-equal to its output when it runs alone.

All other modules ask the policy: the planner how large a batch may be, the backend whether to pad one, the scheduler
whether to make drafts, the pass of reuse whose output may be reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from thread_cli.contracts.model import Request

__all__ = ["Policy"]

_SAME_FUNCTIONS: Final = 63
"""Largest batch that a CPU computes with flash attention by the same functions, with the same rounding."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The conditions under which the output of a call depends on its own tokens alone.

    - Our own kernels add in the order of positions, whatever else is in the batch. With them, and on a GPU, any batch
      up to the size that was asked for may hold tokens of any calls.
    - llama.cpp's flash attention on a CPU computes batches of 64 tokens and more by other functions, which round in
      another way. Whether a token falls into such a batch would depend on the calls beside it, so batches of several
      calls stay below that size. Pieces of a few-shot prompt are larger: each is a batch of its own, and the prompt is
      always divided in the same way, so that its cells are rounded alike in every run.
    - llama.cpp computes a batch of one token on a CPU by other functions, too. Whether a token is alone would depend on
      the calls and drafts beside it, so a second token, which is thrown away, pads such a batch.
    - A recurrent model cannot take back tokens that it has evaluated. Drafts are never tried with it.
    - Greedy output depends on the prompt alone, so that the output of one call may be reused for another. A grammar
      adds a condition that the noted output does not have, and log-probabilities have to be computed.

    The backend keeps two further conditions, in which there is nothing to choose: a batch fills free KV cells from the
    first one on, and cells of a sliding window that a sequence has left behind are kept for others to share.
    """

    largest: int
    """Most tokens of any batch."""
    mixed: int
    """Most tokens of a batch that is not a piece of one few-shot prompt."""
    pads: bool = False
    """Whether a batch of one token is padded."""
    drafts: bool = True
    """Whether drafts may be verified."""

    @classmethod
    def of(cls, batch: int, *, own: bool, gpu: bool, flash: bool, recurrent: bool) -> Policy:
        """The policy for batches of at most `batch` tokens.

        Args:
            batch: the size that was asked for.
            own: our own kernels compute the whole model.
            gpu: layers are on a GPU.
            flash: llama.cpp computes flash attention.
            recurrent: sequences can only be copied and dropped as a whole.
        """
        alike = own or gpu or not flash
        return cls(
            largest=batch,
            mixed=batch if alike else min(batch, _SAME_FUNCTIONS),
            pads=not (recurrent or own or gpu),
            drafts=not recurrent,
        )

    def piece(self, few_shot: int) -> int:
        """Size of the next piece of a few-shot prompt that is evaluated as a batch of its own; 0 if none is.

        `few_shot` tokens of the prompt are left. The last ones, where they fit a mixed batch, are evaluated in one.
        """
        size = min(self.largest, few_shot)
        return size if size > self.mixed else 0

    def is_padded(self, tokens: int) -> bool:
        """True if a batch of so many tokens gets one more, which is thrown away."""
        return self.pads and tokens == 1

    @staticmethod
    def reuses(request: Request) -> bool:
        """True if the request's output depends on its prompt alone, and may be reused for the same prompt."""
        return request.temperature <= 0 and request.grammar is None and not request.logprobs
