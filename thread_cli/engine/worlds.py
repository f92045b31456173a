"""The worlds of a forkable environment: one object plays them all, by snapshots.

Each of several children has a world of its own, which begins as its parent's world is. A thread acts on the world of
the nearest thread at or above it that has one. Where another world than the last one is acted on, the last one is
saved and the other restored. At a join the actions of the children are carried out again on their parent's world, in
the order of spawning: all actions of a child, or none. Where nothing has happened there since the fork, the child's
world takes its place at once, which is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from thread_cli.contracts.environment import AtJoin, Snapshots, Step

__all__ = ["Conflict", "Deed", "Mark", "World", "Worlds"]


class Deed(NamedTuple):
    """An action, its answer, and the path of the thread that took it."""

    action: str
    step: Step
    thread: str


class Conflict(NamedTuple):
    """A child whose actions were not kept: the first action with another answer at the join."""

    child: str
    deed: Deed
    now: Step
    actions: int
    """Number of its actions."""


@dataclass(slots=True, eq=False)
class World:
    """One course of events. The main world has no world `above` it."""

    above: World | None = None
    since: int = 0
    """`changes` of the world above at the fork."""
    reward: float = 0.0
    over: bool = False
    """Whether the environment has ended it."""
    changes: int = 0
    base: object = None
    """The snapshot that it began from."""
    saved: object = None
    clean: bool = False
    """Whether `saved` is a snapshot of its state."""
    lost: bool = False
    """Whether an action was cut off, so that only its base and its deeds tell its state."""
    deeds: list[Deed] = field(default_factory=list[Deed])
    """All actions since it began; none are kept of the main world."""
    pending: list[World] = field(default_factory=list["World"])
    """Worlds that begin from its present state, of which there is no snapshot yet."""
    ended: bool = False
    """Whether its thread has ended."""
    orphan: bool = False
    """Whether nobody can join it any more."""

    def took(self, deed: Deed) -> None:
        """Note an action that was carried out on it."""
        self.changes += 1
        self.clean = False
        self.reward += deed.step.reward
        self.over = self.over or deed.step.done
        if self.above is not None:
            self.deeds.append(deed)

    def hand_on(self) -> None:
        """Give the snapshot of its state to the worlds that begin from it."""
        for world in self.pending:
            world.base = world.saved = self.saved
            world.clean = True
            world.hand_on()
        self.pending = []


class Mark(NamedTuple):
    """A state that a world was in: its snapshot, its reward, the number of its deeds, and whether it was over."""

    world: World
    saved: object
    reward: float
    deeds: int
    over: bool = False


class Worlds:
    """The worlds of one episode. Methods that await anything are called by one thread at a time.

    Args:
        environment: plays them.
        carry_out: has the environment carry out an action of a thread.
        main: the world of the main thread.
        at_join: what becomes of worlds at a join.
    """

    def __init__(
        self,
        environment: Snapshots,
        carry_out: Callable[[str, str], Awaitable[Step]],
        main: World,
        at_join: AtJoin,
    ) -> None:
        self._environment = environment
        self._carry_out = carry_out
        self._main = main
        self._at_join = at_join
        self._current: World | None = main
        """The world whose state the environment has now; None where it has the state of none of them."""
        self._worlds: dict[str, World] = {}
        """All worlds but the main one, by their threads."""
        self._below: dict[str, list[str]] = {}
        """For each thread, its children that have worlds."""

    def fork(self, thread: str, children: Sequence[str]) -> None:
        """Give each of these children of a thread a world of its own."""
        above = self.of(thread)
        for child in children:
            world = self._worlds[child] = World(above, above.changes)
            above.pending.append(world)
        if above.clean:
            above.hand_on()
        self._below.setdefault(thread, []).extend(children)

    def of(self, thread: str) -> World:
        """The world that a thread acts on."""
        path = thread if self._worlds else ""
        while path:
            if (world := self._worlds.get(path)) is not None:
                return world
            path = path.rpartition(".")[0]
        return self._main

    async def enter(self, world: World) -> None:
        """Bring the environment into the state of a world, and keep a snapshot where others begin from that state."""
        if self._current is not world:
            await self._based(world)
            if self._current is not None and self._current is not world:
                await self._save(self._current)
            await self._restored(world)
        if world.pending:
            await self._save(world)

    def cut_off(self, world: World) -> None:
        """Note that an action on a world was cut off. The main world is left in the state that it is in."""
        world.changes += 1
        world.clean = False
        if world is not self._main:
            world.lost, self._current = True, None

    def ended(self, thread: str) -> None:
        """Note the end of a thread. Worlds that nobody can join any more are dropped."""
        for child in self._below.pop(thread, ()):
            if (below := self._worlds.get(child)) is not None:
                below.orphan = True
                if below.ended:
                    self._drop(child)
        if (world := self._worlds.get(thread)) is not None:
            world.ended = True
            if world.orphan:
                self._drop(thread)

    async def join(self, thread: str, children: Sequence[str]) -> list[Conflict]:
        """Join the worlds of children that have ended, in the order of spawning; returns those in conflict."""
        into, conflicts = self.of(thread), list[Conflict]()
        for child in children:
            world = self._worlds.get(child)
            if world is None:
                continue
            if any(not below.ended for below in world.pending):  # they were detached, and still begin from its end
                await self._based(world.pending[0])
            if self._at_join == "replay" and world.deeds and not into.over:
                conflict = await self._joined(into, world, child)
                conflicts += [conflict] if conflict is not None else []
            self._drop(child)
        return conflicts

    async def marked(self, thread: str) -> Mark:
        """Save the state of the world that a thread acts on."""
        world = self.of(thread)
        await self.enter(world)
        await self._save(world)
        return Mark(world, world.saved, world.reward, len(world.deeds), world.over)

    async def rewind(self, mark: Mark) -> None:
        """Bring a world back into a state that was saved, and the environment into that state."""
        world, world.saved, world.reward, deeds, world.over = mark
        del world.deeds[deeds:]
        world.clean, world.lost = True, False
        world.changes += 1
        if self._current is world:
            self._current = None
        await self.enter(world)

    async def _joined(self, into: World, world: World, child: str) -> Conflict | None:
        if into.changes == world.since and not world.lost:
            if self._current in {world, into}:
                self._current = into if self._current is world else None
            into.saved, into.clean = world.saved, world.clean
        elif (conflict := await self._replayed(into, world, child)) is not None:
            return conflict
        into.changes += 1
        into.reward += world.reward
        into.over = world.over
        if into.above is not None:
            into.deeds += world.deeds
        return None

    async def _replayed(self, into: World, world: World, child: str) -> Conflict | None:
        """Carry out a child's actions on another world, all or none."""
        await self.enter(into)
        await self._save(into)
        self._current = None  # until all are carried out: else its snapshot is its state
        for deed in world.deeds:
            now = await self._carry_out(deed.action, deed.thread)
            if (now.observation, now.reward, now.done) != (deed.step.observation, deed.step.reward, deed.step.done):
                return Conflict(child, deed, now, len(world.deeds))
        self._current, into.clean = into, False
        return None

    def _drop(self, child: str) -> None:
        world = self._worlds.pop(child)
        if self._current is world:
            self._current = None
        if world.above is not None and world in world.above.pending:
            world.above.pending.remove(world)

    async def _based(self, world: World) -> None:
        """Make sure that there is a snapshot of the state that a world begins from."""
        above = world.above
        if above is not None and world in above.pending:
            await self.enter(above)

    async def _save(self, world: World) -> None:
        """Take a snapshot of the world that the environment is in, unless there is one."""
        if not world.clean:
            world.saved = await self._environment.snapshot()
            world.clean = True
        world.hand_on()

    async def _restored(self, world: World) -> None:
        """Bring the environment from the state of another world, which has been saved, into the state of this one."""
        before, self._current = self._current, None
        snapshot = world.base if world.lost else world.saved
        if before is None or before.saved is not snapshot:
            await self._environment.restore(snapshot)
        for deed in world.deeds if world.lost else ():
            await self._carry_out(deed.action, deed.thread)
        world.lost = False
        self._current = world
