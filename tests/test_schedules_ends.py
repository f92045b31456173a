"""Random schedules in which time decides: deadlines, errors of models, watchers and stopped threads, at any moment.

The recording of each plays to the same events in the same order, however long everything takes then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from schedules import RULES, Echo, Moments, Waits, drawn, nothing_is_left

from thread_cli.contracts.environment import Step
from thread_cli.contracts.errors import LimitReached, ModelError, WatcherFailed, Withheld
from thread_cli.contracts.limits import Budgets, Limits
from thread_cli.contracts.model import Completion, Piece, Request, Usage
from thread_cli.engine import following
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import ScriptedModel
from thread_cli.record import first_difference


class Stumbles(ScriptedModel):
    """Writes word by word at random speeds; a call may break off, with what was spent."""

    def __init__(self, roles: Any, pick: random.Random, errors: float) -> None:
        super().__init__(roles)
        self.pick, self.errors = pick, errors

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        written = await self.complete(request)
        breaks = self.pick.randrange(4) if self.pick.random() < self.errors else -1
        text, pace = "", self.pick.choice([0, 0, 0.001, 0.004])
        try:
            for place, word in enumerate(written.text.split(" ")):
                if place == breaks:
                    raise self.failure(len(text))
                await asyncio.sleep(pace)
                piece = f" {word}" if text else word
                yield Piece(piece, tokens=1)
                text += piece
        except asyncio.CancelledError:
            usage = Usage(written.usage.prompt, generated=len(text), estimated=True, cached_known=False)
            written = Completion(text, "cut", usage)
        yield written

    def failure(self, spent: int) -> Exception:
        failure = self.pick.choice(
            [
                Withheld("the filter of the server keeps the answer back"),
                LimitReached("context", "the context is full", used=9, cap=8, owner="model"),
                ModelError("the server went away"),
            ]
            if self.pick.random() < 0.3
            else [Withheld("kept back"), LimitReached("context", "full", used=9, cap=8, owner="model")]
        )
        if spent:
            failure.usage = Usage(7, generated=spent)
        return failure


class Ends(Echo):
    """An environment that a certain action ends."""

    def __init__(self, moments: Moments, last: str) -> None:
        super().__init__(moments)
        self.last = last

    async def step(self, action: str) -> Step:
        step = await super().step(action)
        return Step(step.observation, done=action == self.last)


class Forks(Ends):
    """The same, of which threads that run at once have worlds of their own."""

    concurrency = "forkable"


class Meddles:
    """A watcher that prunes threads and ends the episode at random moments."""

    def __init__(self, pick: random.Random, often: float) -> None:
        self.pick, self.often = pick, often
        self.threads: list[str] = []
        self.stops = False

    def begin(self, episode: Any) -> None:
        self.episode = episode

    def see(self, event: Any) -> None:
        if event.kind == "thread_started":
            self.threads.append(event.thread)
        self.meddle()

    def hear(self, thread: str, piece: Any) -> None:
        self.meddle()

    def meddle(self) -> None:
        if not self.threads or self.pick.random() > self.often:
            return
        thread, loop = self.pick.choice(self.threads), asyncio.get_running_loop()
        chance = self.pick.random()
        if chance < 0.1:
            answer = self.pick.choice([None, "", "42"])
            self.stops = True
            if chance < 0.05:
                self.episode.stop("enough of it", answer)
            else:
                loop.call_later(self.pick.choice([0, 0.002]), self.episode.stop, "enough of it", answer)
        elif chance < 0.3:
            self.episode.prune(thread, "out of the way")
        elif chance < 0.32 and not self.stops:
            raise RuntimeError("a fault of the watcher")
        else:
            loop.call_later(self.pick.choice([0, 0.001, 0.005, 0.02]), self.episode.prune, thread, "later")


def course(played: Any) -> list[tuple[str, str]]:
    """What came after what."""
    return [(event.kind, event.thread) for event in played.events]


async def recorded_and_played(play: Any, variables: Any, seed: int) -> None:
    """Play a random episode, and its recording."""
    pick = random.Random(seed)
    moments = Moments(pick)
    orphans = pick.choice(["awaited", "stopped", "detached"])
    options: dict[str, Any] = {
        "rules": {**RULES, "orphans": orphans},
        "on_failure": pick.choice(["report", "report", "retry", "abort"]),
        "limits": Limits(
            calls=pick.choice([None, 40]),
            repeats=100,
            wall_time=pick.choice([None, 5, 0.05]),
            working_time=pick.choice([None, None, 0.03]),
        ),
        "child_limits": pick.choice(
            [None, Budgets(wall_time=pick.choice([0.01, 0.03])), Budgets(working_time=0.01), Budgets(calls=6)]
        ),
    }
    last = pick.choice(["", "", "look 0.1", "look 0"])
    kind = pick.choice([Ends, Forks])
    roles = drawn(pick, timely=True, failures=pick.choice([0, 0.2]))
    model: Any = Stumbles(roles, pick, pick.choice([0, 0.1]))
    waits = Waits(model, moments, variables)
    if pick.random() < 0.3:
        model = waits  # does not stream
    watchers = [Meddles(pick, pick.choice([0.02, 0.1]))] if pick.random() < 0.7 else []

    def playing(model: Any, moments: Moments, **more: Any) -> Any:
        inside = Waits(model, moments, variables)
        environment = kind(moments, last)
        return asyncio.ensure_future(play(model, interpreter=inside, environment=environment, **options, **more))

    try:
        first = await asyncio.wait_for(playing(model, moments, watchers=watchers), 60)
    except WatcherFailed:
        return  # it failed at the first event or the last one, where no episode is left to tell of it
    assert nothing_is_left()
    replays = ReplayModel(first.events)
    again = await asyncio.wait_for(playing(replays, Moments(random.Random(seed + 1))), 60)
    assert nothing_is_left()
    assert first_difference(first.events, again.events) is None
    assert course(again) == course(first)
    assert (again.episode.status, again.episode.answer) == (first.episode.status, first.episode.answer)


@pytest.mark.parametrize(
    "seed", [*range(40), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(40, 2000))]
)
async def test_a_replay_follows_all_that_time_has_decided(play, variables, seed) -> None:
    await recorded_and_played(play, variables, seed)


@pytest.mark.parametrize("seed", range(12))
async def test_the_recording_of_an_interrupted_episode_plays_up_to_the_interruption(play, variables, seed) -> None:
    pick = random.Random(seed)
    roles, moments = drawn(pick, timely=True), Moments(pick)
    events: list[Any] = []
    options: dict[str, Any] = {"rules": RULES, "limits": Limits(calls=None, repeats=100)}
    model = Waits(Stumbles(roles, pick, 0), moments, variables)
    task = asyncio.ensure_future(
        play(model, interpreter=model, environment=Echo(moments), sinks=[events.append], **options)
    )
    moments.at, moments.happens = pick.randrange(1, 40), task.cancel
    await asyncio.wait([task], timeout=60)
    if not task.cancelled():
        return  # it was over before
    waits = Waits(None, Moments(random.Random(seed + 1)), variables)
    playing = play(ReplayModel(events), interpreter=waits, environment=Echo(waits._moments), **options)
    again = await asyncio.wait_for(playing, 60)
    assert again.episode.message.startswith("model error: the recorded run was interrupted here, in thread 0")
    assert first_difference(events[:-1], again.events[:-1]) is None
    assert course(again) == [(event.kind, event.thread) for event in events]


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 250))])
async def test_a_recording_that_breaks_off_is_played_as_far_as_it_goes(play, variables, seed) -> None:
    pick = random.Random(seed)
    moments = Moments(pick)
    options: dict[str, Any] = {
        "rules": {**RULES, "orphans": pick.choice(["awaited", "stopped", "detached"])},
        "limits": Limits(calls=None, repeats=100),
        "child_limits": pick.choice([None, None, Budgets(wall_time=0.02), Budgets(working_time=0.01)]),
    }
    model = Waits(Stumbles(drawn(pick, timely=True), pick, pick.choice([0, 0.05])), moments, variables)
    watchers = [Meddles(pick, 0.03)] if pick.random() < 0.4 else []
    try:
        playing = play(model, interpreter=model, environment=Echo(moments), watchers=watchers, **options)
        first = await asyncio.wait_for(playing, 60)
    except WatcherFailed:
        return
    before_ends = max(place for place, kind in enumerate(course(first)) if not kind[0].endswith("_ended"))
    length = pick.randrange(1, before_ends + 2)
    waits = Waits(None, Moments(random.Random(seed + 1)), variables)
    replays = ReplayModel(first.events[:length])
    playing = play(replays, interpreter=waits, environment=Echo(waits._moments), **options)
    again = await asyncio.wait_for(playing, 60)
    assert nothing_is_left()
    assert course(again)[:length] == course(first)[:length]


@pytest.mark.parametrize("seed", [*range(15), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(15, 200))])
async def test_a_damaged_recording_neither_hangs_nor_breaks_the_engine(play, variables, monkeypatch, seed) -> None:
    monkeypatch.setattr(following, "_BUSY", 40)  # threads wait for others in turns, too, and time is short here
    pick = random.Random(seed)
    moments = Moments(pick)
    model = Waits(Stumbles(drawn(pick, timely=True), pick, 0), moments, variables)
    watchers = [Meddles(pick, 0.05)]
    options: dict[str, Any] = {"rules": {**RULES, "orphans": "stopped"}, "limits": Limits(calls=None, repeats=100)}
    try:
        playing = play(model, interpreter=model, environment=Echo(moments), watchers=watchers, **options)
        first = await asyncio.wait_for(playing, 60)
    except WatcherFailed:
        return
    events = damaged(first.events, pick)
    waits = Waits(None, Moments(random.Random(seed + 1)), variables)
    playing = play(ReplayModel(events), interpreter=waits, environment=Echo(waits._moments), **options)
    try:
        again = await asyncio.wait_for(playing, 60)
    except WatcherFailed:
        return
    assert nothing_is_left()
    assert again.episode.status != "engine_error" or "watcher failed" in again.episode.message
    started = [event.thread for event in again.of("thread_started")]
    assert sorted(started) == sorted(event.thread for event in again.of("thread_ended"))


def damaged(events: list[Any], pick: random.Random) -> list[Any]:
    """A recording in which events are missing, doubled, exchanged or changed."""
    events = [*events]
    for _ in range(pick.randrange(1, 4)):
        at = pick.randrange(len(events))
        match pick.randrange(5):
            case 0:
                del events[at]
            case 1:
                events.insert(pick.randrange(len(events)), events[at])
            case 2:
                other = pick.randrange(len(events))
                events[at], events[other] = events[other], events[at]
            case 3:
                events = events[: max(1, at)]
            case _:
                event = events[at]
                if event.kind in {"observed", "joined", "generated"}:
                    events[at] = event.model_copy(update={"text": f"{event.text} and more"})
                elif event.kind == "thread_ended":
                    events[at] = event.model_copy(update={"how": "pruned", "reason": "damage"})
        events = events or [*events[:1]]
    return events
