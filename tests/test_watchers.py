"""Watchers: they see and hear an episode, prune threads, and end it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rooms import Fork, Walls

from thread_cli.contracts.errors import Status
from thread_cli.contracts.model import Request
from thread_cli.display import TreeState, render_tree
from thread_cli.models.scripted import Role, ScriptedModel

WORDS = " ".join(f"word{n}" for n in range(300))


class When:
    """A watcher that does something at the first event that `sign` is true of."""

    def __init__(self, sign: Any, do: Any) -> None:
        self.sign, self.do = sign, do
        self.heard: list[tuple[str, str]] = []
        self.done: list[Any] = []

    def begin(self, episode: Any) -> None:
        self.episode = episode

    def see(self, event: Any) -> None:
        if not self.done and self.sign(event):
            self.done.append(None)
            self.done[0] = self.do(self.episode)

    def hear(self, thread: str, piece: Any) -> None:
        self.heard.append((thread, piece.text))


def ends(played: Any) -> dict[str, str]:
    return {event.thread: str(event.how) for event in played.of("thread_ended")}


def at(kind: str, thread: str, times: int = 1) -> Any:
    seen = [0]

    def sign(event: Any) -> bool:
        seen[0] += event.kind == kind and event.thread == thread
        return seen[0] == times

    return sign


async def test_a_watcher_hears_what_threads_write(play) -> None:
    watcher = When(lambda _: False, None)
    played = await play(["Now, go on =>", "print('b c')", "print('ok')"], watchers=[watcher])
    for thread in ("0", "0.0"):
        heard = "".join(text for path, text in watcher.heard if path == thread)
        assert heard == "".join(event.text for event in played.of("generated", thread))


@pytest.mark.parametrize(
    "kind", ["thread_started", "generating", "generated", "code_ran", "spawned", "acted", "observed", "joined"]
)
async def test_a_thread_may_be_pruned_at_any_of_its_events(play, kind) -> None:
    roles = [
        Role(path="0", text="First, a =>\nThen, b =>\nprint('end')"),
        Role(path="0.0", text="x = 1\n> look =>\nNow, deeper =>\nprint('too late')"),
        Role(path="0.0.0", text="print('deep')"),
        Role(path="0.1", text="> look =>\nprint('fine')"),
    ]
    watcher = When(at(kind, "0.0"), lambda episode: episode.prune("0.0", "enough"))
    played = await asyncio.wait_for(play(roles, environment=Walls(), watchers=[watcher]), 20)
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
    watcher = When(at("acted", "0.0.1.0"), lambda episode: episode.prune("0.0", "too deep"))
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
    watcher = When(
        at("acted", "0.0"), lambda episode: asyncio.get_running_loop().call_later(0.05, episode.prune, "0.0", "hangs")
    )
    played = await asyncio.wait_for(play(roles, environment=Walls(), watchers=[watcher]), 20)
    assert played.episode.status is Status.solved
