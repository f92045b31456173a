"""WebShop: catalogue files."""

import json
import math
import os
import re

import pytest
from shops import written_files

from thread_cli.contracts.errors import UserError
from thread_envs.webshop import WebShop, catalogue
from thread_envs.webshop.catalogue import open_catalogue
from thread_envs.webshop.generated import generate


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
