"""Runs in which an environment hung, a watcher or a child failed, or the recording does not fit: how they play again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pruning import LOOKING, When, at, ends, prune
from replaying import WORDS, replayed
from rooms import Walls

from thread_cli.contracts.environment import Step
from thread_cli.contracts.limits import Budgets, Limits
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.record import first_difference


class Late(Walls):
    """An environment that hangs when it is to begin, or when it is to mark an answer."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    async def reset(self, task: Any) -> str:
        await asyncio.sleep(10 * (self.where == "reset"))
        return task.text

    async def marks(self, task: Any, answer: str) -> dict[str, float]:
        await asyncio.sleep(10 * (self.where == "marks"))
        return {"right": 1.0}


@pytest.mark.parametrize("where", ["reset", "marks"])
async def test_a_replay_of_a_run_whose_environment_hung_has_no_time_left_there_either(play, where) -> None:
    first = await play(["print('end')"], environment=Late(where), limits=Limits(wall_time=0.05))
    assert first.episode.status == "limited"
    assert bool(first.of("thread_started")) == (where == "marks")
    again = await asyncio.wait_for(play(ReplayModel(first.events), environment=Late("")), 20)
    assert first_difference(first.events, again.events) is None


class Asks(Walls):
    """Notes how long its actions may take."""

    async def act(self, action: Any) -> Step:
        self.left = action.seconds
        return await self.step(action.text)


@pytest.mark.parametrize("wall_time", [None, 50])
async def test_an_action_in_a_replay_has_no_less_time_than_it_had(play, wall_time) -> None:
    limits = Limits(wall_time=wall_time)
    first = await play(LOOKING, environment=Asks(), limits=limits)
    environment = Asks()
    await play(ReplayModel(first.events), environment=environment, limits=limits)
    assert environment.left is None if wall_time is None else environment.left > wall_time


class Fails(When):
    """A watcher that fails at an event, or in the middle of a call."""

    def __init__(self, sign: Any) -> None:
        super().__init__(sign, self.fail)

    def fail(self, _: Any) -> None:
        raise RuntimeError("a fault")


@pytest.mark.parametrize(
    ("kind", "thread"), [("generated", "0.0"), ("acted", "0.0"), ("thread_started", "0.1"), ("thread_ended", "0.0.0")]
)
async def test_a_replay_of_a_run_whose_watcher_failed_ends_at_the_same_event(play, kind, thread) -> None:
    first = await play(LOOKING, environment=Walls(), watchers=[Fails(at(kind, thread))])
    assert first.episode.message == "watcher failed: RuntimeError: a fault"
    await replayed(play, first, environment=Walls())


@pytest.mark.parametrize("answer", [None, "42"])
async def test_a_watcher_may_end_the_episode_as_the_main_thread_has_just_ended(play, answer) -> None:
    watcher = When(at("thread_ended", "0"), lambda episode: episode.stop("seen", answer))
    first = await play(LOOKING, environment=Walls(), watchers=[watcher])
    assert first.episode.message == "a watcher ended the episode: seen"
    assert first.episode.answer == (answer or "end")
    again = await replayed(play, first, environment=Walls())
    assert again.episode.message == first.episode.message


class HangsOnce(Walls):
    """An environment that hangs at an action, the first time that it is asked for."""

    hung = False

    async def step(self, action: str) -> Step:
        if action == "hang":
            self.hung, action = True, "look" if self.hung else "hang"
        return await super().step(action)


async def test_an_action_that_took_all_the_time_is_cut_off_again_and_its_second_try_is_not(play) -> None:
    roles = [
        Role(path="0", text="First, a =>\nprint('end')"),
        Role(path="0.0", text="> hang =>\nprint('never')"),
        Role(path="0.1", text="> hang =>\nprint('at last')"),
    ]
    options: dict[str, Any] = {"on_failure": "retry", "child_limits": Budgets(wall_time=1)}
    first = await play(roles, environment=HangsOnce(), **options)
    assert [event.result for event in first.of("thread_ended", "0.1")] == ["at last"]
    assert [(event.thread, event.limit) for event in first.of("failed")] == [("0.0", "wall_time")]
    await replayed(play, first, environment=HangsOnce(), **options)


def siblings(first: str, second: str) -> list[Role]:
    """Two threads that run at once, and what each of them writes."""
    main = Role(path="0", text="- a\n- b =>\nprint('end')")
    return [main, Role(path="0.0", text=first), Role(path="0.1", text=second)]


class EndsSoon(Walls):
    """The environment ends in room 2."""

    async def step(self, action: str) -> Step:
        step = await super().step(action)
        return Step(step.observation, step.reward, done=self.room == 2)


async def test_a_replay_whose_environment_ends_the_episode_too_early_ends_once_nothing_moves(play) -> None:
    roles = siblings("> look =>\nprint('a')", "> go 2 =>\nprint('b')")
    first = await play(roles, environment=Walls(), rules={"several": "- "})
    assert first.episode.answer == "end"
    again = await asyncio.wait_for(play(ReplayModel(first.events), environment=EndsSoon(), rules={"several": "- "}), 20)
    assert first_difference(first.events, again.events) is not None
    assert ends(again)["0"] == "stopped"


async def test_a_replay_is_cancelled_while_a_thread_waits_for_its_turn_to_end(play) -> None:
    roles = siblings("print('a')", "> look =>\nprint('b')")
    first = await play(roles, environment=Walls(), rules={"several": "- "})
    (last,) = first.of("thread_ended", "0.0")
    events = [event for event in first.events if event is not last]
    events.insert(events.index(first.of("thread_ended", "0.1")[0]), last)

    class Hangs(Walls):
        concurrency = "shared"

        async def step(self, action: str) -> Step:
            asyncio.get_running_loop().call_later(0.05, playing.cancel)
            return await super().step("hang")

    playing = asyncio.ensure_future(play(ReplayModel(events), environment=Hangs(), rules={"several": "- "}))
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(playing), 20)


async def test_a_recording_that_tells_of_an_end_twice_is_followed_as_far_as_it_can_be(play) -> None:
    first = await play(LOOKING, environment=Walls(), watchers=[When(at("acted", "0.0"), prune("0.0"))])
    (end,) = first.of("thread_ended", "0.0")
    events = [*first.events]
    events.insert(events.index(end), end)
    again = await asyncio.wait_for(play(ReplayModel(events), environment=Walls()), 20)
    assert first_difference(first.events, again.events) is None


async def test_an_episode_that_a_failed_child_ended_lets_others_come_as_far_as_they_had(play) -> None:
    roles = [
        Role(path="0", text="& a\n& b =>\nprint('end')"),
        Role(path="0.0", text="> look =>\nnothing"),
        Role(path="0.1", text=WORDS),
    ]
    options: dict[str, Any] = {"on_failure": "abort", "rules": {"background": "& "}}
    first = await play(ScriptedModel(roles, pace=0.02), environment=Walls(), **options)
    assert first.episode.message.startswith("child failed: error: returned nothing")
    assert [event.stop for event in first.of("generated", "0.1")] == ["cut"]
    await replayed(play, first, environment=Walls(), **options)
