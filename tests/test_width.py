"""`--max-parallel`: permits to generate, which no thread holds while it waits."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from later import Paced
from processes import thread
from test_leases import SCRIPTS, played
from worlds import Ledger, Scripts, acts

from thread_cli.assembly.config import Config, resolve
from thread_cli.assembly.playing import environment_for
from thread_cli.contracts.errors import Status, UserError
from thread_cli.engine.width import Permits
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role
from thread_cli.record import first_difference


class Counting(Scripts):
    """Notes how many calls are under way at once, and the threads in the order of their calls."""

    now = most = 0

    async def complete(self, request: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        self.asked = [*getattr(self, "asked", []), request.thread]
        try:
            await asyncio.sleep(0.001)
            return await super().complete(request)
        finally:
            self.now -= 1


@pytest.mark.parametrize(("width", "most"), [(1, 1), (3, 3), (None, 8)])
async def test_so_many_threads_generate_at_once(width, most) -> None:
    model = Counting({"0": ["fork a|b|c|d|e|f|g|h =>"]})
    events: list[Any] = []
    await played(model, None, events, max_parallel=width)
    assert model.most == most
    joined = next(event for event in events if event.kind == "joined")
    assert joined.children == tuple(f"0.{n}" for n in range(8))


async def test_of_the_threads_that_wait_for_a_permit_the_first_in_a_serial_run_gets_it() -> None:
    model = Counting({"0": ["fork a|b|c =>"], "0.0": ["fork d|e =>"], "0.1": ["Now, f =>"]})
    await played(model, None, [], max_parallel=1)
    first = list(dict.fromkeys(model.asked))
    assert first == ["0", "0.0", "0.1", "0.0.0", "0.0.1", "0.1.0", "0.2"]


async def test_the_wait_for_a_permit_is_recorded_as_waiting() -> None:
    events: list[Any] = []
    await played(Counting({"0": ["fork a|b|c|d =>"]}), None, events, max_parallel=1)
    waited = {event.thread: event.waited for event in events if event.kind == "generated"}
    assert waited["0.3"] > waited["0.1"] > 0
    assert all(event.seconds >= event.waited for event in events if event.kind == "generated")


async def test_one_permit_and_depth_50_finish_with_forks_and_leases_at_every_level() -> None:
    scripts, path = {}, "0"
    for depth in range(50):
        scripts[path] = [f"> down{depth} =>", f"fork a{depth}|b{depth}|c{depth} =>", f"> up{depth} =>"]
        scripts[f"{path}.0"] = acts([f"side{depth}"])
        path += ".1"
    model, ledger = Counting(scripts), Ledger()
    episode = await played(model, ledger, [], max_parallel=1)
    assert (episode.status, model.most) == (Status.answered, 1)
    assert ledger.entries[-1] == ("0", "up0")


@given(seed=st.integers(0, 10**6), width=st.integers(1, 3), share=st.sampled_from([0.0, 0.1]))
@settings(max_examples=30, deadline=None)
def test_permits_never_leak_and_leases_keep_their_order_whoever_is_pruned(seed, width, share) -> None:
    chance = random.Random(seed)

    class Prunes:
        def begin(self, episode: Any) -> None:
            self.episode = episode

        def see(self, event: Any) -> None:
            if event.thread != "0" and chance.random() < share:
                delay = chance.random() * 0.004
                asyncio.get_running_loop().call_later(delay, self.episode.prune, event.thread, "by chance")

        def hear(self, thread: str, piece: Any) -> None: ...

    permits: list[Permits] = []
    made = Permits.__init__

    def noted(self: Permits, number: int) -> None:
        made(self, number)
        permits.append(self)

    ledger, model = Ledger(seed), Counting(SCRIPTS, seed)
    Permits.__init__ = noted  # type: ignore[method-assign]
    try:
        episode = asyncio.run(played(model, ledger, [], max_parallel=width, watchers=[Prunes()]))
    finally:
        Permits.__init__ = made  # type: ignore[method-assign]
    assert episode.status is Status.answered
    assert model.most <= width
    assert [each.held for each in permits] == [0]
    done = [action for _, action in ledger.entries]
    assert done == [
        action
        for action in ["begin", "a1", "a2", "b1", "x1", "x2", "y1", "b2", "c1", "c2", "c3", "end"]
        if action in done
    ]


async def test_a_permit_that_is_handed_to_a_thread_just_cancelled_goes_on_to_the_next() -> None:
    permits = Permits(1)
    order: list[str] = []

    async def hold(thread: str) -> None:
        async with permits.permit(thread):
            order.append(thread)
            await asyncio.sleep(0)

    async with permits.permit("0"):
        waiting = [asyncio.ensure_future(hold(f"0.{n}")) for n in (2, 0, 1)]
        await asyncio.sleep(0)
    waiting[1].cancel()  # 0.0 has the permit by now, and has not run since
    await asyncio.wait(waiting)
    assert (order, permits.held) == (["0.1", "0.2"], 0)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "true"])
def test_a_width_that_is_none_is_refused_in_one_line(value, tmp_path) -> None:
    with pytest.raises(UserError, match="max_parallel: Value error, write a number of threads from 1 on, or auto"):
        resolve({}, overrides=(f"max_parallel={value}",))
    assert resolve({}, overrides=("max_parallel=4",)).max_parallel == 4
    assert resolve({"max_parallel": "auto"}).max_parallel == "auto"


def test_the_command_line_takes_it(tmp_path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("print('hello')")
    ran = thread("run", "none", "Say.", "--model", f"scripted:{script}", "--max-parallel", "2", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = thread("run", "none", "Say.", "--model", f"scripted:{script}", "--max-parallel", "none", cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1


class StopsLate:
    """A watcher that ends the episode when thread `0.0` has run code three times."""

    left = 3

    def begin(self, episode: Any) -> None:
        self.episode = episode

    def see(self, event: Any) -> None:
        self.left -= (event.kind, event.thread) == ("code_ran", "0.0")
        if not self.left:
            self.episode.stop("seen", "1")

    def hear(self, thread: str, piece: Any) -> None: ...


async def test_a_replay_of_an_episode_that_a_watcher_ended_waits_for_no_permit(play) -> None:
    """There a call that was under way at the end goes on until then; it would keep the one permit from all others."""
    rules = {"several": "- "}
    roles = [Role(path="0", text="- a, a\n- b, b\n- c, c =>\nprint(2)")]
    roles += [Role(path="0.*", text="> a =>\nx = 1\n> b =>\nx = 1\n> c =>\nx = 1\n> d =>\nprint(2)")]
    paced, config = Paced(roles, lambda thread: 0.02), Config.of(environment="none")
    options = {"environment": environment_for(config), "max_parallel": 1, "watchers": [StopsLate()]}
    first = await play(paced, rules=rules, **options)
    assert "0.2" not in {event.thread for event in first.of("generated")}

    model = ReplayModel(first.events)
    options |= {"environment": environment_for(config), "watchers": []}
    again = await asyncio.wait_for(play(model, rules=rules, **options), 20)
    assert first_difference(first.events, again.events) is None
