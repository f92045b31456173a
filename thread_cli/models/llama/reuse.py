"""Reuse of greedy output: a pass over the queued calls, before each batch is planned.

Greedy output depends on the prompt alone. The cache notes which token the model chose after each token whose KV cells
it holds, so a call with the same text takes these tokens over, and nothing is evaluated for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array

    from thread_cli.contracts.model import StopReason
    from thread_cli.models.llama.cache import PrefixTree, Sequence
    from thread_cli.models.llama.call import Call
    from thread_cli.models.llama.vocabulary import Vocabulary
    from thread_cli.models.llama.work import Work

__all__ = ["Reuse", "can_reuse"]


class Reuse:
    """Notes greedy output in the tree, and takes it over for other calls. Reused tokens are added to `work`."""

    def __init__(self, tree: PrefixTree, vocabulary: Vocabulary, work: Work) -> None:
        self._tree = tree
        self._vocabulary = vocabulary
        self._work = work

    def extend(self, call: Call) -> StopReason | None:
        """Append to a queued call all tokens that are noted to follow. Returns why its text ends, if it does."""
        if not call.reuses:
            return None
        for token in self._tree.known(call.tokens):
            self._work.known += 1
            self._work.generated += 1
            stop = call.draw(token, self._vocabulary)
            if stop is not None:
                return stop
        return None

    def note(self, call: Call, sequence: Sequence, drawn: array[int]) -> None:
        """Note the tokens that the model chose after each of the last tokens of a call's sequence."""
        if call.reuses:
            self._tree.note(sequence, drawn)


def can_reuse(call: Call, other: Call) -> bool:
    """True if greedy output of `other` may be reused for a call with the same text."""
    return call.reuses and other.reuses
