"""Runs in which the end of one thread stopped others: the recording plays to the same events, however fast."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from later import Later, episode, three
from pruning import When, at, ends
from rooms import Walls
from test_handles_ends import drawn

from thread_cli.contracts.limits import Limits
from thread_cli.models import recorded_stops
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role
from thread_cli.record import first_difference

STEPS = "".join(f"for the {n}. time\ngo {1 + n % 2} =>\n" for n in range(200))
"""A thread that acts for a while."""


class Shared(Walls):
    """Rooms in which several threads act at the same time."""

    concurrency = "shared"


async def replayed(play: Any, first: Any, **options: Any) -> Any:
    """The recording of an episode, played again."""
    model = ReplayModel(first.events)
    again = await asyncio.wait_for(play(model, watchers=[model.ends, model.stops], protocol=Later(), **options), 30)
    assert first_difference(first.events, again.events) is None
    assert (again.episode.answer, again.episode.status) == (first.episode.answer, first.episode.status)
    assert ends(again) == ends(first)
    return again


@pytest.mark.parametrize("rule", ["stopped", "detached"])
async def test_children_are_stopped_where_they_were_when_their_parent_returned(play, rule) -> None:
    roles = three(
        "now d =>\nprint('end')", **{"0_0": STEPS, "0_1": "start d|e =>\nawait 1 =>\n" + STEPS, "0_1_0": STEPS}
    )
    roles += [Role(path="0.*", text="print('d')")]
    options: dict[str, Any] = {"rules": {"orphans": rule}, "limits": Limits(calls=None)}
    pace = {"0": 0.15, "0.0": 0.02, "0.1": 0.02, "0.1.0": 0.03, "0.3": 0.02}
    first = await episode(play, roles, pace=pace, environment=Shared(), **options)
    assert [ends(first)[path] for path in ("0.0", "0.1", "0.1.0", "0.2")] == [
        "stopped",
        "stopped",
        "stopped",
        "returned",
    ]
    assert len(first.of("acted", "0.0")) > 0
    await replayed(play, first, environment=Shared(), **options)


@pytest.mark.parametrize("who", ["0", "0.2"])
async def test_threads_are_stopped_where_they_were_when_one_of_them_reached_the_goal(play, who) -> None:
    there = "go 2 =>\nthen\ngo 3 =>\n"
    solves = {"0": "await 0 =>\nprint('end')", "0_2": there} if who == "0.2" else {"0": there}
    roles = three(solves.pop("0"), **{"0_0": STEPS, "0_1": STEPS, **solves})
    pace = {"0": 0.04, "0.0": 0.01, "0.1": 0.015, "0.2": 0.06}
    first = await episode(play, roles, pace=pace, environment=Shared(), limits=Limits(calls=None))
    assert first.episode.status == "solved"
    assert len(first.of("acted", "0.0")) > 0
    await replayed(play, first, environment=Shared(), limits=Limits(calls=None))


async def test_threads_are_stopped_where_they_were_when_a_failure_ended_the_episode(play) -> None:
    roles = three("await 1 =>\nprint('end')", **{"0_0": STEPS, "0_1": "nothing"})
    first = await episode(
        play, roles, pace={"0.0": 0.01, "0.1": 0.3}, environment=Shared(), on_failure="abort", limits=Limits(calls=None)
    )
    assert first.episode.status == "failed"
    assert len(first.of("acted", "0.0")) > 0
    await replayed(play, first, environment=Shared(), on_failure="abort", limits=Limits(calls=None))


def left_to_chance(events: list[Any]) -> bool:
    """Whether a thread took a step between the last answer to a thread above it and that one's end: a replay, in which
    answers are there at once, cannot tell whether it comes to that step.
    """
    answered = {event.thread: event.n for event in events if event.kind == "generated"}
    ended = {event.thread: event for event in events if event.kind == "thread_ended"}
    return any(
        answered[above] < event.n < ended[above].n
        for event in events
        for above in ended
        if event.thread.startswith(f"{above}.") and getattr(event, "how", None) != "stopped"
    )


@pytest.mark.parametrize("rule", ["stopped", "detached"])
async def test_whatever_threads_write_a_replay_stops_them_where_they_were(play, rule) -> None:
    compared = 0
    for seed in range(24):
        pick = random.Random(seed)
        roles = drawn(pick, timely=True, failures=0)
        options: dict[str, Any] = {"rules": {"orphans": rule}, "limits": Limits(calls=None)}
        first = await episode(play, roles, pace=lambda _, pick=pick: pick.choice([0.001, 0.02]), **options)
        if not left_to_chance(first.events):
            await replayed(play, first, **options)
            compared += 1
    assert compared > 5


async def test_a_replay_that_goes_another_way_waits_for_nobody_for_ever(play, monkeypatch) -> None:
    """Here the rule is another one, so that the parent awaits the child that it is to stop."""
    monkeypatch.setattr(recorded_stops, "_QUIET", 0.1)
    monkeypatch.setattr("thread_cli.models.replay._LATE", 0.1)
    first = await episode(
        play, three("print('end')", **{"0_0": STEPS}), pace={"0": 0.05, "0.0": 0.01}, environment=Shared(),
        rules={"orphans": "stopped"},
    )  # fmt: skip
    model = ReplayModel(first.events)
    options: dict[str, Any] = {"environment": Shared(), "rules": {"orphans": "awaited"}, "protocol": Later()}
    again = await asyncio.wait_for(play(model, watchers=[model.ends, model.stops], **options), 20)
    assert first_difference(first.events, again.events) is not None


async def test_a_run_that_stopped_nobody_is_replayed_without_waiting(play) -> None:
    first = await episode(play, [Role(path="0", text="now a =>\nprint('end')"), Role(path="0.0", text="print('a')")])
    assert not ReplayModel(first.events).stops.any


async def test_an_episode_that_was_interrupted_stops_nobody_in_a_replay(play) -> None:
    seen: list[Any] = []
    wrote = asyncio.Event()
    watcher = When(at("observed", "0.0"), lambda _: wrote.set())
    roles = three("await =>\nprint('end')", **{"0_0": STEPS})
    playing = asyncio.ensure_future(
        episode(play, roles, pace={"0.0": 0.01}, environment=Shared(), watchers=[watcher], sinks=[seen.append])
    )
    await wrote.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert Counter(event.how for event in seen if event.kind == "thread_ended")["stopped"] >= 2
    model = ReplayModel(seen)
    again = await asyncio.wait_for(
        play(model, watchers=[model.ends, model.stops], protocol=Later(), environment=Shared()), 20
    )
    assert again.episode.message == "model error: the recorded run was interrupted here, in thread 0.0"
