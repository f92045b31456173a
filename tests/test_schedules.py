"""Random schedules: results, names and counted limits follow the order of spawning, and nothing is left over."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from later import joins
from rooms import Walls

from thread_cli.contracts.environment import Step
from thread_cli.contracts.interpreter import Outcome
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Completion, Request
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.record import first_difference

RULES = {"several": "- ", "background": "& ", "independent": True}


class Moments:
    """Makes model, interpreter and environment wait for random times; at one of these moments something may happen."""

    def __init__(self, pick: random.Random, at: int = -1, happens: Any = None) -> None:
        self.pick, self.at, self.happens, self.count = pick, at, happens, 0

    async def pass_by(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.happens()
        await asyncio.sleep(self.pick.choice([0, 0, 0.001, 0.003]))


class Waits:
    """A model, an interpreter and an environment that wait for a moment, before and after they do what they do."""

    patience = 10.0

    def __init__(self, model: Any, moments: Moments, variables: Any) -> None:
        self._model, self._moments, self._variables = model, moments, variables

    async def complete(self, request: Request) -> Completion:
        await self._moments.pass_by()
        written = await self._model.complete(request)
        await self._moments.pass_by()
        return written

    async def run(self, code: str, names: Any, *, thread: str = "") -> Outcome:
        await self._moments.pass_by()
        return await self._variables.run(code, names, thread=thread)

    async def close(self) -> None:
        pass


class Echo(Walls):
    """An environment whose answers depend on nothing but the action."""

    def __init__(self, moments: Moments) -> None:
        super().__init__()
        self._moments = moments

    async def step(self, action: str) -> Step:
        await self._moments.pass_by()
        return Step(f"You did {action}")


def drawn(pick: random.Random, *, timely: bool = False, failures: float = 0.2) -> list[Role]:
    """Threads that spawn in all ways, await, act, bind, fail and return at random; `timely`: also await any."""
    roles: list[Role] = []

    def thread(path: str) -> None:
        lines = ["x0 = x1 = x2 = ''"] if path == "0" else []
        lines.append(f"x{pick.randrange(3)} = '{path}'")
        born = 0
        for _ in range(pick.randrange(1, 5)):
            move = pick.choice(["- ", "& ", "& ", "name", "line", "act", "bind", "await", "any" if timely else "await"])
            if move in {"- ", "& ", "name", "line"} and path.count(".") < 3:
                count = pick.randrange(1, 4) if move in {"- ", "& "} else 1
                begins = {"name": f"y{born} = ", "line": ""}.get(move, move)
                lines.append("\n".join(f"{begins}do {path} {born + n}" for n in range(count)) + " =>")
                for n in range(count):
                    thread(f"{path}.{born + n}")
                born += count
            elif move == "bind":
                lines.append(f"x{pick.randrange(3)} = '{path} later'")
            elif move == "act":
                lines.append(f"> look {path} =>")
            elif move == "any":
                lines.append("await any =>")
            elif move == "await":
                handles = " ".join(str(pick.randrange(born + 1)) for _ in range(pick.randrange(3)))
                lines.append(f"await {handles or 'all'} =>")
        fails = path != "0" and pick.random() < failures
        lines.append("nothing" if fails else "x3 = [x for x in (x0, x1, x2) if x]\nprint(x3)")
        roles.append(Role(path=path, text="\n".join(lines)))

    thread("0")
    return roles


async def played(play: Any, model: Any, moments: Moments, variables: Any, **options: Any) -> Any:
    waits = Waits(model, moments, variables)
    options.setdefault("limits", Limits(calls=None, repeats=100))
    writes = model if isinstance(model, ReplayModel) else waits
    playing = play(writes, interpreter=waits, environment=Echo(moments), rules=RULES, **options)
    return await asyncio.wait_for(playing, 60)


def nothing_is_left() -> bool:
    """Whether no thread runs and no deadline is kept any more."""
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    clocks = [timer for timer in timers if "Clock" in repr(timer)]
    return not clocks and not [task for task in asyncio.all_tasks() if task.get_name().partition(".")[0] == "0"]


class Looks:
    """A watcher that keeps the main thread."""

    def begin(self, episode: Any) -> None:
        self.episode = episode

    def see(self, event: Any) -> None:
        if event.kind == "thread_started" and event.thread == "0":
            self.main = self.episode._live["0"]

    def hear(self, thread: str, piece: Any) -> None: ...


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_schedule_results_names_and_limits_are_those_of_the_order_of_spawning(
    play, variables, seed
) -> None:
    pick = random.Random(seed)
    roles = drawn(pick)
    limits = Limits(calls=pick.choice([15, 30, 60, 200]), threads=pick.choice([10, 40, 1000]), repeats=100)
    told: list[tuple[dict[str, str], dict[str, Any]]] = []
    for draw in range(3):
        moments = Moments(random.Random(1000 * seed + draw))
        done = await played(play, ScriptedModel(roles), moments, variables, limits=limits)
        assert nothing_is_left()
        ended = {event.thread: event for event in done.of("thread_ended") if event.how != "stopped"}
        told.append(({path: done.y(path) for path in ended}, {path: event.result for path, event in ended.items()}))
    # A child that a failure of its parent stopped in one run may have ended before it in another.
    ended = set.intersection(*(set(texts) for texts, _ in told))
    assert "0" in ended
    for texts, results in told[1:]:
        assert {path: texts[path] for path in ended} == {path: told[0][0][path] for path in ended}
        assert {path: results[path] for path in ended} == {path: told[0][1][path] for path in ended}


@pytest.mark.parametrize("seed", range(8))
async def test_what_was_lent_to_children_has_come_back_when_all_have_joined(play, variables, seed) -> None:
    looks, moments = Looks(), Moments(random.Random(seed))
    model = ScriptedModel(drawn(random.Random(seed), failures=0))
    limits = Limits(calls=100_000, threads=100_000, repeats=100)
    done = await played(play, model, moments, variables, limits=limits, watchers=[looks])
    assert not done.of("failed")
    spent = looks.main.budget._spent
    assert (spent["calls"], spent["threads"]) == (done.episode.totals.calls, done.episode.totals.threads)


@pytest.mark.parametrize("seed", range(3))
async def test_an_episode_that_is_cancelled_at_any_moment_leaves_nothing(play, variables, seed) -> None:
    roles, whole = drawn(random.Random(seed)), Moments(random.Random(seed))
    await played(play, ScriptedModel(roles), whole, variables)
    for moment in range(1, whole.count + 1, max(1, whole.count // 25)):
        events: list[Any] = []
        moments = Moments(random.Random(seed), moment, lambda: playing.cancel())  # noqa: PLW0108
        playing = asyncio.ensure_future(played(play, ScriptedModel(roles), moments, variables, sinks=[events.append]))
        await asyncio.wait([playing], timeout=30)
        assert playing.done()
        assert nothing_is_left()
        started = [event.thread for event in events if event.kind == "thread_started"]
        assert sorted(started) == sorted(event.thread for event in events if event.kind == "thread_ended")
        assert events[-1].kind == "episode_ended"


@pytest.mark.parametrize("seed", range(10))
async def test_a_replay_follows_what_depended_on_time(play, variables, seed) -> None:
    moments = Moments(random.Random(seed))
    first = await played(play, ScriptedModel(drawn(random.Random(seed), timely=True, failures=0)), moments, variables)
    other = Moments(random.Random(seed + 500))
    again = await played(play, ReplayModel(first.events), other, variables)
    assert first_difference(first.events, again.events) is None
    assert joins(again) == joins(first)
