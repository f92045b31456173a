"""A forkable environment: children that run at the same time act on worlds of their own, which join at the end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rooms import Walls
from test_leases import OPEN, played
from worlds import Scripts, acts

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, Status
from thread_cli.contracts.limits import Budgets
from thread_cli.models.replay import ReplayModel
from thread_cli.record import first_difference
from thread_envs.textcraft import TextCraft
from thread_envs.webshop import WebShop


class Crafts(TextCraft):
    """TextCraft with one task for all episodes. Each action may take a while."""

    def __init__(self, task: str, losses: float = 0.0, seed: int | None = None) -> None:
        super().__init__(losses=losses)
        self.task = self.find(task)
        self.times = None if seed is None else random.Random(seed)

    async def reset(self, task: Task) -> str:
        return await super().reset(self.task)

    async def step(self, action: str) -> Step:
        if self.times is not None:
            await asyncio.sleep(self.times.random() * 0.001)
        return await super().step(action)


async def recipes_of(task: str) -> tuple[str, list[tuple[list[str], str]]]:
    """The goal of a task, and its recipes, each with the actions that get its parts."""
    text = await Crafts(task).reset(Task("t"))
    shown = [line for line in text.splitlines() if line.startswith("craft ")]
    parts = [recipe.partition(" using ")[2].split(", ") for recipe in shown]
    gets = [[f"get {part}" for part in needed] for needed in parts]
    return text.rpartition("craft ")[2].rstrip("."), list(zip(gets, shown, strict=True))


async def repertoire(task: str, chance: random.Random) -> list[str]:
    """Actions about two recipes of a task whose parts can be had, and some about others; none crafts the goal."""
    goal, recipes = await recipes_of(task)
    recipes = [(gets, recipe) for gets, recipe in recipes if f" {goal} using" not in recipe]
    close = []
    for gets, recipe in recipes:
        answers = await serial(task, 0.0, [*gets, recipe])
        close += [(gets, recipe)] if answers[-1].observation.startswith("Crafted") else []
    focus = chance.sample(close, min(2, len(close)))
    far = chance.choices(recipes or [([], "inventory")], k=2)
    return ["inventory", *(action for gets, recipe in [*focus, *focus, *far] for action in [*gets, recipe])]


async def serial(task: str, losses: float, actions: list[str]) -> list[Step]:
    """The answers of a serial run."""
    crafts = Crafts(task, losses)
    await crafts.reset(Task("t"))
    return [await crafts.step(action) for action in actions]


def taken(events: list[Any], thread: str) -> list[tuple[str, str]]:
    """The actions of a thread with all below it, and the observations."""
    own = [event for event in events if event.thread == thread or event.thread.startswith(f"{thread}.")]
    done, acting = [], {}
    for event in own:
        if event.kind == "acted":
            acting[event.thread] = event.action
        elif event.kind == "observed":
            done.append((acting[event.thread], event.observation))
    return done


async def require_serial_or_reported(task: str, losses: float, begun: list[str], events: list[Any]) -> int:
    """Require that the children whose conflict was not reported have the answers of a serial run, and that the parent goes
    on in its state; that each conflict is one. Returns the number of conflicts.
    """
    reported = {event.child: event for event in events if event.kind == "conflicted"}
    (joined,) = [event for event in events if event.kind == "joined" and event.thread == "0"]
    assert all(f"error: conflict: the action {event.action!r}" in joined.text for event in reported.values())
    history = list(begun)
    for child in [f"0.{n}" for n in range(4)]:
        steps = taken(events, child)
        answers = await serial(task, losses, [*history, *(action for action, _ in steps)])
        same = [step.observation for step in answers[len(history) :]] == [observation for _, observation in steps]
        assert same == (child not in reported), child
        history += [action for action, _ in steps] if same else []
    (after,) = [event.observation for event in events if event.kind == "observed" and event.thread == "0"][len(begun) :]
    assert after == (await serial(task, losses, [*history, "inventory"]))[-1].observation
    return len(reported)


@given(seed=st.integers(0, 10**6), data=st.data(), losses=st.sampled_from([0.0, 0.0, 0.3]))
@settings(max_examples=80, deadline=None)
def test_four_children_of_textcraft_give_the_state_of_a_serial_run_or_a_reported_conflict(seed, data, losses) -> None:
    task = data.draw(st.one_of(st.integers(0, 60).map(lambda number: f"world:{number}"), st.integers(0, 418).map(str)))
    known = asyncio.run(repertoire(task, random.Random(seed)))
    some = st.lists(st.sampled_from(known), max_size=6)
    begun = data.draw(some)
    scripts = {"0": [*acts(begun), "fork a|b|c|d =>", "> inventory =>"]}
    scripts |= {f"0.{n}": acts(data.draw(some)) for n in range(4)}
    for thread in data.draw(st.sets(st.sampled_from([f"0.{n}" for n in range(4)]), max_size=2)):
        scripts[thread].append("no result")  # the child fails after its actions
    environment, events = Crafts(task, losses, seed), list[Any]()
    limits = OPEN.model_copy(update={"repeats": 99})
    asyncio.run(played(Scripts(scripts, seed), environment, events, limits=limits))
    asyncio.run(require_serial_or_reported(task, losses, begun, events))


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=40, deadline=None)
def test_so_they_do_where_children_are_pruned_in_the_middle_of_an_action(seed, share) -> None:
    task, chance = "world:3", random.Random(seed)
    known = asyncio.run(repertoire(task, chance))
    scripts = {"0": ["> inventory =>", "fork a|b|c|d =>", "> inventory =>"]}
    scripts |= {f"0.{n}": acts(chance.choices(known, k=4)) for n in range(4)}
    scripts["0.1"] = ["Now, do it =>", *acts(chance.choices(known, k=2))]
    scripts["0.1.0"] = acts(chance.choices(known, k=3))

    class Prunes:
        def begin(self, episode: Any) -> None:
            self.episode = episode

        def see(self, event: Any) -> None:
            if event.thread != "0" and chance.random() < share:
                asyncio.get_running_loop().call_later(
                    chance.random() * 0.002, self.episode.prune, event.thread, "by chance"
                )

        def hear(self, thread: str, piece: Any) -> None: ...

    events: list[Any] = []
    limits = OPEN.model_copy(update={"repeats": 99})
    environment = Crafts(task, seed=seed)
    asyncio.run(played(Scripts(scripts, seed), environment, events, watchers=[Prunes()], limits=limits))
    asyncio.run(require_serial_or_reported(task, 0.0, ["inventory"], events))


async def test_a_conflict_is_read_by_the_parent_and_none_of_the_childs_actions_is_kept() -> None:
    log, planks = "get 1 oak logs", "craft 4 oak planks using 1 oak logs"
    scripts = {
        "0": [*acts([log]), "fork a|b =>", "> inventory =>"],
        "0.0": [*acts([planks]), "print('four planks')"],
        "0.1": [*acts(["get 2 birch logs", planks]), "print('four more')"],
    }
    events: list[Any] = []
    await played(Scripts(scripts), Crafts("0"), events)
    (conflict,) = [event for event in events if event.kind == "conflicted"]
    assert (conflict.thread, conflict.child, conflict.action, conflict.actions) == ("0", "0.1", planks, 2)
    assert conflict.seen == "Crafted 4 minecraft:oak_planks"
    (joined,) = [event for event in events if event.kind == "joined"]
    assert joined.text.startswith(f"=> four planks & error: conflict: the action {planks!r} got ")
    assert joined.text.endswith("So far: four more\n")
    assert [event.observation for event in events if event.kind == "observed"][-1] == "Inventory: [oak planks] (4) "
    again: list[Any] = []
    await played(ReplayModel(events), Crafts("0"), again)
    assert first_difference(events, again) is None


async def test_the_goal_reached_in_a_fork_ends_that_child_and_at_the_join_the_episode() -> None:
    for number in range(60):
        goal, recipes = await recipes_of(f"world:{number}")
        wins = next([*gets, recipe] for gets, recipe in recipes if f" {goal} using" in recipe)
        if (await serial(f"world:{number}", 0.0, wins))[-1].done:
            break
    crafts = Crafts(f"world:{number}")
    scripts = {"0": ["fork a|b|c =>", "> inventory =>"], "0.0": acts(["inventory"]), "0.1": acts([*wins, "inventory"])}
    events: list[Any] = []
    episode = await played(Scripts(scripts, 1), crafts, events)
    assert (episode.status, episode.reward) == (Status.solved, 1)
    (ended,) = [event for event in events if event.kind == "thread_ended" and event.thread == "0.1"]
    assert (ended.how, ended.result) == (
        "returned",
        f"the environment has ended what this thread acts on, by the action {wins[-1]}",
    )
    assert not [event for event in events if event.kind == "joined"]


# --- rooms: which world is acted on, and when


class Forks(Walls):
    """Rooms that are forkable; notes each snapshot and each restore. `go 3` wins."""

    concurrency = "forkable"

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.times = None if seed is None else random.Random(seed)

    async def step(self, action: str) -> Step:
        if self.times is not None:
            await asyncio.sleep(self.times.random() * 0.001)
        if action == "where":
            return Step(f"You are in room {self.room}")
        return await super().step(action)

    async def snapshot(self) -> object:
        self.calls.append("snapshot")
        return self.room

    async def restore(self, snapshot: object) -> None:
        self.calls.append(f"restore {snapshot}")
        await super().restore(snapshot)


def last(events: list[Any], thread: str) -> str:
    return [event.observation for event in events if event.kind == "observed" and event.thread == thread][-1]


async def test_one_child_at_a_time_acts_on_its_parents_world_without_a_snapshot() -> None:
    forks, events = Forks(), list[Any]()
    scripts = {"0": ["Now, go =>", "Now, go on =>", "> where =>"], "0.0": acts(["go 2"]), "0.1": acts(["go 4"])}
    await played(Scripts(scripts), forks, events)
    assert last(events, "0") == "You are in room 4"
    assert forks.calls == []


async def test_where_one_child_acts_its_world_is_kept_and_nothing_is_done_again() -> None:
    forks, events = Forks(), list[Any]()
    scripts = {"0": ["> go 2 =>", "fork a|b|c =>", "> where =>"], "0.1": acts(["go 4", "go 5"])}
    await played(Scripts(scripts), forks, events)
    assert last(events, "0") == "You are in room 5"
    assert (forks.calls, forks.actions) == (["snapshot"], ["go 2", "go 4", "go 5"])


async def test_a_child_that_acts_at_one_time_with_its_parent_begins_where_it_was_spawned() -> None:
    scripts = {"0": ["> go 2 =>", "start a =>", "> go 5 =>", "await =>", "> where =>"], "0.0": acts(["where"])}
    for seed in range(8):
        events: list[Any] = []
        await played(Scripts(scripts, seed), Forks(seed), events)
        assert last(events, "0.0") == "You are in room 2"
        assert last(events, "0") == "You are in room 5"
        assert [event.kind for event in events if event.kind == "conflicted"] == ["conflicted"]


async def test_a_child_that_nobody_awaits_changes_nothing() -> None:
    scripts = {"0": ["> go 2 =>", "start a =>", "await =>", "start b =>", "> where =>"], "0.1": acts(["go 4"])}
    for seed in range(8):
        events: list[Any] = []
        await played(Scripts(scripts, seed), Forks(seed), events)
        assert last(events, "0") == "You are in room 2"


async def test_a_detached_child_acts_on_the_world_that_it_was_born_in() -> None:
    scripts = {
        "0": ["start a =>", "await 0 =>", "> go 7 =>", *(["> where =>"] * 6)],
        "0.0": ["> go 2 =>", "start deep =>", "print('gone')"],
        "0.0.0": [*(["x = 1\nNow, wait =>"] * 3), *acts(["where", "go 4", "where"])],
    }
    for seed in range(8):
        events: list[Any] = []
        limits = OPEN.model_copy(update={"repeats": 99})
        await played(Scripts(scripts, seed), Forks(seed), events, rules={"orphans": "detached"}, limits=limits)
        assert {event.observation for event in events if event.kind == "observed" and event.thread == "0"} == {
            "You are in room 7"
        }
        seen = [event.observation for event in events if event.kind == "observed" and event.thread == "0.0.0"]
        assert seen == ["You are in room 2", "You are in room 4", "You are in room 4"][: len(seen)]


async def test_a_fork_within_a_fork_joins_into_the_world_of_its_parent() -> None:
    scripts = {
        "0": ["fork a|b =>", "> where =>"],
        "0.0": ["> go 2 =>", "fork c|d =>", "> where =>"],
        "0.0.0": acts(["where"]),
        "0.0.1": acts(["go 4"]),
        "0.1": acts(["break it"]),
    }
    for seed in range(8):
        events: list[Any] = []
        await played(Scripts(scripts, seed), Forks(seed), events)
        assert [last(events, path) for path in ("0.0.0", "0.0", "0")] == [f"You are in room {n}" for n in (2, 4, 4)]
        conflicts = [(event.thread, event.child) for event in events if event.kind == "conflicted"]
        assert conflicts == [("0", "0.1")]


async def test_a_second_try_within_a_fork_rewinds_its_own_world_alone() -> None:
    scripts = {
        "0": ["> go 2 =>", "fork a|b =>", "> where =>"],
        "0.0": ["Now, try =>", "> where =>"],
        "0.0.0": [*acts(["go 5"]), "nothing"],
        "0.0.1": acts(["where"]),
        "0.1": acts(["where"]),
    }
    for seed in range(8):
        events: list[Any] = []
        await played(Scripts(scripts, seed), Forks(seed), events, on_failure="retry")
        assert [last(events, path) for path in ("0.0.1", "0.0", "0.1", "0")] == ["You are in room 2"] * 4


async def test_a_second_try_goes_on_where_the_first_one_had_ended_its_world() -> None:
    scripts = {
        "0": ["> go 2 =>", "fork a|b =>", "> where =>"],
        "0.0": ["Now, try =>", "> go 4 =>"],
        "0.0.0": ["Now, win =>", "nothing"],
        "0.0.0.0": acts(["go 3"]),
        "0.0.1": acts(["where"]),
    }
    events: list[Any] = []
    episode = await played(Scripts(scripts), Forks(), events, on_failure="retry")
    assert [event.thread for event in events if event.kind == "failed"] == ["0.0.0"]
    assert [last(events, path) for path in ("0.0.1", "0")] == ["You are in room 2", "You are in room 4"]
    assert episode.reward == 0


async def test_a_world_goes_on_as_it_was_before_an_action_that_was_cut_off() -> None:
    class Halts(Forks):
        async def step(self, action: str) -> Step:
            if action == "go 9":
                self.room = 9
                await asyncio.sleep(3600)
            return await super().step(action)

    scripts = {
        "0": ["fork a|b =>", "> where =>"],
        "0.0": ["> go 2 =>", "Now, halt =>", "> where =>", "> go 4 =>"],
        "0.0.0": acts(["go 9"]),
        "0.1": acts(["where"]),
    }
    forks, events = Halts(), list[Any]()

    class Prunes:
        def begin(self, episode: Any) -> None:
            self.episode = episode

        def see(self, event: Any) -> None:
            if event.kind == "acted" and event.action == "go 9":
                asyncio.get_running_loop().call_later(0.05, self.episode.prune, "0.0.0", "it halts")

        def hear(self, thread: str, piece: Any) -> None: ...

    await played(Scripts(scripts), forks, events, watchers=[Prunes()])
    assert [event.observation for event in events if event.kind == "observed" and event.thread == "0.0"] == [
        f"You are in room {room}" for room in (2, 2, 4)
    ]
    assert {event.child for event in events if event.kind == "conflicted"} == {"0.1"}
    assert last(events, "0") == "You are in room 4"


async def test_all_threads_end_that_act_on_a_world_which_is_over() -> None:
    scripts = {"0": ["fork a|b =>"], "0.0": ["Now, win =>", "> where =>"], "0.0.0": acts(["go 3"])}
    events: list[Any] = []
    episode = await played(Scripts(scripts), Forks(), events)
    ends = {event.thread: event.result for event in events if event.kind == "thread_ended"}
    assert ends["0.0.0"] == "the environment has ended what this thread acts on, by the action go 3"
    assert ends["0.0"] == "the environment has ended what this thread acts on"
    assert (episode.status, episode.reward) == (Status.solved, 1)


async def test_another_reward_at_the_join_is_a_conflict() -> None:
    class FirstOnly(Forks):
        paid = 0

        async def step(self, action: str) -> Step:
            self.paid += action == "pay"
            return Step("paid", float(self.paid == 1))

        async def snapshot(self) -> object:
            return self.paid

        async def restore(self, snapshot: Any) -> None:
            self.paid = snapshot

    events: list[Any] = []
    episode = await played(
        Scripts({"0": ["fork a|b =>"], "0.0": acts(["pay"]), "0.1": acts(["pay"])}), FirstOnly(), events
    )
    (conflict,) = [event for event in events if event.kind == "conflicted"]
    assert (conflict.child, conflict.seen, conflict.now) == ("0.1", "paid", "paid")
    assert "'pay' earned another reward, or ended the episode otherwise, at the join" in next(
        event.text for event in events if event.kind == "joined"
    )
    assert episode.reward == 1


async def test_a_breakdown_while_actions_are_carried_out_again_is_the_environments() -> None:
    class Breaks(Forks):
        async def step(self, action: str) -> Step:
            if action == "go 4" and "go 4" in self.actions:
                raise EnvironmentFailed("it is worn out")
            return await super().step(action)

    scripts = {"0": ["fork a|b =>"], "0.0": acts(["go 2"]), "0.1": acts(["go 4"])}
    events: list[Any] = []
    episode = await played(Scripts(scripts), Breaks(), events)
    assert (episode.status, episode.message) == (Status.environment_error, "environment failed: it is worn out")


async def test_a_join_that_takes_too_long_joins_whole_children_alone() -> None:
    class Slow(Forks):
        async def step(self, action: str) -> Step:
            if action == "go 5" and "go 5" in self.actions:
                self.actions.append("again")
                await asyncio.sleep(3600)
            return await super().step(action)

    scripts = {
        "0": ["Now, do it =>", "> where =>"],
        "0.0": ["fork a|b =>"],
        "0.0.0": acts(["go 2"]),
        "0.0.1": acts(["go 4", "go 5"]),
    }
    forks, events = Slow(), list[Any]()
    await played(Scripts(scripts), forks, events, child_limits=Budgets(wall_time=0.3))
    assert forks.actions[-1] == "again"
    assert last(events, "0") == "You are in room 2"


# --- sessions of a shop


async def test_a_purchase_in_a_fork_ends_the_child_and_the_parents_session_decides_the_reward() -> None:
    shop = WebShop()
    task = shop.tasks("test")[0]
    buys = acts(["search[lamp]", "click[Buy Now]"])
    teacher_actions = await bought(task)
    scripts = {
        "0": ["fork a|b =>", *acts(teacher_actions)],
        "0.0": [*acts(teacher_actions), "print('never')"],
        "0.1": [*buys, "print('looked around')"],
    }
    events: list[Any] = []

    class Session(WebShop):
        async def reset(self, _: Task) -> str:
            return await super().reset(task)

    episode = await played(Scripts(scripts, 4), Session(), events)
    ends = {event.thread: event for event in events if event.kind == "thread_ended"}
    assert (
        ends["0.0"].result == f"the environment has ended what this thread acts on, by the action {teacher_actions[-1]}"
    )
    assert ends["0.1"].result == "looked around"
    assert [event.done for event in events if event.kind == "observed" and event.thread == "0.0"][-1] is True
    assert (episode.status, episode.reward) == (Status.solved, 1)
    only = {**scripts, "0": ["fork a|b =>", *acts(["search[lamp]"])]}
    episode = await played(Scripts(only, 4), Session(), [])
    assert episode.reward == 0


async def bought(task: Task) -> list[str]:
    """The actions with which the teacher buys what a task wants."""
    from thread_cli.conformance.environment_case import Case

    case = Case("webshop", {"seed": 0})
    _, actions = await case.taught()
    assert (await case.tasks())[0] == task
    return actions
