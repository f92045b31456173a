"""Suites, plans, and the keys of episodes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benches import keys, of, plan, suite

from thread_cli.assembly.config import Bearing, Config, ModelConfig
from thread_cli.assembly.playing import environment_for
from thread_cli.bench.plan import Plan, _decisions
from thread_cli.bench.suite import Part, Variant, load, task_hash, tasks_of
from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import UserError

ROOT = Path(__file__).parents[1]


# Suites


def test_a_suite_is_found_by_name_and_by_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[parts]]\nenvironment = "textcraft"\nsplit = "test"\n')
    assert load(str(path)).name == "mine"
    assert load("textcraft-200").parts[0].tasks == 200


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "parts: Field required"),
        ("x = ", "is not TOML"),
        ('[[parts]]\nenvironment = "textcraft"\nsplit = "test"\nsize = 3\n', "parts.0.size"),
        ('metric = "luck"\n[[parts]]\nenvironment = "textcraft"\nsplit = "test"\n', "metric"),
        (
            '[[parts]]\nenvironment = "textcraft"\nsplit = "test"\n[[variants]]\nname = "a"\n[[variants]]\nname = "a"\n',
            "two variants have the same name",
        ),
    ],
)
def test_a_suite_with_a_mistake_is_refused_in_one_line(tmp_path, text, complaint):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(complaint)) as caught:
        load(str(path))
    assert "\n" not in caught.value.message


def test_a_suite_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(UserError, match=r"there is no suite 'nothing'; there are .*textcraft-200"):
        load("nothing")


def test_a_suite_whose_tasks_are_not_those_it_was_made_of_is_not_played():
    environment = environment_for(Config.of(environment="textcraft"))
    part = Part(environment="textcraft", split="all", tasks=6)
    right = task_hash(environment.tasks("all")[:6])
    assert len(tasks_of(part.model_copy(update={"hash": right}), environment)) == 6
    with pytest.raises(UserError, match=f"not the tasks of the suite: their hash is {right}"):
        tasks_of(part.model_copy(update={"hash": "0123"}), environment)


@pytest.mark.parametrize("known", [None, "0123"])
def test_a_part_of_which_tasks_are_missing_is_not_played(known):
    environment = environment_for(Config.of(environment="textcraft"))
    part = Part(environment="textcraft", split="all", tasks=500, hash=known)
    with pytest.raises(UserError, match=r"the suite has 500 tasks, only 419 are there; check the environment's data"):
        tasks_of(part, environment)
    assert len(tasks_of(part.model_copy(update={"tasks": None, "hash": None}), environment)) == 419


@pytest.mark.parametrize("change", [{"id": "2"}, {"text": "b"}, {"category": "d"}])
def test_the_hash_of_tasks_depends_on_ids_texts_and_categories(change):
    task = {"id": "1", "text": "a", "category": "c"}
    assert task_hash([Task(**task)]) != task_hash([Task(**{**task, **change})])
    assert task_hash([Task(**task, data={"x": 1}, split="s")]) == task_hash([Task(**task)])


def test_the_suite_that_the_documents_show_can_be_read(tmp_path):
    (shown,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/bench.md").read_text(), re.DOTALL)
    (tmp_path / "shown.toml").write_text(shown)
    made = load(str(tmp_path / "shown.toml"))
    assert made.parts[0].tasks == 11
    assert made.variants[0].examples.keep == 2


# Identity


async def test_keys_do_not_depend_on_order_or_on_which_other_tasks_are_played(tmp_path):
    some, shuffled = await keys(plan(of(6))), await keys(plan(of(6), shuffle=True))
    assert some != shuffled
    assert set(some) == set(shuffled)
    assert await keys(plan(of(12), limit=3)) == some[:3]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"model": "faulty:429=0.1+teacher"},
        {"phi": "line_and_task"},
        {"prompt": "small"},
        {"limits": {"calls": 7}},
        {"on_failure": "abort"},
        {"child_limits": {"share": 0.5}},
        {"model": {"spec": "teacher", "temperature": 0.7}},
        {"model": {"spec": "teacher", "kernels": False}},
        {"model": {"spec": "teacher", "kv_type": "q8_0"}},
    ],
)
async def test_whatever_decides_a_result_changes_its_key(change):
    changed = {"model": "teacher", **change}
    other = Plan.of(suite(), Config.of(**changed))
    assert not set(await keys(plan())) & set(await keys(other))


@pytest.mark.parametrize(
    "change", [{"model": {"spec": "teacher", "attempts": 3, "cpu_threads": 4, "timeout": 5}}, {"display": "none"}]
)
async def test_what_only_decides_how_fast_it_goes_does_not_change_a_key(change):
    assert await keys(plan()) == await keys(Plan.of(suite(), Config.of(**{"model": "teacher", **change})))


@pytest.mark.parametrize("section", [Config, ModelConfig])
def test_every_setting_says_whether_it_decides_a_result(section):
    told = {
        name: [each for each in field.metadata if isinstance(each, Bearing)]
        for name, field in section.model_fields.items()
    }
    assert [name for name, bearings in told.items() if len(bearings) != 1] == []


def test_a_share_that_is_not_set_is_no_part_of_a_key():
    limited = Plan.of(suite(), Config.of(model="teacher", child_limits={"calls": 5}))
    assert "child_limits.share" not in limited.matters()
    assert "share" not in _decisions(limited.config)["child_limits"]


async def test_variants_and_epochs_have_keys_of_their_own():
    variants = (Variant(name="a"), Variant(name="b", variables=False))
    found = await keys(plan(suite(variants=variants), epochs=3))
    assert len(set(found)) == 6 * 2 * 3


async def test_a_prompt_file_counts_by_its_text_and_not_by_its_place(tmp_path):
    (tmp_path / "one").mkdir()
    for name in ("one/p.txt", "two.txt"):
        (tmp_path / name).write_text("Prompt:\n\n\nResponse:\n#START##END#")
    first = await keys(plan(prompt=str(tmp_path / "one/p.txt")))
    assert first == await keys(plan(prompt=str(tmp_path / "two.txt")))
    (tmp_path / "two.txt").write_text("Prompt:\nx\n\n\nResponse:\n#START##END#")
    assert first != await keys(plan(prompt=str(tmp_path / "two.txt")))


def test_what_the_user_sets_wins_over_the_suite_and_the_suite_over_the_defaults():
    chosen = suite(
        limits={"calls": 50, "depth": 3}, parts=(Part(environment="textcraft", split="all", phi="last_line"),)
    )
    made = plan(chosen, limits={"calls": 9})
    assert (made.config.limits.calls, made.config.limits.depth, made.config.limits.fan_out) == (9, 3, 100)
    assert made.suite.parts[0].phi == "last_line"
    assert plan(chosen, phi="line_and_task").suite.parts[0].phi == "line_and_task"


def test_a_plan_reads_as_it_was_written(tmp_path):
    variants = (Variant(name="a", phi="last_line"), Variant(name="b"))
    made = plan(suite(variants=variants), model="openai:m@http://localhost:1/v1", limits={"cost": 1.5})
    settled = made.settled({"x, split y": "abc"}, {"x/default": ("def",)}, ["key"])
    path = tmp_path / "bench.toml"
    path.write_bytes(settled.written())
    assert Plan.read(path) == settled
    assert Plan.read(path).settled(settled.tasks, settled.prompts, ["key"]).identity == settled.identity
