"""The environment of one episode, as its threads meet it: one action at a time, within a thread's time.

At this boundary an environment's faults are told from those of other parts.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager, nullcontext
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, cast

from thread_cli.contracts.environment import Action, Marks, Parallel, Scores, Snapshots, Step, TakesActions
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
        self._takes_actions = isinstance(environment, TakesActions)
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

    async def act(self, action: str, deadline: Deadline | None, thread: str) -> tuple[Step, float]:
        """Carry out an action of a thread; raises as `open` does, and `EpisodeOver` where there is no more to act on.

        Returns the answer, and the seconds that it took, without waiting for other threads' actions.
        """
        if self._environment is None:
            return Step("There is nothing here to act on"), 0.0
        async with self._within(deadline):
            started = time.monotonic()
            step = None if self.over else _usable(await self._step(self._environment, action, deadline, thread))
            seconds = time.monotonic() - started
        if step is None:
            raise EpisodeOver
        self.reward += step.reward
        self.over = self.over or step.done
        return Step(plain(step.observation), step.reward, step.done, step.view), seconds

    async def _step(self, environment: Environment, action: str, deadline: Deadline | None, thread: str) -> Step:
        if not self._takes_actions:
            return await environment.step(action)
        left = None if deadline is None else max(0.0, deadline.at - asyncio.get_running_loop().time())
        return await cast("TakesActions", environment).act(Action(action, thread, left))

    async def marks(
        self, task: Task, answer: str | None, deadline: Deadline | None
    ) -> tuple[Mapping[str, float], BaseException | None]:
        """Marks of an episode, none if the environment gives none. `answer` is None where the environment ended it.

        Returned with them is the error for which they are missing: the environment broke, the time was up, or the call
        was cancelled.
        """
        environment = self._environment
        try:
            if isinstance(environment, Marks):
                async with self._within(deadline):
                    return _checked(await environment.marks(task, answer or "")), None
            if answer is None or not isinstance(environment, Scores):
                return {}, None
            with blaming(EnvironmentFailed):
                return _checked(environment.score(task, answer)), None
        except BaseException as caught:  # noqa: BLE001 - recorded as what ended the episode, then raised again
            return {}, caught

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
        with before(deadline):
            async with self._acting:
                with blaming(EnvironmentFailed):
                    yield


def as_read(observation: str, rules: ObservationRules, names: Namespace) -> str:
    """An observation as a thread with these names reads it, by its prompt's rules."""
    text = observation.strip()
    for pattern in rules.drop:
        text = re.sub(pattern, "", text)
    if 0 < rules.longest < len(text):
        half, left_out = rules.longest // 2, len(text) - rules.longest
        text = f"{text[: rules.longest - half]}[… {left_out} characters are left out …]{text[len(text) - half :]}"
    if rules.full_stop and not text.endswith("."):
        text += "."
    return names.put_back(text) if rules.names else text


def _usable(step: Step | None) -> Step:
    """An environment's answer; raises EnvironmentFailed where it is one that the log cannot hold, or not give back."""
    if step is None:
        raise EnvironmentFailed("it has no answer to an action: its method returned nothing")
    texts = (step.observation, step.view)
    if not all(map(_is_text, texts)):
        raise EnvironmentFailed(f"its observation or its view is no text: {texts!r:.80}")
    if not _is_number(step.reward):
        raise EnvironmentFailed(f"its reward for an action is no number: {step.reward!r:.80}")
    return step


def _checked(marks: object) -> Mapping[str, float]:
    """An environment's marks; raises EnvironmentFailed where they are none."""
    if not isinstance(marks, Mapping):
        raise EnvironmentFailed(f"its marks are no numbers by name: {marks!r:.80}")
    named = cast("Mapping[object, object]", marks)
    for name, mark in named.items():
        if not isinstance(name, str) or not _is_number(mark):
            raise EnvironmentFailed(f"its mark {name!r:.80} is no number by a name: {mark!r:.80}")
    return {plain(cast("str", name)): float(cast("float", mark)) for name, mark in named.items()}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    """Whether JSON has that number."""
    try:
        return isinstance(value, Real) and isfinite(value)
    except OverflowError:
        return False


async def _leave_as_it_is() -> None:
    """Restore nothing: the environment cannot be rewound."""
