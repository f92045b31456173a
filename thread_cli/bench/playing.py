"""Plays a run from its plan to its end: opens its parts in order, and closes them again."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thread_cli.assembly.models import priced
from thread_cli.bench.budget import Allowance
from thread_cli.bench.journal import Journal
from thread_cli.bench.plan import Plan
from thread_cli.bench.player import Player
from thread_cli.bench.progress import Progress
from thread_cli.bench.runner import Ending, Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.bench.plan import Item
    from thread_cli.bench.player import Players

__all__ = ["RunEnd", "Settings", "join", "run"]

_LONGEST_NAME: Final = 80  # characters


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a runner; none of them decides a result.

    `elsewhere` makes the players of a settled plan, if these are not in this process. `ready` is called before the
    first episode. `tell` gets lines for people where opening takes long.
    """

    concurrency: int = 8
    retries: int = 2
    retry_wait: float = 1.0
    allowance: Allowance = field(default_factory=Allowance)
    elsewhere: Callable[[Plan, int], Players] | None = None
    ready: Callable[[Runner, Progress], None] | None = None
    tell: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The end of a run, or of this runner's part in it. `trouble` is the infrastructure's last failure."""

    ending: Ending
    folder: Path
    progress: Progress
    trouble: str


async def run(plan: Plan, folder: Path | None = None, settings: Settings | None = None) -> RunEnd:
    """Play a plan, from its beginning or from where it was stopped.

    Episodes whose last attempt the infrastructure failed are played again. Without a `folder`, the run's is below
    `runs/`, under a name made of the plan.

    Raises:
        UserError: tasks or prompts are missing, the folder is of another run, or no episode can be played like this.
    """
    settings = settings or Settings()
    if folder is not None and (folder / "bench.toml").exists():
        plan = plan.model_copy(update={"keys": Plan.read(folder / "bench.toml").keys})
    async with aclosing(Player(plan, settings.tell)) as player:
        plan, items, prompts = player.settle()
        name = re.sub(r"[^\w .+-]", "-", f"{plan.suite.name}-{plan.method}")[:_LONGEST_NAME]
        journal = Journal.begin(folder or Path("runs") / f"{name}-{plan.identity[:8]}", plan, prompts)
        journal.set_aside_failures()
        return await _play(plan, items, journal, player, settings)


async def join(folder: Path, settings: Settings | None = None) -> RunEnd:
    """Help with a run that was begun elsewhere, until it is complete.

    Raises:
        UserError: there is none, this machine has other tasks or prompts, or no episode can be played like this.
    """
    settings = settings or Settings()
    journal, plan = Journal.opened(folder)
    async with aclosing(Player(plan, settings.tell)) as player:
        plan, items, _ = player.settle()
        journal.demand(plan)
        return await _play(plan, items, journal, player, settings)


async def _play(plan: Plan, items: list[Item], journal: Journal, player: Player, settings: Settings) -> RunEnd:
    settings.allowance.require_price(plan.config)
    progress = Progress(len(items), priced=priced(plan.config.model))
    async with aclosing(settings.elsewhere(plan, settings.concurrency) if settings.elsewhere else player) as players:
        runner = Runner(
            plan,
            items,
            journal,
            players,
            progress=progress,
            allowance=settings.allowance,
            concurrency=settings.concurrency,
            retries=settings.retries,
            retry_wait=settings.retry_wait,
        )
        if settings.ready:
            settings.ready(runner, progress)
        ending = await runner.run()
    return RunEnd(ending, journal.path, progress, runner.trouble)
