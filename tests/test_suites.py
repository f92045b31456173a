"""Suites: the tasks that they stand for, the figures that they are compared with, the conditions that they vary."""

from __future__ import annotations

import itertools
import re
import tarfile

import pytest
from courses import written_out
from games import unpack

from thread_cli.assembly.config import Config
from thread_cli.assembly.environments import open_environment
from thread_cli.bench.methods import METHODS, method, with_examples, without_variables
from thread_cli.bench.suite import Suite, installed, load, tasks_of
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.model import Request
from thread_cli.engine.executor import Executor
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.context import PHI, PSI
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.protocols.prompt import load as load_prompt
from thread_envs.textcraft_teacher import TextCraftTeacher

SUITES = {suite.name: suite for suite in installed()}
SIZES = {
    "textcraft-200": 200,
    "textcraft-419": 419,
    "textcraft-training": 519,
    "textcraft-worlds": 100,
    "alfworld-train": 3553,
    "alfworld-unseen": 134,
    "alfworld-seen": 140,
    "alfworld-generated": 134,
    "webshop-100": 100,
    "webshop-small": 100,
    "webshop-generated": 100,
    "datacommons-140": 140,
    "icu-160": 160,
    "gsm8k": 1319,
    "math-500": 500,
    "smoke": 12,
    "ablation-phi-psi": 50,
    "ablation-examples": 50,
    "overhead-simple": 84,
}
NEED_DATA = {"gsm8k", "math-500", "alfworld-train", "alfworld-unseen", "alfworld-seen", "webshop-100", "webshop-small"}
HASHES_UNKNOWN = {"alfworld-unseen", "webshop-100"}


def tasks(suite: Suite, **options: str):
    parts = []
    for part in suite.parts:
        environment = open_environment(part.environment, {**part.options, **options})
        parts.append((part, environment, tasks_of(part, environment)))
    return parts


def test_there_are_the_suites_that_are_documented():
    assert {name: sum(part.tasks for part in suite.parts) for name, suite in SUITES.items()} == SIZES
    assert all(suite.description and suite.method == "thread" for suite in SUITES.values())
    assert {name for name, suite in SUITES.items() if suite.metric == "reward"} == {n for n in SIZES if n[:3] == "web"}


@pytest.mark.parametrize("name", sorted(SIZES.keys() - NEED_DATA))
def test_a_suite_without_data_has_exactly_its_tasks_everywhere(name):
    for part, _, found in tasks(SUITES[name]):
        assert re.fullmatch(r"[0-9a-f]{16}", part.hash)
        assert len(found) == part.tasks


def test_suites_over_official_data_have_exactly_their_tasks(task_data, tmp_path):
    with tarfile.open(task_data / "alfworld" / "valid_seen.tar.xz") as games:
        unpack(games, tmp_path)
    ((_, _, seen),) = tasks(SUITES["alfworld-seen"], data=str(tmp_path))
    assert len(seen) == 140
    ((_, _, small),) = tasks(SUITES["webshop-small"], data=str(task_data / "webshop"))
    assert len(small) == 100
    for name, count in (("gsm8k", 1319), ("math-500", 500)):
        ((_, _, questions),) = tasks(SUITES[name], data=str(task_data / "math"))
        assert len(questions) == count


