"""The decisions of Parallel-Probe (arXiv 2602.03845), as its released code makes them: which branches are pruned, which
answer leads, and when the answer is certain enough to stop.

No model, no clock and no event is known here: a watcher asks it about branches that are being written, and a benchmark
about recorded ones.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

__all__ = ["DISAGREEMENTS", "PATIENCE", "WARM_UP", "Decisions", "majority"]

WARM_UP: Final = 15
"""Steps before disagreements are counted, in the released code."""
PATIENCE: Final = 40
"""Steps in which the winner has to stay the same, in the released code."""
DISAGREEMENTS: Final = 7
"""Steps in a row in which a branch disagrees, after which it is pruned, in the released code."""


class Decisions:
    """The state of all branches of one question, step by step.

    Args:
        branches: number of branches; each is named by its place, from 0.
        warm_up: number of steps in which no branch is pruned, and no disagreement counted.
        patience: the branches are steady after the winner was the same in that many steps after another.
        disagreements: a branch is pruned after that many steps in a row in which its answer was not the winner.
    """

    def __init__(
        self,
        branches: int,
        *,
        warm_up: int = WARM_UP,
        patience: int = PATIENCE,
        disagreements: int = DISAGREEMENTS,
    ) -> None:
        self.standing = list(range(branches))
        """The branches that are not pruned, in order; those that are done are among them."""
        self.winner: Hashable = None
        """The most frequent answer of the standing branches at the last step."""
        self.steady = 0
        """Steps in a row in which the winner was the winner of the step before."""
        self.steps = 0
        self.over = False
        """Whether the winner is final: it was steady for long enough, or no branch is being written any more."""
        self._warm_up = warm_up
        self._patience = patience
        self._most = disagreements
        self._disagreements = [0] * branches

    def step(self, answers: Sequence[Hashable], done: Sequence[bool]) -> list[int]:
        """Decide, once each branch that is written has answered again; returns the branches that are pruned now.

        Args:
            answers: the newest answer of each branch; where it is done, its final one. Of pruned ones none is read.
            done: whether each branch has reached its end.
        """
        winner = majority([answers[branch] for branch in self.standing])
        pruned: list[int] = []
        if self.steps >= self._warm_up and len(self.standing) > 1:
            pruned = self._disagreeing(winner, answers, done)
            if pruned:
                self.drop(pruned)
                winner = majority([answers[branch] for branch in self.standing])
        self.steady = self.steady + 1 if winner == self.winner else 0
        self.winner = winner
        self.steps += 1
        self.over = self.steady >= self._patience or all(done[branch] for branch in self.standing)
        return pruned

    def drop(self, branches: Iterable[int]) -> None:
        """Take the votes of branches away."""
        gone = set(branches)
        self.standing = [branch for branch in self.standing if branch not in gone]

    def _disagreeing(self, winner: Hashable, answers: Sequence[Hashable], done: Sequence[bool]) -> list[int]:
        """Count the disagreements of the branches that are written; returns those that have disagreed too often."""
        found: list[int] = []
        counts = self._disagreements
        for branch in self.standing:
            if not done[branch]:
                counts[branch] = 0 if answers[branch] == winner else counts[branch] + 1
                if counts[branch] >= self._most:
                    found.append(branch)
        return found


def majority(answers: Sequence[Hashable]) -> Hashable:
    """The most frequent answer; of equals the one that comes first. None where there is none."""
    counts = Counter(answers)
    return max(counts, key=counts.__getitem__, default=None)
