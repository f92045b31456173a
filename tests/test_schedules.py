"""Random schedules: results, names and counted limits follow the order of spawning, and nothing is left over."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from later import joins
from schedules import Moments, drawn, nothing_is_left, played

from thread_cli.contracts.limits import Limits
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import ScriptedModel
from thread_cli.record import first_difference


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