@pytest.mark.parametrize("name", sorted(NEED_DATA))
def test_missing_data_are_said_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("ALFWORLD_DATA", "THREAD_DATA", "THREAD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError) as caught:
        tasks(SUITES[name])
    assert "\n" not in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_other_data_are_not_played_as_the_suite(task_data):
    with pytest.raises(UserError, match="these are not the tasks of the suite"):
        tasks(SUITES["datacommons-140"], observations=str(task_data / "datacommons" / "observations_v2.json"))
    with pytest.raises(UserError, match="these are not the tasks of the suite"):
        tasks(SUITES["icu-160"], data=str(task_data / "icu"))


def test_hashes_are_unknown_only_where_the_data_are_not_at_hand():
    assert {name for name, suite in SUITES.items() if any(not part.hash for part in suite.parts)} == HASHES_UNKNOWN


# --- published figures


def test_published_figures_are_shares_of_their_tasks():
    figures = [(suite, figure) for suite in SUITES.values() for figure in suite.published]
    assert len(figures) == 39
    for suite, figure in figures:
        assert figure.tasks == sum(part.tasks for part in suite.parts)
        assert "2405.17402v2" in figure.source or figure.method == "ADaPT"
        solved = round(figure.success * figure.tasks / 100)
        assert abs(100 * solved / figure.tasks - figure.success) <= 0.051
        assert suite.metric == "success" or figure.success < figure.score <= 100


def test_adapts_released_run_agrees_by_depth_with_its_total():
    (figure,) = (f for f in SUITES["textcraft-200"].published if f.categories)
    sizes = {"depth 2": 77, "depth 3": 112, "depth 4": 11}
    solved = sum(round(share * sizes[depth] / 100) for depth, share in figure.categories.items())
    assert (solved, sum(sizes.values()), figure.success) == (104, 200, 52.0)
    ((_, _, found),) = tasks(SUITES["textcraft-200"])
    assert {task.category for task in found} == figure.categories.keys()


# --- conditions


def test_the_ablation_of_phi_and_psi_is_the_whole_grid():
    variants = SUITES["ablation-phi-psi"].variants
    assert len(variants) == 24
    assert {(v.phi, v.psi, v.variables) for v in variants} == set(itertools.product(PHI, PSI, (True, False)))
    assert all((variant.prompt == "spelled") is not variant.variables for variant in variants)


@pytest.mark.parametrize("name", sorted(SIZES.keys() - NEED_DATA))
@pytest.mark.parametrize("by", METHODS)
def test_every_condition_of_a_suite_has_its_prompt_under_every_method(name, by):
    suite = SUITES[name]
    for part in suite.parts:
        environment = open_environment(part.environment, dict(part.options))
        for variant in suite.variants or (None,):
            way = method((variant and variant.method) or by)
            if variant and way.name != "thread" and (variant.phi or variant.prompt or variant.examples.keep):
                continue  # of threads alone
            chosen = {key: getattr(variant, key, None) for key in ("prompt", "phi", "psi")}
            config = Config.of(environment=part.environment, model="embedded:base", **chosen)
            prompt = way.prompt(config, environment, environment.tasks(part.split)[0])
            if variant:
                assert with_examples(prompt, keep=variant.examples.keep, shuffle=variant.examples.shuffle).q
            assert way.limits(suite.limits).calls <= 200


def test_the_overhead_of_spawning_is_measured_against_one_thread():
    assert [variant.method for variant in SUITES["overhead-simple"].variants] == ["thread", "react"]


def test_the_smoke_suite_plays_each_environment_that_has_tasks():
    assert {part.environment for part in load("smoke").parts} == {
        "textcraft",
        "alfworld",
        "webshop",
        "dataqa/datacommons",
        "dataqa/icu",
        "math",
    }


# --- the prompts that only ablations use


def examples(name: str | None) -> list[tuple[str, str]]:
    pattern = r"\n{6}Prompt:\n(.*?)\n{3}Response:\n#START#\n(.*?)#END#(?=\n{6}|\Z)"
    return re.findall(pattern, load_prompt(name, "textcraft").q, re.DOTALL)


async def test_the_other_examples_are_the_teachers_threads_with_other_items():
    shown, other = examples("default"), examples("other")
    items = re.compile(r"birdhouse|planks|logs|nail|rope|stick|bamboo|vine|copper|willow")
    assert len(shown) == len(other)
    assert not [context for context, y in other if items.search(context + y)]
    for context, expected in other:
        assert await written_out(TextCraftTeacher(), context, expected) == expected


def test_spelled_out_examples_use_no_variable_and_tell_threads_all_they_need():
    shown = examples("spelled")
    asked = {line for _, y in shown for line in re.findall(r"^[^,\n]+, (obtain .+? =>)", y, re.MULTILINE)}
    assert not [y for _, y in shown if "{" in y or re.search(r"^\w[\w, ]* = ", y, re.MULTILINE)]
    told = [context for context, _ in shown if "Goal:" not in context]
    assert len(set(told) & asked) == len(told) - 1  # nobody asks for a family of things by its name
    goals = {task.text.removeprefix("craft ") for task in open_environment("textcraft", {}).tasks("all")}
    for name in ("spelled", "other"):
        items = {re.search(r"(?:Goal: craft|obtain \d+) ([^:.]+)", context)[1] for context, _ in examples(name)}
        assert not goals & items


# --- variants


def test_examples_are_shuffled_by_seed_and_kept_from_the_first():
    prompt = load_prompt(None, "textcraft")
    head, *blocks = re.split(r"\n{6}", prompt.q)
    assert with_examples(prompt) == prompt
    assert re.split(r"\n{6}", with_examples(prompt, keep=2).q) == [head, *blocks[:2]]
    assert with_examples(prompt, keep=0).q == head
    shuffled = re.split(r"\n{6}", with_examples(prompt, shuffle=1).q)
    assert shuffled[0] == head
    assert sorted(shuffled[1:]) == sorted(blocks) != shuffled[1:] != blocks
    assert with_examples(prompt, keep=3, shuffle=1).q == "\n\n\n\n\n\n".join(shuffled[:4])
    assert with_examples(prompt, shuffle=2) != with_examples(prompt, shuffle=1) == with_examples(prompt, shuffle=1)
    assert with_examples(prompt, keep=1).rules == prompt.rules
    with pytest.raises(UserError, match="8 examples are to be kept, and it has 7"):
        with_examples(prompt, keep=8)


def test_a_prompt_that_begins_with_an_example_has_no_head():
    prompt = Prompt(
        "p", "Prompt:\na\n\n\nResponse:\n#START#\nx\n#END#\n\n\n\nPrompt:\nb\n\n\nResponse:\n#START#\ny\n#END#", Rules()
    )
    assert with_examples(prompt, keep=1).q == "Prompt:\na\n\n\nResponse:\n#START#\nx\n#END#"


SHARING = {
    "0": ["x = 3\nFirst, look =>", "print(y)", "print(x)"],
    "0.0": ["y = 4\nprint(x)", "print('nothing')"],
}


async def test_without_variables_names_stay_where_they_are_bound(play, interpreter):
    spoken = {thread: iter(turns) for thread, turns in SHARING.items()}
    played = await play(lambda request: next(spoken[request.thread]), interpreter=without_variables(interpreter))
    errors = {(event.thread, event.error) for event in played.of("code_ran") if event.error}
    assert errors == {("0.0", "NameError: name 'x' is not defined"), ("0", "NameError: name 'y' is not defined")}
    assert all(event.bound == () for event in played.of("code_ran"))


async def test_without_variables_braces_stand_for_nothing_and_own_names_are_known(play, interpreter):
    turns = iter(["x = 3\nFirst, look at {x} =>", "x = x + 1\nprint(x, len(task))"])
    played = await play(lambda _: next(turns), interpreter=without_variables(interpreter))
    assert "NameError: name 'x' is not defined" in played.of("corrected")[0].text
    assert played.episode.answer == "4 6"
    assert len(played.of("thread_started")) == 1


async def test_with_variables_the_same_threads_share_them(play):
    spoken = {thread: iter(turns) for thread, turns in SHARING.items()}
    played = await play(lambda request: next(spoken[request.thread]))
    assert played.of("thread_ended", "0.0")[0].result == "3"
    assert played.episode.answer == "4"


# --- playing without variables


def _parts(command: str) -> list[tuple[int, str]]:
    return [(int(part.split(" ", 1)[0]), part.split(" ", 1)[1]) for part in command.partition(" using ")[2].split(", ")]


def _leading_to(item: str, commands: list[str]) -> list[str]:
    """The command that makes an item, and those that make its parts."""
    own = next((c for c in commands if c.partition(" using ")[0].split(" ", 2)[2] == item), None)
    return [own, *(c for _, part in _parts(own) for c in _leading_to(part, commands))] if own else []


def _spawn(opening: str, need: int, item: str, commands: list[str]) -> str:
    return f"{opening}, obtain {need} {item}: {'; '.join(dict.fromkeys(_leading_to(item, commands))) or 'get'} =>"


def _spelled(request: Request) -> str:
    """Plays TextCraft as the threads of the prompt `spelled` do, from nothing but context and Y."""
    context = request.c.rpartition("\n\n\nResponse:")[0]
    answers = re.findall(r"=>(.*?)<=", request.y)
    if goal := re.search(r"Goal: craft (.+)\.\Z", context):
        commands = re.findall(r"^craft .+$", context, re.MULTILINE)
        return f"print({answers[0]!r})\n" if answers else _spawn("The goal", 1, goal[1], commands)
    need, item, told = re.search(r"Prompt:\nobtain (\d+) (.+?): (.+) =>\Z", context).groups()
    if told == "get":
        return f"print('{need} {item}')\n" if answers else f"> get {need} {item} =>"
    own, *others = told.split("; ")
    rounds = -(-int(need) // int(own.split()[1]))
    if len(answers) < len(_parts(own)):
        count, part = _parts(own)[len(answers)]
        return _spawn("Next" if answers else "First", rounds * count, part, others)
    done = len(answers) - len(_parts(own))
    return f"Round {done + 1} of {rounds}.\n> {own} =>" if done < rounds else f"print('{need} {item}')\n"


@pytest.mark.parametrize("goal", ["polished andesite stairs", "iron trapdoor", "mossy cobblestone stairs"])
async def test_threads_that_spell_everything_out_need_no_variables(interpreter, goal):
    environment = open_environment("textcraft", {})
    (task,) = (task for task in environment.tasks("all") if task.text == f"craft {goal}")
    executor = Executor(
        model=ScriptedModel(_spelled),
        prompt=load_prompt("spelled", "textcraft"),
        interpreter=without_variables(interpreter),
        environment=environment,
    )
    episode = await executor.run(task, "textcraft")
    assert (episode.status, episode.message) == (Status.solved, "the task is solved")
    assert episode.totals.threads > 3
