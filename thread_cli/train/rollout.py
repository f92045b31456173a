"""Roll-outs of a model in training through the real executor: to measure an adapter, and to get new threads to learn
from.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thread_cli.assembly.config import Config
from thread_cli.bench.plan import Plan
from thread_cli.bench.playing import Settings, run
from thread_cli.bench.runner import Ending
from thread_cli.contracts.errors import ExitCode, UserError
from thread_cli.models.llama.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from thread_cli.bench.suite import Suite

__all__ = ["Played", "Rollout"]


@dataclass(frozen=True, slots=True)
class Played:
    """The results of a run's episodes."""

    solved: int
    episodes: int

    def __str__(self) -> str:
        share = f" ({self.solved / self.episodes:.1%})" if self.episodes else ""
        return f"{self.solved} of {self.episodes} episodes solved{share}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How episodes are played for training: a suite, or a random part of it, without a few-shot prompt.

    Args:
        suite: the tasks.
        base: file of the base model; None for the embedded one.
        quant: format that base and adapter are merged into; an adapter applied to a rounded base is another model.
        temperature: of sampling.
        prompt: name or file of the prompt.
        limit: tasks of each part; None for all.
        epochs: episodes of each task.
        seed: of the choice of tasks and of sampling.
        concurrency: episodes under way at once.
        tell: gets lines for people.
    """

    suite: Suite
    base: Path | None
    prompt: str
    quant: str = "q8_0"
    temperature: float = 0.0
    limit: int | None = None
    epochs: int = 1
    seed: int = 0
    concurrency: int = 8
    tell: Callable[[str], None] | None = None

    def play(self, adapter: Path | None, folder: Path) -> Played:
        """Play with an adapter. `folder` becomes the folder of a bench run; a run begun there is resumed.

        Raises:
            UserError: tasks or model cannot be loaded, or the infrastructure fails.
        """
        model = prepare(
            self.base,
            self.tell or (lambda _: None),
            adapters=() if adapter is None else (adapter,),
            quant=self.quant,
            base=True,
        )
        spec = {"spec": f"llama:{model.absolute()}", "temperature": self.temperature}
        config = Config.of(prompt=self.prompt, seed=self.seed, model=spec)
        plan = Plan.of(self.suite, config, epochs=self.epochs, limit=self.limit, shuffle=True)
        outcome = asyncio.run(run(plan, folder, Settings(concurrency=self.concurrency, tell=self.tell)))
        tally = outcome.progress.all
        if outcome.ending is not Ending.complete or not tally.judged:
            raise UserError(
                f"the episodes in {folder} could not be played: {outcome.trouble or outcome.ending}",
                ExitCode.infrastructure,
            )
        return Played(tally.solved, tally.judged)
