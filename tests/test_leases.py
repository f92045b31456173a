"""An exclusive environment: threads that run at the same time act in the order of a serial run, whoever comes first."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rooms import Walls
from worlds import Acting, Ledger, Scripts, acts

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.limits import Budgets, Limits
from thread_cli.engine.executor import Executor
from thread_cli.engine.leases import Leases
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.protocols.prompt import Prompt, Rules

OPEN = Limits(threads=None, calls=None, wall_time=20, depth=60)


async def played(model: Any, environment: Any, events: list[Any], **options: Any) -> Any:
    rules = Rules(phi="last_line", **options.pop("rules", {}))
    options.setdefault("limits", OPEN)
    executor = Executor(
        model=model,
        prompt=Prompt("test", "Q", rules),
        interpreter=VariableInterpreter(),
        environment=environment,
        protocol=Acting(),
        sinks=[events.append, *options.pop("sinks", [])],
        **options,
    )
    return await asyncio.wait_for(executor.run(Task("t", "Do it.")), 30)


SCRIPTS = {
    "0": ["> begin =>", "fork a|b|c =>", "> end =>"],
    "0.0": acts(["a1", "a2"]),
    "0.1": ["> b1 =>", "fork x|y =>", "> b2 =>"],
    "0.1.0": acts(["x1", "x2"]),
    "0.1.1": acts(["y1"]),
    "0.2": acts(["c1", "c2", "c3"]),
}


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_siblings_and_nested_forks_act_in_the_order_of_spawning_in_every_schedule(seed: int) -> None:
    ledger = Ledger(seed + 1)
    asyncio.run(played(Scripts(SCRIPTS, seed), ledger, []))
    assert [action for _, action in ledger.entries] == [
        "begin",
        "a1",
        "a2",
        "b1",
        "x1",
        "x2",
        "y1",
        "b2",
        "c1",
        "c2",
        "c3",
        "end",
    ]


async def test_the_first_to_come_waits_for_the_first_one_spawned() -> None:
    class Slow(Scripts):
        async def complete(self, request: Any) -> Any:
            await asyncio.sleep(0.1 if request.thread == "0.0" else 0)
            return await super().complete(request)

    ledger, events = Ledger(), list[Any]()
    await played(Slow({"0": ["fork a|b =>"], "0.0": acts(["a"]), "0.1": acts(["b"])}), ledger, events)
    assert ledger.entries == [("0.0", "a"), ("0.1", "b")]
    assert [event.thread for event in events if event.kind == "acted"] == ["0.1", "0.0"]


async def test_a_child_in_the_background_acts_before_what_its_parent_does_later() -> None:
    scripts = {"0": ["start a|b =>", "> mine =>", "await =>", "> end =>"], "0.0": acts(["a1", "a2"]), "0.1": acts("b")}
    for seed in range(8):
        ledger = Ledger(seed)
        await played(Scripts(scripts, seed), ledger, [])
        assert [action for _, action in ledger.entries] == ["a1", "a2", "b", "mine", "end"]


async def test_a_detached_child_keeps_its_place() -> None:
    scripts = {
        "0": ["start a|b =>", "await 0 =>", "await =>", "> end =>"],
        "0.0": ["start deep =>", "print('gone')"],
        "0.0.0": acts(["d1", "d2"]),
        "0.1": acts(["b1", "b2"]),
    }
    for seed in range(8):
        ledger = Ledger(seed)
        await played(Scripts(scripts, seed), ledger, [], rules={"orphans": "detached"})
        assert [action for _, action in ledger.entries] == ["d1", "d2", "b1", "b2", "end"]


@given(seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=40, deadline=None)
def test_leases_go_on_whichever_thread_fails_is_pruned_or_stopped(seed: int, data: st.DataObject) -> None:
    """Every thread may be pruned at any of its events, and any child may fail; all others act, in the order of spawning."""
    chance = random.Random(seed)
    scripts = {**SCRIPTS}
    for thread in data.draw(st.sets(st.sampled_from([*SCRIPTS][1:]))):
        scripts[thread] = [*scripts[thread], "nothing is printed"]
    share = data.draw(st.sampled_from([0.0, 0.05, 0.2]))

    class Prunes:
        def begin(self, episode: Any) -> None:
            self.episode = episode

        def see(self, event: Any) -> None:
            if event.thread != "0" and chance.random() < share:
                self.episode.prune(event.thread, "by chance")

        def hear(self, thread: str, piece: Any) -> None: ...

    ledger, events = Ledger(seed + 1), list[Any]()
    episode = asyncio.run(played(Scripts(scripts, seed), ledger, events, watchers=[Prunes()]))
    assert episode.status is Status.answered
    order = ["begin", "a1", "a2", "b1", "x1", "x2", "y1", "b2", "c1", "c2", "c3", "end"]
    done = [action for _, action in ledger.entries]
    assert done == [action for action in order if action in done]
    ends = {event.thread: event.how for event in events if event.kind == "thread_ended"}
    for thread, script in SCRIPTS.items():
        if thread in ends and ends[thread] in {"returned", "failed"}:
            wanted = [text[2:-3] for text in script if text.startswith("> ") and thread != "0"]
            assert [action for who, action in ledger.entries if who == thread and thread != "0"] == wanted


async def test_cancelling_an_episode_whose_threads_wait_for_their_turn_leaves_nothing_running() -> None:
    ledger = Ledger(3)
    for place in range(0, 60, 3):
        events: list[Any] = []

        def cancel(event: Any, place: int = place) -> None:
            if event.n == place:
                task.cancel()

        task = asyncio.ensure_future(played(Scripts(SCRIPTS, place), ledger, events, sinks=[cancel]))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events[-1].status is Status.cancelled
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_lease_goes_on_from_threads_whose_time_is_up_while_they_act_or_wait() -> None:
    class Stuck(Ledger):
        async def act(self, action: Any) -> Any:
            if action.text == "stuck":
                await asyncio.sleep(3600)
            return await super().act(action)

    scripts = {"0": ["fork a|b|c =>", "> end =>"], "0.0": acts(["stuck"]), "0.1": acts(["b"]), "0.2": acts(["c"])}
    ledger, events = Stuck(), list[Any]()
    await played(Scripts(scripts), ledger, events, child_limits=Budgets(wall_time=0.2))
    assert next(event.thread for event in events if event.kind == "failed") == "0.0"
    assert ledger.entries[-1] == ("0", "end")


async def test_depth_50_with_forks_at_every_level_finishes() -> None:
    scripts, path = {}, "0"
    for depth in range(50):
        scripts[path] = [f"> down{depth} =>", f"fork a{depth}|b{depth} =>", f"> up{depth} =>"]
        scripts[f"{path}.0"] = acts([f"side{depth}"])
        path += ".1"
    ledger = Ledger()
    await played(Scripts(scripts), ledger, [])
    sides = [f"{what}{depth}" for depth in range(50) for what in ("down", "side")]
    assert [action for _, action in ledger.entries] == [*sides, *(f"up{depth}" for depth in reversed(range(50)))]


async def test_a_second_try_does_not_undo_what_a_sibling_does() -> None:
    """The snapshot to rewind to is taken when it is the thread's turn."""

    class Counted(Ledger):
        async def snapshot(self) -> object:
            assert not self._acting
            return list(self.entries)

        async def restore(self, snapshot: Any) -> None:
            self.entries = list(snapshot)

    scripts = {
        "0": ["fork a|b =>"],
        "0.0": acts(["a1", "a2", "a3"]),
        "0.1": ["Now, try =>"],
        "0.1.0": [*acts(["lost"]), "nothing"],
        "0.1.1": acts(["b1"]),
    }
    for seed in range(6):
        ledger = Counted(seed)
        await played(Scripts(scripts, seed), ledger, [], on_failure="retry")
        assert [action for _, action in ledger.entries] == ["a1", "a2", "a3", "b1"]


async def test_an_environment_without_a_declaration_is_exclusive_and_one_thread_at_a_time_needs_no_lease() -> None:
    walls = Walls()
    executor_events: list[Any] = []
    scripts = {"0": ["Now, go =>", "> go 3 =>"], "0.0": acts(["go 2"])}
    began = Leases.began
    try:
        Leases.began = lambda *_: pytest.fail("nobody runs at the same time")  # type: ignore[method-assign]
        await played(Scripts(scripts), walls, executor_events)
    finally:
        Leases.began = began  # type: ignore[method-assign]
    assert walls.actions == ["go 2", "go 3"]


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"concurrency": "free"}, "declares the concurrency 'free'; there are exclusive, shared, forkable"),
        ({"concurrency": "forkable"}, "is declared forkable, but has no methods snapshot and restore"),
        ({"concurrency": "forkable", "at_join": "both"}, "declares the at_join 'both'; there are replay, parent"),
    ],
)
async def test_a_declaration_that_cannot_be_kept_is_refused_in_one_line(declared, why) -> None:
    environment = type("Odd", (Ledger,), declared)()
    with pytest.raises(UserError, match=why):
        await played(Scripts({}), environment, [])
