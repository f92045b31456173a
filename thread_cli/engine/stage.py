"""The environment of one episode, as its threads meet it: one action at a time, within a thread's time.

At this boundary an environment's faults are told from those of other parts. Where threads run at the same time, an
exclusive environment is acted on in turns (`leases.py`), a forkable one has several worlds (`worlds.py`). As long as
one thread runs at a time, neither is asked.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager, nullcontext
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Final, cast, get_args

from thread_cli.contracts.environment import (
    Action,
    AtJoin,
    Concurrency,
    Concurrent,
    Joins,
    Marks,
    Parallel,
    Scores,
    Snapshots,
    Step,
    TakesActions,
)
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.contracts.events import Conflicted
from thread_cli.contracts.protocol import Result
from thread_cli.engine.boundary import blaming
from thread_cli.engine.episode import plain
from thread_cli.engine.leases import Leases
from thread_cli.engine.limits import before
from thread_cli.engine.worlds import Deed, Mark, World, Worlds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from thread_cli.contracts.environment import Environment, Task
    from thread_cli.engine.episode import Recorder
    from thread_cli.engine.limits import Deadline
    from thread_cli.engine.namespace import Namespace
    from thread_cli.engine.thread import Thread
    from thread_cli.engine.worlds import Conflict
    from thread_cli.protocols.prompt import ObservationRules

__all__ = ["EpisodeOver", "Stage", "WorldOver", "as_read", "concurrency_of"]


_ENDED: Final = "the environment has ended what this thread acts on"


class EpisodeOver(Exception):
    """The environment ended the episode: no thread goes on."""


class WorldOver(Exception):
    """The environment ended the world of a child: the thread that acts on it ends. The message is for its parent."""


class Stage:
    """The environment of one episode, None for an episode without actions.

    Raises:
        UserError: the environment declares a concurrency that does not exist, or that it is not able to keep.
    """

    def __init__(self, environment: Environment | None) -> None:
        self._environment = environment
        self._takes_actions = isinstance(environment, TakesActions)
        kind = concurrency_of(environment)
        self._acting = nullcontext() if kind == "shared" else asyncio.Lock()
        self._main = World()
        self._kind = kind
        self._leases: Leases | None = None
        self._worlds: Worlds | None = None
        self._deadline: Deadline | None = None
        """The deadline of the thread that acts, on an environment that is not shared."""
        self.several = False
        """Whether threads have run at the same time that may act on an environment which is not shared. Until then,
        there are neither leases nor worlds."""

    @property
    def reward(self) -> float:
        """The sum of the rewards."""
        return self._main.reward

    @property
    def over(self) -> bool:
        """Whether the environment has ended the episode."""
        return self._main.over

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
        """Carry out an action of a thread; raises as `open` does, and where there is no more to act on.

        Returns the answer, and the seconds that it took, without waiting for other threads' actions.

        Raises:
            EpisodeOver: the environment has ended the episode.
            WorldOver: the environment has ended the world that the thread acts on.
        """
        if self._environment is None:
            return Step("There is nothing here to act on"), 0.0
        async with self._within(deadline, thread):
            world = await self._entered(thread) if self.several else self._main
            started = time.monotonic()
            step = None if world.over else await self._taken(self._environment, world, action, deadline, thread)
            seconds = time.monotonic() - started
        if step is None:
            raise EpisodeOver if world is self._main else WorldOver(_ENDED)
        return Step(plain(step.observation), step.reward, step.done, step.view), seconds

    async def _taken(
        self, environment: Environment, world: World, action: str, deadline: Deadline | None, thread: str
    ) -> Step:
        try:
            step = _usable(await self._step(environment, action, deadline, thread))
        except BaseException:
            if self._worlds is not None:
                self._worlds.cut_off(world)
            raise
        world.took(Deed(action, step, thread))
        return step

    async def _step(self, environment: Environment, action: str, deadline: Deadline | None, thread: str) -> Step:
        if not self._takes_actions:
            return await environment.step(action)
        left = None if deadline is None else max(0.0, deadline.at - asyncio.get_running_loop().time())
        left = left if left is None or isfinite(left) else None
        return await cast("TakesActions", environment).act(Action(action, thread, left))

    async def _carried_out(self, action: str, thread: str) -> Step:
        return _usable(await self._step(cast("Environment", self._environment), action, self._deadline, thread))

    async def _entered(self, thread: str) -> World:
        """The world that a thread acts on, with the environment in its state."""
        if self._worlds is None:
            return self._main
        world = self._worlds.of(thread)
        await self._worlds.enter(world)
        return world

    # --- threads that run at the same time

    def spawned(self, parent: Thread, children: Sequence[Thread], *, at_once: bool) -> None:
        """Note the birth of children. `at_once`: they run at the same time as each other, or as their parent."""
        if self._kind == "shared":
            return
        if not self.several:
            self.several = True
            self._begin(parent)
        paths = [child.path for child in children]
        if self._leases is not None:
            self._leases.began(paths)
        if self._worlds is not None and at_once:
            self._worlds.fork(parent.path, paths)

    def _begin(self, parent: Thread) -> None:
        """Get ready for the first threads that run at the same time: children of this one."""
        if self._kind == "forkable":
            at_join = self._environment.at_join if isinstance(self._environment, Joins) else "replay"
            self._worlds = Worlds(cast("Snapshots", self._environment), self._carried_out, self._main, at_join)
            return
        self._leases = Leases()
        above: Thread | None = parent
        while above is not None:
            self._leases.began([above.path])
            above = above.parent

    def ended(self, thread: str) -> None:
        """Note the end of a thread, and of all below it that are not detached; another one may act now."""
        if self._worlds is not None:
            self._worlds.ended(thread)
        elif self._leases is not None:
            self._leases.ended(thread)

    async def join(
        self, parent: Thread, children: Sequence[Thread | Result], results: list[Result], recorder: Recorder
    ) -> list[Result]:
        """Join the worlds of children that have ended; returns their results, with an account of each conflict.

        Raises:
            EnvironmentFailed: the environment broke.
            EpisodeOver: an action of a child has ended the episode.
            LimitReached: the parent's time is up; the worlds of the children before are joined.
        """
        if self._worlds is None:
            return results
        paths = [child.path for child in children if not isinstance(child, Result)]
        async with self._within(parent.deadline):
            conflicts = {conflict.child: conflict for conflict in await self._worlds.join(parent.path, paths)}
        if recorder.following is not None and not self.over:
            await recorder.following.turn(parent)
        for conflict in conflicts.values():
            recorder.emit(
                Conflicted,
                parent,
                child=conflict.child,
                action=conflict.deed.action,
                seen=plain(conflict.deed.step.observation),
                now=plain(conflict.now.observation),
                actions=conflict.actions,
            )
        if self.over:
            raise EpisodeOver
        return [
            result if isinstance(child, Result) else _in_conflict(result, conflicts.get(child.path))
            for child, result in zip(children, results, strict=True)
        ]

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

    async def checkpoint(self, deadline: Deadline | None, thread: str) -> Callable[[], Awaitable[None]]:
        """Save the state that a thread acts on. Returns a function that restores it, or does nothing if the environment
        has no snapshots.
        """
        environment = self._environment
        if not isinstance(environment, Snapshots):
            return _leave_as_it_is
        async with self._within(deadline, thread):
            if self._worlds is None:
                mark = Mark(self._main, await environment.snapshot(), self.reward, 0)
            else:
                mark = await self._worlds.marked(thread)

        async def rewind() -> None:
            async with self._within(deadline, thread):
                if self._worlds is not None:
                    await self._worlds.rewind(mark)
                    return
                await environment.restore(mark.saved)
                self._main.reward = mark.reward

        return rewind

    @asynccontextmanager
    async def _within(self, deadline: Deadline | None, thread: str | None = None) -> AsyncGenerator[None]:
        """A call of the environment; one of a `thread` that acts waits for its turn."""
        with before(deadline):
            if self._leases is not None and thread is not None:
                await self._leases.turn(thread)
            async with self._acting:
                self._deadline = deadline
                with blaming(EnvironmentFailed):
                    yield


def concurrency_of(environment: object) -> Concurrency:
    """The concurrency of an environment; None for no environment is shared.

    Raises:
        UserError: it declares one that does not exist, or that it is not able to keep.
    """
    if environment is None:
        return "shared"
    if not isinstance(environment, Concurrent):
        return "shared" if isinstance(environment, Parallel) else "exclusive"
    name, declared, at_join = type(environment).__name__, environment.concurrency, getattr(environment, "at_join", None)
    for what, value, values in (
        ("concurrency", declared, get_args(Concurrency)),
        ("at_join", at_join, (None, *get_args(AtJoin))),
    ):
        if value not in values:
            known = ", ".join(filter(None, values))
            raise UserError(f"the environment {name} declares the {what} {value!r}; there are {known}")
    if declared == "forkable" and not isinstance(environment, Snapshots):
        raise UserError(f"the environment {name} is declared forkable, but has no methods snapshot and restore")
    return declared


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


def _in_conflict(result: Result, conflict: Conflict | None) -> Result:
    """A child's result, with an account of the conflict that it was in, if it was in one."""
    if conflict is None:
        return result
    deed, now = conflict.deed, conflict.now
    answer = f"got {now.observation.strip()!r} at the join, and not {deed.step.observation.strip()!r} as before"
    if now.observation == deed.step.observation:
        answer = "earned another reward, or ended the episode otherwise, at the join than before"
    text = f"error: conflict: the action {deed.action!r} {answer}; none of this thread's actions was kept"
    return result._replace(text=plain(f"{text}. So far: {result.text}"), failed=True)


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
