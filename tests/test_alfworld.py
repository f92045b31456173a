"""ALFWorld's adapter: its games, played in their real process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from games import game_files, one_process, play, room_of, small_games
from processes import outputs_under_hash_seeds

from thread_cli.assembly.environments import task_of
from thread_cli.contracts.environment import Finds, InOwnProcess, SetsUp, Snapshots, Task, Teaches
from thread_cli.contracts.errors import EnvironmentFailed, Status, UserError
from thread_envs.alfworld import Alfworld
from thread_envs.alfworld.generator import category_of, generate
from thread_envs.alfworld.reading import CATEGORIES, command, goal_of, read_game
from thread_envs.alfworld.view import Notes

_DIGEST = """
import hashlib, json
from thread_envs.alfworld.generator import generate
print(hashlib.sha256("".join(json.dumps(generate(n)) for n in range(60)).encode()).hexdigest())
"""
_ORIGINAL = """
import json, sys, textworld
from textworld.envs import PddlEnv
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
for file in sys.argv[1:]:
    env = AlfredDemangler(PddlEnv(textworld.EnvInfos()))
    env.load(file)
    told = [env.reset().feedback]
    told += [env.step(command)[0].feedback for command in json.load(open(file))["walkthrough"]]
    print(json.dumps(told))
"""


# --- tasks


def test_the_capabilities_are_those_that_the_engine_looks_for():
    alfworld = Alfworld()
    for capability in (Finds, InOwnProcess, SetsUp, Snapshots, Teaches):
        assert isinstance(alfworld, capability)


def test_generated_games_are_listed_first_and_go_on_by_number():
    alfworld = Alfworld(data="/nonexistent")
    tasks = alfworld.tasks("generated")
    assert next(iter(alfworld.splits)) == "generated"
    assert [task.id for task in tasks] == [str(number) for number in range(300)]
    assert [task.category for task in tasks[:7]] == ["pick", "clean", "heat", "cool", "look", "pick2", "pick"]
    assert alfworld.find("123456").text == alfworld.find("123456").text != ""
    assert task_of(alfworld, "alfworld", None) == tasks[0] == task_of(alfworld, "alfworld", "generated:0")


def test_two_hundred_generated_games_are_all_different_and_of_all_six_types():
    games = [generate(number) for number in range(200)]
    assert {category_of(number) for number in range(200)} == set(CATEGORIES)
    assert all(goal_of(game).category == category_of(number) for number, game in enumerate(games))
    rooms = {(goal_of(game).sentence, tuple(room_of(game).contents.items())) for game in games}
    assert len(rooms) == 200
    assert len({tuple(room_of(game).contents) for game in games}) > 100
    assert len({goal_of(game).kind for game in games}) > 30


def test_generated_games_are_never_won_from_the_beginning():
    for number in range(200):
        game = generate(number)
        goal, room = goal_of(game), room_of(game)
        there = [place for place in room.holding(goal.kind) if place.split()[0] == goal.target]
        assert not there
        assert room.holding(goal.kind)


def test_the_core_that_the_planner_solves_is_a_part_of_the_game():
    for number in range(200):
        game = generate(number)
        whole, core = (facts(game[name]) for name in ("pddl_problem", "core_problem"))
        assert core < whole
        assert {fact for fact in whole if fact.startswith("(holds")} == set()
        assert goal_of(game) == goal_of({**game, "pddl_problem": game["core_problem"]})


def facts(problem: str) -> set[str]:
    return set(problem.partition("(:init\n")[2].partition("\n)")[0].split("\n"))


def test_no_action_but_taking_needs_something_to_be_absent():
    domain = re.sub(r";.*", "", generate(0)["pddl_domain"])
    actions = re.findall(r"\(:action (\w+)(.*?):effect", domain, re.DOTALL)
    absent = {name: re.findall(r"\(not \((\w+)", condition) for name, condition in actions}
    assert {name: needs for name, needs in absent.items() if set(needs) - {"openable"}} == {
        "OpenObject": ["opened"],
        "PickupObject": ["holdsAny", "openable"],
    }


def test_generated_games_are_the_same_under_every_hash_seed():
    assert len(outputs_under_hash_seeds(_DIGEST)) == 1


def test_official_games_are_listed_without_being_read(mini, tmp_path):
    alfworld = Alfworld(data=str(mini))
    tasks = alfworld.tasks("valid_seen")
    assert len(tasks) == 6
    assert {task.category for task in tasks} == set(CATEGORIES)
    assert [task.id for task in tasks] == sorted(task.id for task in tasks)
    broken = tmp_path / "json_2.1.1/train/pick_and_place_simple-A-None-B-1/trial_T1/game.tw-pddl"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"solvable": true}')
    assert len(Alfworld(data=str(tmp_path)).tasks("train")) == 1


@pytest.mark.parametrize(
    ("folder", "end"),
    [
        ("pick_and_place_with_movable_recep-A-B-C-1", '{"solvable": true}'),
        ("pick_and_place_simple-AppleSliced-None-C-1", '{"solvable": true}'),
        ("pick_and_place_simple-Apple-None-C-1", '{"solvable": false}'),
        ("pick_and_place_simple-Apple-None-C-1", "{}"),
    ],
)
def test_games_that_alfworld_leaves_out_are_left_out(folder, end, tmp_path):
    file = tmp_path / "json_2.1.1/train" / folder / "trial_T1/game.tw-pddl"
    file.parent.mkdir(parents=True)
    file.write_text(end)
    with pytest.raises(UserError, match="train games are not below"):
        Alfworld(data=str(tmp_path)).tasks("train")


def test_a_game_is_found_by_its_name_and_by_its_path(mini, monkeypatch):
    alfworld = Alfworld(data=str(mini))
    task = alfworld.tasks("valid_seen")[2]
    assert alfworld.find(task.id) == task
    (file,) = (file for file in game_files(mini) if file.is_relative_to(file.parents[2] / task.id))
    by_path = Alfworld(data="/nonexistent").find(str(file))
    assert (by_path.id, by_path.text, by_path.category) == (task.id, task.text, task.category)
    monkeypatch.chdir(file.parent)
    assert Alfworld(data="/nonexistent").find("game.tw-pddl") == by_path
    assert Alfworld(data="/nonexistent").find(".") == by_path


@pytest.mark.parametrize("name", ["no such game", "-1", "pick/trial_1", "../../etc", "9" * 400, "²", ""])
def test_a_name_that_means_nothing_is_no_task(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Alfworld(data=str(tmp_path)).find(name) is None


def test_data_are_looked_for_where_alfworld_keeps_them(mini, monkeypatch, tmp_path):
    monkeypatch.setenv("ALFWORLD_DATA", str(mini))
    assert len(Alfworld().tasks("valid_seen")) == 6
    monkeypatch.delenv("ALFWORLD_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="thread envs setup alfworld"):
        Alfworld().tasks("valid_seen")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/alfworld").symlink_to(mini)
    assert len(Alfworld().tasks("valid_seen")) == 6


def test_an_unknown_split_is_the_users_error():
    with pytest.raises(UserError, match="no split 'test'; it has: generated"):
        Alfworld().tasks("test")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"grammar": "x"}', '{"pddl_domain": 1}'])
def test_a_file_that_is_no_game_is_the_users_error(text, tmp_path):
    file = tmp_path / "x.tw-pddl"
    file.write_text(text)
    with pytest.raises(UserError, match="is no ALFWorld game"):
        Alfworld().find(str(file))


# --- episodes


@one_process
async def test_the_first_text_is_the_room_and_the_goal(alfworld):
    text = await alfworld.reset(alfworld.tasks("generated")[1])
    room, goal = text.split("\n")
    assert room.startswith("You are in the middle of a room. Looking quickly around you, you see a ")
    assert goal == f"Your task is to: {alfworld.tasks('generated')[1].text}."
    assert re.findall(r"[a-z]+ \d+", room) == list(room_of(generate(1)).contents)


@one_process
async def test_the_games_tell_what_the_packages_own_environment_tells(alfworld, mini, tmp_path):
    files = game_files(mini)[:1]
    original = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ORIGINAL, *map(str, files)],
        env={**os.environ, "ALFWORLD_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    for file, line in zip(files, original.stdout.strip().split("\n"), strict=True):
        first, *answers = json.loads(line)
        assert await alfworld.reset(alfworld.find(str(file))) == "\n".join(first.split("\n\n")[1:])
        steps = [await alfworld.step(action) for action in read_game(file)["walkthrough"]]
        assert [step.observation for step in steps] == answers
        assert [step.reward for step in steps] == [0.0] * (len(steps) - 1) + [1.0]
        assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]


@one_process
async def test_a_won_game_is_over(alfworld):
    task = small_games(alfworld)[0]
    await alfworld.reset(task)
    for action in await alfworld.process.call("plan"):
        step = await alfworld.step(action)
    assert step.done
    with pytest.raises(EnvironmentFailed, match="over"):
        await alfworld.step("look")
    await alfworld.reset(task)
    assert not (await alfworld.step("look")).done


@one_process
async def test_a_snapshot_brings_everything_back(alfworld):
    await alfworld.reset(small_games(alfworld)[0])
    plan = await alfworld.process.call("plan")
    for action in plan[:2]:
        await alfworld.step(action)
    snapshot = await alfworld.snapshot()
    expected = [await alfworld.step(action) for action in ("inventory", "look", *plan[2:])]
    for _ in range(2):
        await alfworld.restore(snapshot)
        assert [await alfworld.step(action) for action in ("inventory", "look", *plan[2:])] == expected
    assert expected[-1].done


@one_process
async def test_bad_actions_are_answered_as_by_alfworld(alfworld):
    await alfworld.reset(alfworld.find("0"))
    for action in (
        "",
        " ",
        "fly",
        "go to",
        "go to moon 1",
        "take x from y",
        "put a in/on b",
        "x" * 100_000,
        "\x00",
        "🪵",
    ):
        step = await alfworld.step(action)
        assert (step.observation, step.reward, step.done) == ("Nothing happens.", 0.0, False)


async def test_acting_before_an_episode_is_an_environment_failure():
    alfworld = Alfworld()
    for call in (alfworld.step("look"), alfworld.snapshot(), alfworld.restore(((), False, Notes("")))):
        with pytest.raises(EnvironmentFailed, match="no ALFWorld episode has begun"):
            await call
    await alfworld.close()
    await alfworld.close()


@one_process
async def test_a_game_that_the_planner_does_not_take_is_an_environment_failure(alfworld, tmp_path):
    game = dict(generate(0))
    game["pddl_problem"] = game["pddl_problem"].replace("(:init", "(:nonsense", 1)
    file = tmp_path / "broken.tw-pddl"
    file.write_text(json.dumps(game))
    with pytest.raises(EnvironmentFailed):
        await alfworld.reset(Task("broken", data={"file": str(file)}))
    assert await alfworld.reset(alfworld.find("0"))


def test_playing_writes_no_files(tmp_path):
    script = """
