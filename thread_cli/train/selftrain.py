"""Self-training (ThreadWeaver, arXiv 2512.07843): a model learns from its own threads of solved episodes.

A round plays episodes with the adapter so far, takes the threads of solved episodes in which the engine had to correct
nothing, and trains a new adapter on them and all earlier data. Each of these steps leaves its result in a folder; the
same training started again resumes or skips it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import UserError
from thread_cli.train.collecting import Choice, collect
from thread_cli.train.trajectories import read, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from thread_cli.train.rollout import Rollout
    from thread_cli.train.trajectories import Trajectory

__all__ = ["SelfTraining"]

_CHOICE = Choice(examples=False, clean=True)


@dataclass(frozen=True, slots=True)
class SelfTraining:
    """Rounds of rolling out, filtering and fine-tuning.

    Args:
        rollout: how episodes are played.
        fit: trains an adapter on trajectories in a folder, and returns its path.
        folder: of all rounds.
        tell: gets lines for people.
    """

    rollout: Rollout
    fit: Callable[[Sequence[Trajectory], Path], Path]
    folder: Path
    tell: Callable[[str], None]

    def run(self, rounds: int, *, data: Sequence[Trajectory] = (), adapter: Path | None = None) -> Path:
        """The adapter of the last round. `data` is learned in every round, `adapter` plays the first one.

        Without an adapter, one is trained on the data before the first round.

        Raises:
            UserError: a step fails, or no episode was solved.
        """
        if adapter is None and data:
            self.tell("round 0: learning what was given")
            adapter = self.fit(data, self.folder / "round-0")
        known = list(data)
        for number in range(1, rounds + 1):
            folder = self.folder / f"round-{number}"
            played = self.rollout.play(adapter, folder / "run")
            self.tell(f"round {number}: {played}")
            known = _merged(known, self._learned(folder))
            if not known:
                raise UserError(
                    f"nothing was solved in {folder / 'run'}, so there is nothing to learn: begin with --data"
                )
            self.tell(f"round {number}: learning {len(known):,} threads")
            adapter = self.fit(known, folder)
        if adapter is None:
            raise UserError("self-training needs a round, or data")
        return adapter

    def _learned(self, folder: Path) -> list[Trajectory]:
        """The trajectories of a round, kept in its folder."""
        file = folder / "data.jsonl"
        if not file.exists():
            write(file, collect([folder / "run"], _CHOICE).trajectories)
        return read(file)


def _merged(known: Sequence[Trajectory], new: Sequence[Trajectory]) -> list[Trajectory]:
    """Both, each thread once."""
    return list({each.segments: each for each in [*new, *known]}.values())
