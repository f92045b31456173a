"""The prompts `general`: threads that do only what their examples show solve tasks of the environments themselves."""

from __future__ import annotations

import re

import pytest
from games import one_process, small_games
from imitating import Imitator

from thread_cli.contracts.errors import Status
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.protocols.prompt import load
from thread_cli.protocols.text import estimated_tokens
from thread_envs.alfworld.generator import generate
from thread_envs.alfworld.reading import CATEGORIES, goal_of
from thread_envs.dataqa.datacommons import DataCommons
from thread_envs.dataqa.icu import ICU
from thread_envs.webshop import WebShop
from thread_envs.webshop.generated import generate as generate_catalogue

PLACES = ("Elmsworth", "Nether Vale", "Tinbury", "Harrowmead")
STATISTICS = (
    "percentage of people with stroke",
    "percentage of people who received dental visit",
    "number of women aged 20 to 39",
)
MEASURED = ("glucose", "temperature", "heart rate", "mean blood pressure", "oxygen saturation", "respiratory rate")
CONDITIONS = ("septic shock", "respiratory failure")


async def unsolved(name, environment, tasks, interpreter, model):
    """What became of the tasks that are not solved, where `model` gives the model for a task and its prompt."""
    found = []
    for task in tasks:
        prompt = load("general", name, category=task.category)
        executor = Executor(
            model=model(task, prompt.q), prompt=prompt, interpreter=interpreter, environment=environment
        )
        episode = await executor.run(task, name)
        if episode.status != Status.solved:
            found.append((task.category, episode.message))
    await interpreter.close()
    return found


@pytest.mark.parametrize(
    ("environment", "words", "shown"),
    [(DataCommons(), (*PLACES, *STATISTICS, r"\d{4}"), 12), (ICU(), (*MEASURED, *CONDITIONS, r"\d+"), 12)],
)
async def test_all_questions_of_the_kinds_that_are_shown_are_answered(environment, words, shown, cache):
    tasks = environment.tasks("dev")
    interpreter = SessionInterpreter(environment.workspace(tasks[0]))
    lost = await unsolved(environment._name, environment, tasks, interpreter, lambda _, q: Imitator(q, words))
    assert [(category, why) for category, why in lost if "NotShown" not in why] == []
    assert len({task.category for task in tasks} - {category for category, _ in lost}) == shown


def shopper(shop, task, q):
    """One who knows what the instruction means, and does all else as the examples do."""
    goal = shop._goal(task.id)
    wanted = " ".join([shop._catalogue.product(goal.asin).query, *goal.attributes, *goal.values])
    words = {
        r"features = \[.*\]": f"features = {list(goal.attributes)}",
        r"options = \[.*\]": f"options = {list(goal.values)}",
        r"limit = [\d.]+": f"limit = {goal.limit}",
        r"search\[[a-z0-9 ()]+\]": f"search[{wanted}]",
    }
    known = {found: value for word, value in words.items() for found in re.findall(word, q)}
    return Imitator(q, [*words, r"B0\w{8}", r"\['sage', '2 quart'\]"], ["go on$", "buy$"], known, main="^Instruction: ")


async def test_what_goals_ask_for_is_bought():
    shop = WebShop()
    tasks = shop.tasks("rest")[:24]
    lost = await unsolved("webshop", shop, tasks, VariableInterpreter(), lambda task, q: shopper(shop, task, q))
    assert lost == []


ANSWERS = ("^You pick up", "^You turn on", "^You move", "^You (?:clean|heat|cool) ")


def housekeeper(task, q):
    """One who knows what the task is about, and does all else as the examples do."""
    goal = goal_of(generate(int(task.id)))
    known = dict.fromkeys(re.findall(r"kind = '\w+'", q), f"kind = '{goal.kind}'")
    known |= dict.fromkeys(re.findall(r"first\('\w+'\)", q), f"first('{goal.target}')")
    known |= {f"kind = '{lamp}'": f"kind = '{goal.target}'" for lamp in ("desklamp", "floorlamp")}
    things, places = r"(?:bread|pencil|mug|desklamp)(?: \d+)?", r"(?:diningtable|drawer) \d+"
    words = [r"kind = '\w+'", r"first\('\w+'\)", things, places]
    return Imitator(q, words, ANSWERS, known, main="Your task is to")


@one_process
async def test_games_of_each_type_are_won(alfworld):
    tasks = small_games(alfworld)
    assert {task.category for task in tasks} == set(CATEGORIES)
    assert await unsolved("alfworld", alfworld, tasks, VariableInterpreter(), housekeeper) == []


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_type_of_task_has_examples_of_its_own(category):
    others = {other: load("general", "alfworld", category=other).q for other in CATEGORIES if other != category}
    assert load("general", "alfworld", category=category).q not in others.values()


def test_the_prompts_are_short_and_give_away_no_task():
    assert not any(product["query"] in load("general", "webshop").q for product in generate_catalogue().products)
    for environment in (DataCommons(), ICU()):
        texts = [task.text for split in environment.splits for task in environment.tasks(split)]
        named = {name for text in texts for name in re.findall(r"patient \d+|[A-Z]\w+ [A-Z]\w+", text)}
        assert not [name for name in named if name in load("general", environment._name).q]
    prompts = [load("general", name).q for name in ("webshop", "dataqa/datacommons", "dataqa/icu")]
    prompts += [load("general", "alfworld", category=category).q for category in CATEGORIES]
    assert max(map(estimated_tokens, prompts)) < 2600


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "cache"))
