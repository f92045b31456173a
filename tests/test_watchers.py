"""Watchers: they see and hear an episode, prune threads, and end it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pruning import HANGING, LOOKING, SlowToLeave, When, at, ends, prune, prune_then_stop
from rooms import Fork, Walls

from thread_cli.assembly.config import Config
from thread_cli.assembly.playing import play as play_config
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.model import Request
from thread_cli.display import TreeState, render_tree
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.record import first_difference, read_events

WORDS = " ".join(f"word{n}" for n in range(300))


async def test_a_watcher_hears_what_threads_write(play) -> None:
    watcher = When(lambda _: False, prune("0.0"))
    played = await play(["Now, go on =>", "print('b c')", "print('ok')"], watchers=[watcher])
    for thread in ("0", "0.0"):
        heard = "".join(text for path, text in watcher.heard if path == thread)
        assert heard == "".join(event.text for event in played.of("generated", thread))


@pytest.mark.parametrize(
    "kind", ["thread_started", "generating", "generated", "code_ran", "spawned", "acted", "observed", "joined"]
)
async def test_a_thread_may_be_pruned_at_any_of_its_events(play, kind) -> None:
    watcher = When(at(kind, "0.0"), prune("0.0"))
    played = await asyncio.wait_for(play(LOOKING, environment=Walls(), watchers=[watcher]), 20)
    assert watcher.done == [True]
    assert ends(played)["0.0"] == "pruned"
    assert ends(played)["0"] == ends(played)["0.1"] == "returned"
    assert ends(played).get("0.0.0", "returned") in {"returned", "stopped"}
    assert "=>error: pruned: enough" in played.y("0")
    assert played.of("thread_ended", "0.0")[0].reason == "enough"
    order = [event.thread for event in played.of("thread_ended")]
    assert order == sorted(order, key=lambda path: (path[:3] == "0.1", -len(path)) if path != "0" else (True, 0))
    started = [event.thread for event in played.of("thread_started")]
    assert sorted(started) == sorted(order)


async def test_all_below_a_pruned_thread_is_stopped_and_what_it_held_is_free(play) -> None:
    def script(request: Request) -> str:
        match request.thread:
            case "0":
                return "print('end')" if request.y else "a|b=>"
            case "0.0":
                return "c|d=>"
            case "0.0.0":
                return WORDS
            case "0.0.1":
                return "e=>"
            case _:
                return "> hang =>"

    class Acts(Fork):
        def read(self, y: str, stop: str) -> Any:
            from thread_cli.contracts.protocol import Act

            return Act("hang") if y.endswith("> hang ") else super().read(y, stop)

    walls = Walls()
    watcher = When(at("acted", "0.0.1.0"), prune("0.0", "too deep"))
    model = ScriptedModel(lambda r: script(r) if r.thread != "0.1" else "print('b')", pace=0.01)
    played = await asyncio.wait_for(play(model, protocol=Acts(), environment=walls, watchers=[watcher]), 20)
    assert ends(played) == {
        "0.1": "returned",
        "0.0.0": "stopped",
        "0.0.1.0": "stopped",
        "0.0.1": "stopped",
        "0.0": "pruned",
        "0": "returned",
    }
    assert [event.stop for event in played.of("generated", "0.0.0")] == ["cut"]
    shown = [line.plain for line in render_tree(TreeState.of(played.events), 100)]
    assert any("pruned: too deep" in line for line in shown)


async def test_a_lease_of_a_pruned_thread_goes_to_the_next(play) -> None:
    roles = [Role(path="0", text="First, a =>\n> go 3 =>\n"), Role(path="0.0", text="> hang =>")]
    watcher = When(at("acted", "0.0"), prune("0.0", "hangs", after=0.05))
    played = await asyncio.wait_for(play(roles, environment=Walls(), watchers=[watcher]), 20)
    assert played.episode.status is Status.solved


async def test_an_episode_ends_while_a_pruned_thread_waits_for_the_end_of_what_is_below_it(play) -> None:
    watcher = When(at("acted", "0.0.0"), prune_then_stop)
    played = await asyncio.wait_for(play(HANGING, environment=SlowToLeave(), watchers=[watcher]), 20)
    assert played.episode.answer == "42"
    assert list(ends(played).items()) == [("0.0.0", "stopped"), ("0.0", "pruned"), ("0", "stopped")]


async def test_what_cannot_be_pruned_goes_on(play) -> None:
    for path in ("0", "0.7"):
        watcher = When(at("generating", "0"), prune(path, "no"))
        played = await play(["print('end')"], watchers=[watcher])
        assert watcher.done == [False]
        assert played.episode.answer == "end"


async def test_a_pruned_child_ends_no_episode_that_failures_abort(play) -> None:
    watcher = When(at("generating", "0.0"), prune("0.0"))
    for policy in ("abort", "retry"):
        watcher.done.clear()
        watcher.sign = at("generating", "0.0")
        played = await play(["First, a =>", "print('x')", "print('end')"], watchers=[watcher], on_failure=policy)
        assert ends(played) == {"0.0": "pruned", "0": "returned"}


@pytest.mark.parametrize(("answer", "expected"), [("42", "42"), (None, "so far")])
async def test_a_watcher_may_end_the_episode_with_an_answer_or_with_what_there_is(play, answer, expected) -> None:
    roles = [Role(path="0", text="print('so far')\nNow, a =>\n"), Role(path="0.0", text=WORDS)]

    def stop(episode: Any) -> None:
        for why in ("all agree", "twice"):
            episode.stop(why, answer)

    watcher = When(at("generating", "0.0"), stop)
    played = await play(ScriptedModel(roles, pace=0.01), watchers=[watcher])
    assert (played.episode.status, played.episode.answer) == (Status.answered, expected)
    assert played.episode.message == "a watcher ended the episode: all agree"
    assert ends(played) == {"0.0": "stopped", "0": "stopped"}


@pytest.mark.parametrize("what", ["see", "hear"])
async def test_a_watcher_that_breaks_ends_the_episode_and_is_not_the_models_failure(play, what) -> None:
    class Broken(When):
        def hear(self, thread: str, piece: Any) -> None:
            if what == "hear":
                raise ZeroDivisionError("in the watcher")

    def fail(episode: Any) -> None:
        raise ZeroDivisionError("in the watcher")

    watcher = Broken(at("generating", "0") if what == "see" else lambda _: False, fail)
    played = await play(["print('end')"], watchers=[watcher])
    assert played.episode.status is Status.engine_error
    assert played.episode.message == "watcher failed: ZeroDivisionError: in the watcher"


async def test_a_watcher_that_cannot_begin_is_the_users_to_mend(play) -> None:
    class Broken(When):
        def begin(self, episode: Any) -> None:
            raise KeyError("x")

    with pytest.raises(UserError, match="a watcher cannot be used: KeyError"):
        await play(["print('end')"], watchers=[Broken(None, None)])


async def test_watchers_are_found_by_their_entry_points(tmp_path, own_watchers) -> None:
    script = tmp_path / "script.txt"
    script.write_text("print('late')")
    config = {"task": "Do it.", "model": f"scripted:{script}", "log": tmp_path / "run"}
    played = await play_config(Config.of(**config, watch="stops"))
    assert played.episode.answer == "early"
    with pytest.raises(UserError, match="there is no watcher 'x'; there are broken, parallel-probe, prunes, stops"):
        await play_config(Config.of(**config, watch="x"))
    with pytest.raises(UserError, match="the watcher broken cannot be used: AttributeError"):
        await play_config(Config.of(**config, watch="broken"))


async def test_a_run_that_watchers_ended_is_replayed_without_naming_them(tmp_path, own_watchers) -> None:
    script = tmp_path / "script.txt"
    script.write_text("print('late')")
    config = {"task": "Do it."}
    first = await play_config(Config.of(**config, model=f"scripted:{script}", log=tmp_path / "run", watch="stops"))
    again = await play_config(Config.of(**config, model=f"replay:{tmp_path / 'run'}", log=tmp_path / "again"))
    assert (again.episode.answer, again.episode.message) == ("early", first.episode.message)
    recorded, now = (read_events(played.folder.episode(None)) for played in (first, again))
    assert first_difference(recorded, now) is None
