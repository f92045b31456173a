"""WebShop: its teacher and its prompt."""

import re

import pytest
from courses import request, written_out
from shops import play, unsolved

from thread_cli.contracts.environment import Step, Teaches
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.model import Request
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import load
from thread_cli.protocols.text import estimated_tokens
from thread_envs.webshop import WebShop, WebShopTeacher
from thread_envs.webshop.generated import generate
from thread_envs.webshop.products import Goal, Product
from thread_envs.webshop.reward import reward


async def test_the_teacher_solves_the_embedded_goals_within_the_default_limits():
    shop = WebShop()
    assert isinstance(shop, Teaches)
    tasks = [*shop.tasks("all"), *shop.tasks("synthetic")[::7]]
    episodes = await play(shop, tasks)
    assert unsolved(tasks, episodes) == []
    assert max(episode.totals.calls for episode in episodes) < 100


async def test_the_teacher_solves_97_of_the_first_100_goals_and_no_purchase_solves_the_others(shop_data):
    shop = WebShop(data=shop_data)
    tasks = shop.tasks("test")
    failed = unsolved(tasks, await play(shop, tasks))
    assert failed == ["fixed_20", "fixed_28", "fixed_73"]
    for name in failed:
        goal = shop._require(name)
        wanted = shop._catalogue.product(goal.asin)
        assert reward(wanted, goal.options, goal, wanted) < 1


async def test_the_teacher_solves_all_goals_that_people_wrote(shop_data):
    shop = WebShop(data=shop_data)
    tasks = shop.tasks("human")
    assert unsolved(tasks, await play(shop, tasks)) == []


async def test_the_teacher_plays_with_threads_client_too():
    shop = WebShop(client="thread")
    tasks = shop.tasks("test")[:30]
    assert unsolved(tasks, await play(shop, tasks)) == []
    with pytest.raises(UserError, match="does not read the client 'text'"):
        WebShop(client="text").teacher(tasks[0])


class EmptyShop(WebShop):
    """Finds nothing."""

    async def step(self, action: str) -> Step:
        return await super().step("search[qwxyzzy]" if action.startswith("search") else action)


async def test_the_teacher_gives_up_where_nothing_can_be_found():
    shop = EmptyShop()
    (episode,) = await play(shop, shop.tasks("test")[:1])
    assert (episode.status, episode.answer) == (Status.failed, "nothing fits")


KETTLE = Product(
    "B0TEAM77WD", "Hobson Stovetop Kettle, Whistling", "", (), "garden", "stovetop kettles", "", (), {}, "$31.0", 31.0
)
WISH = Goal("B0TEAM77WD", "", ("whistling", "rust proof"), {"color": "sage", "size": "2 quart"}, 50.0)


async def test_a_context_that_means_nothing_is_told_so():
    for context in ("write a poem =>", "check B0TEAM77WD for whatever =>", "buy B0TEAM77WD in [sage =>"):
        answer = await WebShopTeacher(WISH, KETTLE).complete(request(context))
        assert answer.stop == "end"
        assert "no task" in answer.text


# --- prompts


def blocks() -> list[tuple[str, str]]:
    """Context and Y of each thread in the prompt."""
    pattern = r"\n{6}Prompt:\n(.*?)\n{3}Response:\n#START#\n(.*?)#END#(?=\n{6}|\Z)"
    return re.findall(pattern, load(None, "webshop").q, re.DOTALL)


async def test_the_teacher_writes_exactly_the_threads_of_the_prompt():
    threads = blocks()
    assert len(threads) == 5
    for context, expected in threads:
        assert await written_out(WebShopTeacher(WISH, KETTLE), context, expected) == expected


def test_the_threads_of_the_prompt_are_told_what_they_are_given():
    values = {"product": "stovetop kettles", "features": ["whistling", "rust proof"], "options": ["sage", "2 quart"]}
    lines = re.findall(r"^\w+, (.+? =>)", blocks()[0][1], re.MULTILINE)
    assert {line.format(**values, limit=50.0) for line in lines} == {context for context, _ in blocks()[1:]}


def test_the_prompt_is_short_and_gives_away_no_product():
    q = load(None, "webshop").q
    assert estimated_tokens(q) < 2500
    assert not any(product["asin"] in q or product["query"] in q for product in generate().products)


async def test_a_plain_prompt_in_the_published_form_runs_with_the_environments_rules(tmp_path):
    file = tmp_path / "plain.txt"
    file.write_text(
        "Prompt:\nInstruction: a mug\n\n\nResponse:\n#START#\nFirst, I need to look for {thing}. =>ok<=\n#END#"
    )
    script = {
        "Instruction": [
            "thing = 'console tables storage shelf white'\n\nFirst, I need to retrieve results for {thing}. =>",
            "Finally, I need to purchase {item_to_purchase} in ['white']. =>",
        ],
        "retrieve": [
            "thing = 'console tables storage shelf white'\n> search[{thing}] =>",
            "names = ['B0Y6EAAAD9', 'B042JAAAE5']\nitem_to_purchase = names[1]\nprint('Retrieved {item_to_purchase}.')\n",
        ],
        "purchase B042JAAAE5": ["> click[B042JAAAE5] =>", "> click[white] =>", "> click[Buy Now] =>"],
    }

    def write(asked: Request) -> str:
        role = next(role for role in reversed(script) if role in asked.c)
        return script[role][asked.y.count("<=")]

    shop = WebShop(client="thread")
    interpreter = VariableInterpreter()
    prompt = load(str(file), "webshop", plain_rules=shop.rules)
    executor = Executor(model=ScriptedModel(write), prompt=prompt, interpreter=interpreter, environment=shop)
    episode = await executor.run(shop.find("fixed_169"), "webshop")
    await interpreter.close()
    assert (episode.status, episode.reward) == (Status.solved, 1.0)
