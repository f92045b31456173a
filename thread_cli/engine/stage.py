"""The environment of one episode, as its threads meet it: one action at a time, within a thread's time.

At this boundary an environment's faults are told from those of other parts.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from thread_cli.contracts.environment import Parallel, Snapshots, Step
from thread_cli.contracts.errors import EnvironmentFailed
from thread_cli.engine.boundary import blaming
from thread_cli.engine.episode import plain
from thread_cli.engine.limits import before

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.engine.limits import Deadline
    from thread_cli.engine.namespace import Namespace
    from thread_cli.protocols.prompt import ObservationRules

__all__ = ["EpisodeOver", "Stage", "as_read"]


class EpisodeOver(Exception):
    """The environment ended the episode: no thread goes on."""


class Stage:
    """The environment of one episode, None for an episode without actions. `reward` sums up the rewards."""

    def __init__(self, environment: Environment | None) -> None:
        self._environment = environment
        self._acting = nullcontext() if isinstance(environment, Parallel) else asyncio.Lock()
        self.reward = 0.0
        self.over = False
        """Whether the environment has ended the episode."""

    async def open(self, task: Task, deadline: Deadline | None) -> str:
        """Begin the episode; returns the main thread's context.

        Raises:
            EnvironmentFailed: the environment broke.
            LimitReached: the time is up.
        """
        if self._environment is None:
            return plain(task.text)
        async with self._within(deadline):
            return plain(await self._environment.reset(task))

    async def act(self, action: str, deadline: Deadline | None) -> tuple[Step, float]:
        """Carry out an action; raises as `open` does, and `EpisodeOver` if the environment has ended the episode.

        Returns the answer, and the seconds that it took, without waiting for other threads' actions.
        """
        if self._environment is None:
            return Step("There is nothing here to act on"), 0.0
        async with self._within(deadline):
            started = time.monotonic()
            step = None if self.over else await self._environment.step(action)
            seconds = time.monotonic() - started
        if step is None:
            raise EpisodeOver
        self.reward += step.reward
        self.over = self.over or step.done
        return Step(plain(step.observation), step.reward, step.done, step.view), seconds

    async def checkpoint(self, deadline: Deadline | None) -> Callable[[], Awaitable[None]]:
        """Save the state. Returns a function that restores it, or does nothing if the environment has no snapshots."""
        reward, environment = self.reward, self._environment
        if not isinstance(environment, Snapshots):
            return _leave_as_it_is
        async with self._within(deadline):
            snapshot = await environment.snapshot()

        async def rewind() -> None:
            async with self._within(deadline):
                await environment.restore(snapshot)
            self.reward = reward

        return rewind

    @asynccontextmanager
    async def _within(self, deadline: Deadline | None) -> AsyncGenerator[None]:
        async with before(deadline), self._acting:
            with blaming(EnvironmentFailed):
                yield


def as_read(observation: str, rules: ObservationRules, names: Namespace) -> str:
    """An observation as a thread with these names reads it, by its prompt's rules."""
    text = observation.strip()
    for pattern in rules.drop:
        text = re.sub(pattern, "", text)
    if rules.full_stop and not text.endswith("."):
        text += "."
    return names.put_back(text) if rules.names else text


async def _leave_as_it_is() -> None:
    """Restore nothing: the environment cannot be rewound."""
