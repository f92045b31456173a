"""Runs that watchers, deadlines or an interruption ended: the recording plays to the same events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pruning import HANGING, LOOKING, SlowToLeave, When, at, ends, prune, prune_then_stop
from replaying import WORDS, replayed
from rooms import Fork, Walls

from thread_cli.contracts.model import Request
from thread_cli.engine import following
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.record import first_difference


class Heard(When):
    """A watcher that does something once a thread was heard to write so many pieces."""

    def __init__(self, thread: str, pieces: int, do: Any) -> None:
        super().__init__(lambda _: False, do)
        self.thread, self.left = thread, pieces

    def hear(self, thread: str, piece: Any) -> None:
        self.left -= thread == self.thread
        if thread == self.thread and not self.left:
            self.do(self.episode)


@pytest.mark.parametrize(
    "kind", ["thread_started", "generating", "generated", "code_ran", "spawned", "acted", "observed", "joined"]
)
async def test_a_thread_is_pruned_again_at_the_event_at_which_it_was(play, kind) -> None:
    watcher = When(at(kind, "0.0"), prune("0.0"))
    first = await asyncio.wait_for(play(LOOKING, environment=Walls(), watchers=[watcher]), 20)
    assert ends(first)["0.0"] == "pruned"
    await replayed(play, first, environment=Walls())


async def test_what_a_pruned_thread_was_writing_is_cut_again_where_it_was(play) -> None:
    script = {"0.0": "print('short')", "0.1": WORDS, "0.2": "print('short too')"}
    model = ScriptedModel(lambda r: script.get(r.thread, "print('ok')" if r.y else "a|b|c=>"), pace=0.001)
    first = await play(model, protocol=Fork(), watchers=[Heard("0.1", 40, prune("0.1"))])
    again = await replayed(play, first, protocol=Fork())
    (cut,) = again.of("generated", "0.1")
    assert cut.stop == "cut"
    assert cut.text.startswith("word0 word1")


async def test_a_call_of_a_model_that_does_not_stream_leaves_as_little_behind_as_it_did(play) -> None:
    class Whole(ScriptedModel):
        stream = None

        async def complete(self, request: Request) -> Any:
            await asyncio.sleep(0.05)
            return await super().complete(request)

    watcher = When(at("generating", "0.0"), prune("0.0", "slow", after=0.01))
    first = await play(Whole(LOOKING), environment=Walls(), watchers=[watcher])
    assert [event.kind for event in first.events if event.thread == "0.0"][-2:] == ["generating", "thread_ended"]
    await replayed(play, first, environment=Walls())


async def test_threads_below_a_pruned_one_have_come_as_far_as_they_had(play) -> None:
    def script(request: Request) -> str:
        top = {"0": "print('end')" if request.y else "a|b=>", "0.0": "c|d|e=>", "0.0.0": WORDS, "0.0.1": "f=>"}
        return top.get(request.thread, f"print('{request.thread}')" if request.thread != "0.0.1.0" else WORDS)

    model = ScriptedModel(script, pace=0.001)
    first = await play(
        model, protocol=Fork(), watchers=[When(at("generating", "0.0.1.0"), prune("0.0", "too deep", after=0.05))]
    )
    assert ends(first) == {
        "0.0.2": "returned",
        "0.1": "returned",
        "0.0.0": "stopped",
        "0.0.1.0": "stopped",
        "0.0.1": "stopped",
        "0.0": "pruned",
        "0": "returned",
    }
    again = await replayed(play, first, protocol=Fork())
    assert [event.stop for event in again.of("generated", "0.0.0")] == ["cut"]


async def test_several_threads_are_pruned_each_where_it_was(play) -> None:
    script = {"0.0": WORDS, "0.1": "c|d=>", "0.1.0": WORDS, "0.1.1": "print('d')"}
    model = ScriptedModel(
        lambda r: "print('late')" if r.y else script.get(r.thread, "a|b=>" if r.thread == "0" else ""), pace=0.001
    )
    watchers = [
        Heard("0.0", 30, prune("0.0")),
        Heard("0.1.0", 20, prune("0.1.0")),
        When(at("joined", "0.1"), prune("0.1")),
    ]
    first = await play(model, protocol=Fork(), watchers=watchers)
    assert [ends(first)[path] for path in ("0.0", "0.1.0", "0.1")] == ["pruned"] * 3
    await replayed(play, first, protocol=Fork())


@pytest.mark.parametrize("answer", ["42", None, ""])
async def test_an_episode_is_ended_again_with_the_answer_that_it_was_given(play, answer) -> None:
    roles = [Role(path="0", text="print('so far')\nNow, a =>\n"), Role(path="0.0", text=WORDS)]
    watcher = Heard("0.0", 30, lambda episode: episode.stop("all agree", answer))
    first = await play(ScriptedModel(roles, pace=0.001), watchers=[watcher])
    (end,) = first.of("episode_ended")
    assert (end.reason, end.answer) == ("all agree", answer)
    again = await replayed(play, first)
    assert again.episode.message == "a watcher ended the episode: all agree"
    assert again.episode.answer == ("so far" if answer is None else answer)


async def test_an_episode_is_ended_again_that_ended_while_a_pruned_thread_waited_for_its_children(play) -> None:
    first = await play(HANGING, environment=SlowToLeave(), watchers=[When(at("acted", "0.0.0"), prune_then_stop)])
    assert ends(first) == {"0.0.0": "stopped", "0.0": "pruned", "0": "stopped"}
    await replayed(play, first, environment=SlowToLeave())


@pytest.mark.parametrize("kind", ["generating", "joined"])
async def test_a_thread_is_pruned_in_the_event_that_ends_the_episode(play, kind) -> None:
    """As Parallel-Probe does. In a replay, which takes no time, that thread is where it was before the others are."""

    def script(request: Request) -> str:
        if request.thread == "0":
            return "a|b=>"
        if request.thread.startswith("0.0"):
            return f"{request.thread}=>" if len(request.thread) < 20 else WORDS
        if request.thread == "0.1":
            return WORDS if request.y else f"{WORDS[:100]} c=>"
        return "print('c')"

    def prune_and_stop(episode: Any) -> None:
        episode.prune("0.1", "disagrees")
        episode.stop("all agree", "42")

    times = 2 if kind == "generating" else 1
    watcher = When(at(kind, "0.1", times), prune_and_stop)
    first = await play(ScriptedModel(script, pace=0.002), protocol=Fork(), watchers=[watcher])
    (end,) = first.of("thread_ended", "0.1")
    assert (end.how, end.result) == ("pruned", None)
    await replayed(play, first, protocol=Fork())


async def test_a_recording_in_which_no_watcher_did_anything_has_none_and_holds_no_call(play) -> None:
    first = await play(LOOKING, environment=Walls())
    model = ReplayModel(first.events)
    again = await play(model, environment=Walls())
    assert first_difference(first.events, again.events) is None


async def test_a_replay_that_goes_another_way_ends_and_says_so(play) -> None:
    watcher = When(at("acted", "0.0"), prune("0.0"))
    first = await play(LOOKING, environment=Walls(), watchers=[watcher])
    events = [event.model_copy(update={"text": "> go 9 =>"}) if (event.kind, event.thread) == ("observed", "0.1") else event
              for event in first.events]  # fmt: skip
    model = ReplayModel(events)
    again = await asyncio.wait_for(play(model, environment=Walls()), 20)
    assert "diverges from its recording in thread 0.1, call 2" in again.episode.message


class Slow(ScriptedModel):
    """Does not stream."""

    stream = None

    async def complete(self, request: Request) -> Any:
        await asyncio.sleep(10 * (request.thread == "0.0"))
        return await super().complete(request)


@pytest.mark.parametrize("kind", [ScriptedModel, Slow])
async def test_a_replay_of_an_interrupted_run_says_that_it_was_interrupted(play, kind) -> None:
    roles = [Role(path="0", text="First, tell =>\nprint('ok')"), Role(path="0.0", text=WORDS)]
    events: list[Any] = []
    writes = asyncio.Event()
    watcher = When(at("generating", "0.0"), lambda _: writes.set())
    playing = asyncio.ensure_future(play(kind(roles, pace=0.001), sinks=[events.append], watchers=[watcher]))
    await writes.wait()
    await asyncio.sleep(0.05)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    again = await asyncio.wait_for(play(ReplayModel(events)), 20)
    assert again.episode.message == "model error: the recorded run was interrupted here, in thread 0.0"
    third = await asyncio.wait_for(play(ReplayModel(again.events)), 20)
    assert third.episode.message == again.episode.message
    assert first_difference(again.events, third.events) is None


async def test_a_replay_of_a_log_that_breaks_off_plays_all_that_the_log_has(play) -> None:
    roles = [
        Role(path="0", text="& write =>\n- tell =>\nprint('ok')"),
        Role(path="0.0", text="print('never written')"),
        Role(path="0.1", text="x = 1\nFirst, look =>\nprint('told')"),
        Role(path="0.1.0", text="print('looked')"),
    ]
    rules = {"several": "- ", "background": "& "}
    first = await play(roles, rules=rules)
    begun = next(event.n for event in first.of("generating") if event.thread == "0.0")
    killed = [event for event in first.events if event.thread != "0.0" or event.n <= begun]
    end = next(place for place, event in enumerate(killed) if event.kind == "joined" and event.thread == "0.1")
    killed = killed[: end + 1]
    again = await asyncio.wait_for(play(ReplayModel(killed), rules=rules), 20)
    assert [(event.kind, event.thread) for event in again.events[: len(killed)]] == [
        (event.kind, event.thread) for event in killed
    ]
    assert "the recording ends here" in again.episode.message


@pytest.mark.parametrize("left", [1, 2])
@pytest.mark.parametrize("action", ["break", "look"])
async def test_a_replay_of_a_log_that_breaks_off_in_its_last_lines_does_not_stand_still(
    play, monkeypatch, action, left
) -> None:
    for patience in ("_QUIET", "_BUSY"):
        monkeypatch.setattr(following, patience, 10**9)  # one that stands still never ends
    roles = [Role(path="0", text="First, a =>"), Role(path="0.0", text=f"> {action} =>")]
    watcher = When(at("observed", "0.0"), lambda episode: episode.stop("seen", "1"))
    first = await play(roles, environment=Walls(), watchers=[watcher])
    assert [event.kind for event in first.events[-3:]] == ["thread_ended", "thread_ended", "episode_ended"]
    again = await asyncio.wait_for(play(ReplayModel(first.events[:-left]), environment=Walls()), 20)
    assert again.episode.status == ("environment_error" if action == "break" else "model_error")
