"""Children in the background when they are ended from outside, whatever the schedule, and when they are replayed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from later import SLOW, Later, Paced, episode, joins, three
from pruning import When, at, ends, prune
from rooms import Fork, Walls
from schedules import drawn

from thread_cli.contracts.errors import Status
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.protocol import Child
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.record import first_difference
from thread_cli.record.lines import parse_event

# --- ends from outside


@pytest.mark.parametrize("how", ["cancelled", "stopped", "environment"])
@pytest.mark.parametrize("rule", ["awaited", "detached", "stopped"])
async def test_the_end_of_an_episode_is_the_end_of_every_thread(play, how, rule) -> None:
    """Wherever it comes: while threads spawn, wait for all or any, or wait at their ends."""
    roles = [
        Role(path="0", text="start a|b|c =>\nany =>\nawait 0 =>\nprint('end')"),
        Role(path="0.0", text="start d|e =>\nprint('a')"),
        Role(path="0.1", text="start f =>\nany =>\nprint('b')"),
        Role(path="0.2", text="go 1 =>\nprint('c')"),
        Role(path="0.*", text="print('x')"),
    ]
    complete = await episode(play, roles, pace=lambda _: 0.001, environment=Walls(), rules={"orphans": rule})
    for place in range(0, len(complete.events), 2):

        def end(watched: Any) -> None:
            if how == "stopped":
                watched.stop("enough", "early")
            elif how == "cancelled":
                asyncio.get_running_loop().call_soon(playing.cancel)
            else:
                watched.finish(None)

        watcher = When(lambda event, place=place: event.n == place, end)
        playing = asyncio.ensure_future(
            episode(play, roles, pace=lambda _: 0.001, environment=Walls(), rules={"orphans": rule}, watchers=[watcher])
        )
        await asyncio.wait([playing], timeout=20)
        assert playing.done()
        if not playing.cancelled():
            playing.result()
        events = watcher.events
        started = [event.thread for event in events if event.kind == "thread_started"]
        ended = [event.thread for event in events if event.kind == "thread_ended"]
        assert sorted(started) == sorted(ended)
        assert events[-1].kind == "episode_ended"
        assert [task for task in asyncio.all_tasks() if task.get_name().partition(".")[0] == "0"] == []


@pytest.mark.parametrize("rule", ["awaited", "detached", "stopped"])
async def test_a_thread_may_be_pruned_wherever_its_children_in_the_background_are(play, rule) -> None:
    roles = [
        Role(path="0", text="start a =>\nnow b =>\nawait =>\nprint('end')"),
        Role(path="0.0", text="start d|e =>\nany =>\nstart f|g =>\nawait 1 =>\nprint('a')"),
        Role(path="0.1", text="print('b')"),
        Role(path="0.*", text="start deep =>\nprint('x')"),
        Role(path="0.0.*.0", text="print('deep')"),
    ]
    roles[3:] = [roles[4], roles[3]]
    pace = {"0.1": 0.1, "0.0.0": 0.02, "0.0.3": 0.05, "0.0.2.0": 0.05}
    complete = await episode(play, roles, pace=pace, rules={"orphans": rule})
    assert complete.episode.answer == "end"
    for place in range(1, sum(event.thread.startswith("0.0") for event in complete.events)):
        left = iter(range(place - 1, -1, -1))
        watcher = When(lambda event, left=left: event.thread.startswith("0.0") and next(left) == 0, prune("0.0"))
        played = await episode(play, roles, pace=pace, rules={"orphans": rule}, watchers=[watcher])
        events = watcher.events
        assert played.episode.answer == "end"
        started = [event.thread for event in events if event.kind == "thread_started"]
        assert sorted(started) == sorted(event.thread for event in events if event.kind == "thread_ended")
        how = ends(played)
        if how["0.0"] == "pruned":
            assert "await => 0:error: pruned: enough" in played.y("0")
            last = (
                max(event.n for event in played.of("thread_ended") if event.thread.startswith("0.0."))
                if any(path.startswith("0.0.") for path in how)
                else 0
            )
            assert rule == "detached" or last < played.of("thread_ended", "0.0")[0].n


async def test_a_child_in_the_background_may_be_pruned_and_its_parent_reads_why(play) -> None:
    for policy in ("report", "abort"):
        roles = three("any 0 =>\nprint('end')")
        watcher = When(at("thread_started", "0.0"), prune("0.0", "too slow", after=0.05))
        played = await episode(play, roles, pace={"0.0": 5}, watchers=[watcher], on_failure=policy)
        assert played.of("joined")[0].text == "=> 0:error: pruned: too slow\n"
        assert played.episode.answer == "end"


async def test_an_environment_that_breaks_under_a_child_in_the_background_ends_the_episode(play) -> None:
    roles = three("await 1 2 =>\nawait =>\nprint('end')", **{"0_0": "break =>"})
    played = await episode(play, roles, environment=Walls())
    assert played.episode.status is Status.environment_error
    assert sorted(ends(played)) == ["0", "0.0", "0.1", "0.2"]


async def test_one_that_solves_the_task_in_the_background_ends_the_episode(play) -> None:
    roles = three("await 1 =>\nprint('end')", **{"0_0": "go 3 =>\nprint('x')", "0_1": "hang =>"})
    played = await episode(play, roles, environment=Walls(), pace={"0.1": 0.1})
    assert played.episode.status is Status.solved


# --- schedules


@pytest.mark.parametrize("seed", range(4))
async def test_results_and_names_do_not_depend_on_when_threads_end(play, seed) -> None:
    roles = [
        Role(path="0", text="start a|b|c|d =>\nx = 'mine'\nawait 3 1 =>\nnow e =>\nawait =>\nprint([x, y, z])"),
        Role(path="0.?", text="start f|g =>\nawait 1 =>\nawait 0 =>\nprint(y)"),
        *[Role(path=f"0.{a}.{b}", text=f"x = y = '{a}{b}'\nz = 'z{a}'\nprint(x)") for a in range(5) for b in range(2)],
    ]
    pick = random.Random(seed)
    played = await episode(play, roles, pace=lambda _: pick.random() / 20)
    assert played.episode.answer == "['mine', '20', 'z2']"
    assert [event.text for event in played.of("joined", "0")] == ["=> 1:10 & 3:30\n", "=> :40\n", "=> 0:00 & 2:20\n"]


def later(pick: random.Random, path: str, born: int, *, timely: bool) -> tuple[str, int]:
    """A random move of a thread that has spawned so many children, and the number of children that it spawns."""
    names = [f"n{born + n}" for n in range(pick.randrange(1, 4))]
    move = pick.choice(["start", "start", "await", "await", "bind", "any" if timely else "await"])
    if move == "start":
        return (f"start {'|'.join(names)} =>", len(names)) if path.count(".") < 3 else ("", 0)
    if move == "bind":
        return f"x{pick.randrange(3)} = '{path} later'", 0
    return f"{move} {' '.join(str(pick.randrange(born + 1)) for _ in names[1:])}".strip() + " =>", 0


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_threads_write_their_texts_do_not_depend_on_when_others_end(play, seed) -> None:
    roles, told = drawn(random.Random(seed), move=later), []
    for draw in range(3):
        pick = random.Random(draw)
        played = await episode(
            play, roles, pace=lambda _, pick=pick: pick.choice([0, 0.001, 0.02]), limits=Limits(calls=None)
        )
        told.append({path: played.y(path) for path, how in ends(played).items() if how != "stopped"})
    # A child that a failure of its parent stopped in one run may have ended before it in another.
    ended = set.intersection(*(set(texts) for texts in told))
    assert "0" in ended
    for texts in told[1:]:
        assert {path: texts[path] for path in ended} == {path: told[0][path] for path in ended}


@pytest.mark.parametrize("seed", range(24))
async def test_whatever_threads_write_and_whoever_is_pruned_every_thread_ends_by_the_rule(play, seed) -> None:
    pick = random.Random(seed)
    rule = pick.choice(["awaited", "detached", "stopped"])
    roles = drawn(pick, timely=True, move=later)

    class Prunes:
        def begin(self, episode: Any) -> None:
            self.episode = episode

        def see(self, event: Any) -> None:
            if event.thread != "0" and pick.random() < 0.02:
                self.episode.prune(event.thread, "enough")

        def hear(self, thread: str, piece: Any) -> None: ...

    played = await episode(
        play,
        roles,
        pace=lambda _: pick.choice([0, 0.001, 0.02]),
        rules={"orphans": rule},
        watchers=[Prunes()],
        limits=Limits(calls=None),
    )
    assert played.episode.status is Status.answered
    started = {event.thread: event.parent for event in played.of("thread_started")}
    ended = {event.thread: event for event in played.of("thread_ended")}
    assert started.keys() == ended.keys()
    assert played.events[-2].thread == "0"
    for path, parent in started.items():
        if parent is None or ended[path].n < ended[parent].n:
            continue
        assert rule == "detached"
        assert ended[parent].how == "returned"
    if rule == "awaited":
        stopped = [path for path, event in ended.items() if event.how == "stopped"]
        assert all(any(ended[above].how in {"pruned", "failed"} for above in ancestors(path)) for path in stopped)


def ancestors(path: str) -> list[str]:
    return [path.rsplit(".", n)[0] for n in range(1, path.count(".") + 1)]


async def test_of_a_thousand_children_half_are_never_awaited(play) -> None:
    count = 1000
    everyone = "|".join(f"n{n}" for n in range(count))
    handles = " ".join(str(n) for n in range(0, count, 2))
    roles = [
        Role(path="0", text=f"start {everyone} =>\nawait {handles} =>\nprint('end')"),
        Role(path="0.*", text="x = 1\nprint('ok')"),
    ]
    pick = random.Random(1)
    limits = Limits(threads=None, calls=None, fan_out=count)
    played = await asyncio.wait_for(
        play(Paced(roles, lambda _: pick.random() / 10), protocol=Later(), limits=limits), 100
    )
    assert played.episode.answer == "end"
    assert played.of("joined")[0].children == tuple(f"0.{n}" for n in range(0, count, 2))
    assert len(played.of("thread_ended")) == count + 1
    assert played.events[-2].thread == "0"


# --- recordings


async def test_a_replay_comes_to_the_same_child_at_each_any(play) -> None:
    roles = three("any =>\nx = 1\nany 0 2 =>\nany =>\nprint('end')")
    first = await episode(play, roles, pace=SLOW)
    assert joins(first) == [("0.1",), ("0.2",), ("0.0",)]
    for event in first.events:
        assert parse_event(event.model_dump_json()) == event
    again = await episode(play, ReplayModel(first.events))
    assert first_difference(first.events, again.events) is None


async def test_a_replay_that_is_not_led_comes_to_another_child_and_says_so(play) -> None:
    first = await episode(play, three("any =>\nawait =>\nprint('end')"), pace=SLOW)
    model = ReplayModel(first.events)
    model.recording = ()
    again = await episode(play, model)
    assert "the run diverges from its recording in thread 0, call 3" in again.episode.message


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_threads_write_a_replay_takes_the_same_course(play, seed) -> None:
    pick = random.Random(seed)
    roles = drawn(pick, timely=True, move=later)
    options: dict[str, Any] = {
        "rules": {"orphans": pick.choice(["awaited", "stopped", "detached"])},
        "limits": Limits(calls=None),
    }
    first = await episode(play, roles, pace=lambda _: pick.choice([0, 0.001, 0.02]), **options)
    again = await episode(play, ReplayModel(first.events), **options)
    assert first_difference(first.events, again.events) is None


@pytest.mark.parametrize("streams", [False, True])
async def test_a_child_that_was_stopped_is_replayed_until_then(play, streams) -> None:
    roles = three("await 1 =>\nprint('end')", **{"0_0": "now d =>\nprint('0')", "0_0_0": "one two three"})
    script = ScriptedModel(roles, pace=0.02) if streams else Paced(roles, {"0.0.0": 5, "0.2": 5, "0.1": 0.05})
    first = await episode(play, script, rules={"orphans": "stopped"})
    assert ends(first)["0.0.0"] == "stopped"
    again = await episode(play, ReplayModel(first.events), rules={"orphans": "stopped"})
    assert ends(again) == ends(first)
    assert again.episode.answer == "end"
    assert first_difference(first.events, again.events) is None


async def test_what_a_child_in_the_background_inherits_is_replayed(play) -> None:
    class Inherits(Later):
        def read(self, y: str, stop: Any) -> Any:
            from dataclasses import replace

            move = super().read(y, stop)
            return replace(move, lines=(Child(inherits=True, opening=" go"),)) if y == "start a " else move

    roles = [Role(path="0", text="start a =>\nawait =>\nprint('end')"), Role(path="0.0", text="print('0')")]
    first = await episode(play, roles, protocol=Inherits())
    again = await episode(play, ReplayModel(first.events), protocol=Inherits())
    assert first_difference(first.events, again.events) is None


async def test_a_fork_without_handles_is_recorded_as_before(play) -> None:
    played = await play(["a|b=>", "print('1')", "print('2')", "print('end')"], protocol=Fork())
    (spawned,) = played.of("spawned")
    assert (spawned.waits, spawned.text) == (True, "")