import asyncio
from thread_envs.alfworld import Alfworld
async def main():
    environment = Alfworld()
    print(await environment.reset(environment.find("0")))
    await environment.close()
asyncio.run(main())
"""
    folders = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    folders = {name: str(tmp_path / name) for name in folders}
    for folder in folders.values():
        Path(folder).mkdir()
        Path(folder).chmod(0o555)
    environ = {name: value for name, value in os.environ.items() if name != "ALFWORLD_DATA"}
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, **folders},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.startswith("You are in the middle of a room."), run.stderr
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file() or entry.name not in folders] == []


@pytest.mark.parametrize(
    ("action", "now", "before"),
    [
        ("put apple 1 in/on desk 2", "move apple 1 to desk 2", "put apple 1 in/on desk 2"),
        ("move apple 1 to desk 2", "move apple 1 to desk 2", "put apple 1 in/on desk 2"),
        ("Put  Apple 1 on desk 2.", "move apple 1 to desk 2", "put apple 1 in/on desk 2"),
        (" go to desk 2. ", "go to desk 2", "go to desk 2"),
        ("put apple 1", "put apple 1", "put apple 1"),
        ("", "", ""),
    ],
)
def test_an_action_becomes_what_the_game_understands(action, now, before):
    new = {"grammar": 'action PutObject {\n    template :: "move {o} to {r}";'}
    old = {"grammar": 'action PutObject {\n    template :: "put {o} in/on {r}";'}
    assert (command(action, new), command(action, old)) == (now, before)


@one_process
async def test_games_of_older_builds_are_played_with_put(alfworld, tmp_path):
    game = dict(generate(0))
    older = {"move {o} to {r}": "put {o} in/on {r}", "You move the {o.name} to": "You put the {o.name} in/on"}
    for new, old in older.items():
        game["grammar"] = game["grammar"].replace(new, old)
    file = tmp_path / "old.tw-pddl"
    file.write_text(json.dumps(game))
    task = alfworld.find(str(file))
    (episode,) = await play(alfworld, [task])
    assert episode.status == Status.solved


def test_the_view_says_where_one_is_and_what_has_been_seen():
    notes = Notes("clean some fork and put it in drawer")
    notes.take("go to desk 1", "You arrive at desk 1. On the desk 1, you see a cup 2, and a fork 1.")
    notes.take("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see nothing.")
    notes.take("go to desk 1", "You arrive at desk 1. On the desk 1, you see a cup 2, and a fork 1.")
    notes.take("take fork 1 from desk 1", "You pick up the fork 1 from the desk 1.")
    notes.take("clean fork 1 with sinkbasin 1", "You clean the fork 1 using the sinkbasin 1.")
    notes.take("go to drawer 1", "You arrive at drawer 1. The drawer 1 is closed.")
    assert notes.view().split("\n") == [
        "task: clean some fork and put it in drawer",
        "at the drawer 1, holding fork 1 (clean), step 6",
        "desk 1: cup 2",
        "empty: shelf 1",
        "closed: drawer 1",
    ]
    earlier = notes.copy()
    notes.take("open drawer 1", "You open the drawer 1. The drawer 1 is open. In it, you see nothing.")
    notes.take("move fork 1 to drawer 1", "You move the fork 1 to the drawer 1.")
    assert notes.view().split("\n")[1:] == [
        "at the drawer 1, holding nothing, step 8",
        "desk 1: cup 2",
        "drawer 1: fork 1",
        "empty: shelf 1",
    ]
    assert earlier.view() != notes.view()
