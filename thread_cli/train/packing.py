"""Trie packing (ThreadWeaver, arXiv 2512.07843): training computes a prefix that threads share only once.

Token sequences go into a trie, which is flattened so that each token stands after the one before it in its sequence and
before all that follow it. A token attends to its ancestors only, and its position is its depth in the trie: so every
sequence has the logits that it would have alone. A learned token is predicted from the logits at its parent.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from thread_cli.train.trajectories import Trajectory
    from thread_cli.train.vocabulary import Vocabulary

__all__ = ["Example", "Pack", "examples_of", "packed", "packs_of"]


@dataclass(frozen=True, slots=True, order=True)
class Example:
    """The tokens of a thread, and for each whether the model has to write it."""

    tokens: tuple[int, ...]
    learned: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """A flattened trie of n tokens."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    """Place of the token before each one; -1 for those that begin a sequence."""
    ends: tuple[int, ...]
    """Place behind the last descendant of each token."""
    positions: tuple[int, ...]
    """Depth of each token in the trie, from 0."""
    weights: tuple[int, ...]
    """Number of sequences in which the token is learned."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def learned(self) -> int:
        """Learned tokens of all sequences."""
        return sum(self.weights)

    def places(self, tokens: Sequence[int]) -> list[int]:
        """Places of a sequence's tokens; raises KeyError if it is not in the pack."""
        children = {edge: place for place, edge in enumerate(zip(self.parents, self.tokens, strict=True))}
        found: list[int] = []
        for token in tokens:
            found.append(children[found[-1] if found else -1, token])
        return found


def examples_of(trajectories: Sequence[Trajectory], vocabulary: Vocabulary, longest: int) -> tuple[list[Example], int]:
    """Trajectories as tokens, each segment tokenised by itself as in the backend; and the number of those too long."""
    examples: list[Example] = []
    for trajectory in trajectories:
        tokens: list[int] = []
        learned: list[bool] = []
        for segment in trajectory.segments:
            new = vocabulary.encode(segment.text, first=not tokens)
            tokens += new
            learned += [segment.learned] * len(new)
        if len(tokens) <= longest:
            examples.append(Example(tuple(tokens), tuple(learned)))
    return examples, len(trajectories) - len(examples)


def packed(examples: Iterable[Example]) -> Pack:
    """The pack of these examples.

    Raises:
        ValueError: a learned token begins its sequence, so that no logits predict it.
    """
    tokens: list[int] = []
    parents: list[int] = []
    ends: list[int] = []
    positions: list[int] = []
    weights: list[int] = []
    path: list[int] = []
    # Sorted by tokens, each sequence has its longest common prefix with the one before it.
    for example in sorted(examples):
        shared = _shared(example.tokens, [tokens[place] for place in path])
        del path[shared:]
        for token in example.tokens[shared:]:
            parents.append(path[-1] if path else -1)
            positions.append(len(path))
            path.append(len(tokens))
            tokens.append(token)
            ends.append(len(tokens))
            weights.append(0)
        for place in path:
            ends[place] = len(tokens)
        for place, learned in zip(path, example.learned, strict=True):
            if learned and parents[place] < 0:
                raise ValueError("the first token of a sequence cannot be learned: nothing predicts it")
            weights[place] += learned
    return Pack(tuple(tokens), tuple(parents), tuple(ends), tuple(positions), tuple(weights))


def packs_of(examples: Iterable[Example], length: int, *, seed: int | str = 0, bins: int = 16) -> list[Pack]:
    """All examples in packs of at most `length` tokens, in random order; a longer example has a pack of its own.

    Each example goes where it adds the fewest tokens, among `bins` packs that are being filled.
    """
    rng = random.Random(seed)
    order = sorted(examples)
    rng.shuffle(order)
    filled: list[_Bin] = []
    full: list[_Bin] = []
    for example in order:
        # Among packs to which it adds the same number of tokens, the fullest.
        costs = [(bin_.cost(example), -bin_.size, place) for place, bin_ in enumerate(filled)]
        fitting = [cost for cost in costs if cost[0] - cost[1] <= length]
        if fitting:
            filled[min(fitting)[2]].add(example)
            continue
        if len(filled) == bins:
            full.append(filled.pop(max(range(bins), key=lambda place: filled[place].size)))
        filled.append(_Bin())
        filled[-1].add(example)
    packs = [packed(bin_.examples) for bin_ in full + filled]
    rng.shuffle(packs)
    return packs


class _Bin:
    """Examples of a pack being filled, in the order of their tokens."""

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self.size = 0

    def cost(self, example: Example) -> int:
        """Number of tokens that the example would add."""
        place = bisect_left(self.examples, example)
        near = self.examples[max(0, place - 1) : place + 1]
        return len(example.tokens) - max((_shared(example.tokens, other.tokens) for other in near), default=0)

    def add(self, example: Example) -> None:
        self.size += self.cost(example)
        insort(self.examples, example)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix of two sequences, in tokens."""
    limit = min(len(one), len(other))
    return next((place for place in range(limit) if one[place] != other[place]), limit)
