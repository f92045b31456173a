"""Bench runs: plans and keys, the run's folder, the runner, and the command line around them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from processes import thread
from rich.console import Console
from servers import Server, completion, error

from thread_cli.bench import FailureClass, Result
from thread_cli.bench.budget import Allowance
from thread_cli.bench.claims import Claims
from thread_cli.bench.journal import Journal
from thread_cli.bench.plan import Plan
from thread_cli.bench.player import Player
from thread_cli.bench.playing import Outcome, Settings, join, run
from thread_cli.bench.progress import Progress
from thread_cli.bench.report import read_run
from thread_cli.bench.runner import Ending
from thread_cli.bench.suite import Part, Suite, Variant, load, task_hash, tasks_of
from thread_cli.bench.tables import as_json
from thread_cli.config import Config, ModelConfig
from thread_cli.display.bench import choose_bench, render_progress
from thread_cli.engine.errors import Status, UserError
from thread_cli.engine.events import EpisodeStarted, Totals
from thread_cli.environments import Task
from thread_cli.playing import Models, environment_for
from thread_cli.record import RunFolder, read_events

if TYPE_CHECKING:
    from thread_cli.bench.runner import Runner

ROOT = Path(__file__).parents[1]
SCRIPT = """
[[thread]]
path = "0"
text = '''
First, look.
> inventory =>
Then ask another, obtain 1 stick =>
print('done') '''

[[thread]]
text = '''
print('1 stick') '''
"""


def suite(**changes: Any) -> Suite:
    part = Part(environment="textcraft", split="all", tasks=6)
    return Suite(**{"name": "small", "parts": (part,), **changes})


def of(tasks: int, **changes: Any) -> Suite:
    return suite(parts=(Part(environment="textcraft", split="all", tasks=tasks, **changes),))


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    return f"scripted:{path}"


def write_script(spec: str, text: str) -> None:
    Path(spec.removeprefix("scripted:")).write_text(text)


def plan(chosen: Suite | None = None, *, model: str = "teacher", epochs: int = 1, **settings: Any) -> Plan:
    named = {name: settings.pop(name) for name in ("method", "limit", "shuffle") if name in settings}
    return Plan.of(chosen or suite(), Config.of(model=model, **settings), epochs=epochs, **named)


async def keys(chosen: Plan) -> list[str]:
    player = Player(chosen)
    try:
        return [item.key for item in player.settle()[1]]
    finally:
        await player.aclose()


def report(folder: Path) -> str:
    """What a report tells of a run, times left out."""
    return as_json([read_run(folder)], times=False)


def results(folder: Path) -> list[Result]:
    return [Result.model_validate_json(path.read_bytes()) for path in sorted((folder / "results").iterdir())]


def episodes_begun(folder: Path) -> int:
    return sum(
        isinstance(event, EpisodeStarted) for path in RunFolder(folder).episodes() for event in read_events(path)
    )


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
        {"model": {"spec": "teacher", "temperature": 0.7}},
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


# Running


async def test_every_task_gets_one_result_with_its_log(tmp_path):
    outcome = await run(plan(of(12)), tmp_path / "run")
    found = results(tmp_path / "run")
    assert outcome.ending is Ending.complete
    assert Counter(result.task for result in found) == Counter(map(str, range(12)))
    assert all(result.solved and result.failure is None and result.attempts == 1 for result in found)
    assert episodes_begun(tmp_path / "run") == 12
    assert not list((tmp_path / "run/claims").iterdir())
    for result in found:
        assert RunFolder(tmp_path / "run").episode(result.key) == RunFolder(tmp_path / "run").episode(result.task)


async def test_a_run_taken_up_again_plays_only_what_is_left(tmp_path):
    folder = tmp_path / "run"
    await run(plan(of(8)), tmp_path / "whole")
    await run(plan(of(8)), folder)
    for path in sorted((folder / "results").iterdir())[:3]:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()}
    outcome = await run(plan(of(8)), folder)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (outcome.progress.before, len(outcome.progress.done)) == (5, 8)
    assert report(folder) == report(tmp_path / "whole")


async def test_a_changed_configuration_is_refused_and_named(tmp_path):
    await run(plan(), tmp_path / "run")
    for changed, told in [
        (plan(seed=4), "seed was 0, is now 4"),
        (plan(limits={"calls": 9}), "limits.calls was 200, is now 9"),
        (plan(method="thread", epochs=2), "epochs was 1, is now 2"),
        (plan(of(5)), "tasks.textcraft, split all was "),
        (plan(prompt="small"), "prompts.textcraft/default.0 was "),
        (plan(suite(parts=(Part(environment="textcraft", split="test", tasks=6),))), "suite.parts.0.split was all"),
    ]:
        with pytest.raises(UserError, match="results of two are not mixed") as caught:
            await run(changed, tmp_path / "run")
        assert told in caught.value.message
    assert len(results(tmp_path / "run")) == 6


async def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UserError, match="something else than a bench run"):
        await run(plan(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


async def test_the_same_plan_finds_its_folder_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = await run(plan(of(2)))
    again = await run(plan(of(2)))
    other = await run(plan(of(2), seed=1))
    assert first.folder == again.folder != other.folder
    assert again.progress.before == 2


async def test_epochs_sample_with_seeds_of_their_own(tmp_path):
    with Server(lambda seen: completion("print('x')")) as server:
        model = f"openai:m@{server.url}/v1"
        await run(plan(of(2), model=model, epochs=3, seed=10), tmp_path / "run")
    assert Counter(seen.body["seed"] for seen in server.seen) == {10: 2, 11: 2, 12: 2}
    assert Counter(result.epoch for result in results(tmp_path / "run")) == {0: 2, 1: 2, 2: 2}


async def test_no_more_episodes_are_under_way_than_allowed(tmp_path):
    def slow(seen: object) -> Any:
        answer = completion("print('x')")
        answer.delay = 0.02
        return answer

    with Server(slow) as server:
        model = f"openai:m@{server.url}/v1"
        await run(plan(of(20), model=model), tmp_path / "run", Settings(concurrency=3))
    assert 1 < server.most_at_once <= 3


async def test_models_that_know_no_task_are_opened_once_and_others_for_each_episode():
    environment = environment_for(Config.of(environment="textcraft"))
    task = environment.tasks("all")[0]
    for spec, shared in [
        ("openai:m@http://localhost:1/v1", True),
        ("faulty:429=0.1+openai:m@http://localhost:1/v1", True),
        ("teacher", False),
        ("faulty:429=0.1+teacher", False),
    ]:
        models = Models(ModelConfig(spec=spec))
        async with models.use(environment, task) as one, models.use(environment, task) as other:
            assert (one is other) is shared
        await models.close()


# Failures of the infrastructure


async def test_faults_of_the_model_server_change_no_result_and_are_counted(tmp_path):
    await run(plan(of(10)), tmp_path / "quiet")
    faulty = "faulty:429=0.07,500=0.05,timeout=0.04,cut=0.04,seed=3+teacher"
    await run(plan(of(10), model=faulty), tmp_path / "faulty")
    quiet, disturbed = ({r.task: r for r in results(tmp_path / name)} for name in ("quiet", "faulty"))
    assert sum(result.totals.retries for result in disturbed.values()) > 30
    for task, result in disturbed.items():
        assert result.totals.model_copy(update={"retries": 0}) == quiet[task].totals
        assert (result.status, result.failure, result.attempts) == (Status.solved, None, 1)


async def test_an_episode_that_the_infrastructure_failed_is_tried_again_and_counted(tmp_path):
    refusals = iter([True, True, False])
    with Server(lambda seen: error(400, "no") if next(refusals, False) else completion("print('x')")) as server:
        model = {"spec": f"openai:m@{server.url}/v1", "attempts": 1}
        chosen = Plan.of(of(2), Config.of(model=model))
        outcome = await run(chosen, tmp_path / "run", Settings(concurrency=1, retry_wait=0.01))
    first, second = sorted(results(tmp_path / "run"), key=lambda result: int(result.task))
    assert (first.attempts, second.attempts) == (3, 1)
    assert first.failure is not FailureClass.infrastructure
    assert outcome.progress.attempts == 2
    kept = sorted(path.name for path in (tmp_path / "run/episodes").glob("*attempt*"))
    assert kept == [f"{first.key}.attempt-1.jsonl", f"{first.key}.attempt-2.jsonl"]
    assert read_events(tmp_path / "run/episodes" / kept[0])[-1].status is Status.model_error


async def test_what_the_infrastructure_failed_is_played_again_by_the_same_command(tmp_path, script):
    write_script(script, "[[thread]]\npath = 'no such'\ntext = ''\n")
    settings = Settings(retries=1, retry_wait=0.01)
    outcome = await run(plan(of(3), model=script), tmp_path / "run", settings)
    assert outcome.ending is Ending.broken
    assert "the script has no role" in outcome.trouble
    assert {result.failure for result in results(tmp_path / "run")} == {FailureClass.infrastructure}
    write_script(script, SCRIPT)
    outcome = await run(plan(of(3), model=script), tmp_path / "run", settings)
    assert outcome.ending is Ending.complete
    assert [result.attempts for result in results(tmp_path / "run")] == [3, 3, 3]
    assert all(result.failure is not FailureClass.infrastructure for result in results(tmp_path / "run"))


async def test_a_run_whose_infrastructure_never_works_stops_early(tmp_path):
    with Server(lambda seen: error(400, "no such model")) as server:
        model = {"spec": f"openai:m@{server.url}/v1", "attempts": 1}
        settings = Settings(concurrency=2, retries=0)
        outcome = await run(Plan.of(of(60), Config.of(model=model)), tmp_path / "run", settings)
    assert outcome.ending is Ending.broken
    assert "no such model" in outcome.trouble
    assert 10 <= len(results(tmp_path / "run")) < 20


# Budgets and interruptions


async def test_a_budget_of_tokens_stops_a_run_that_can_be_taken_up_again(tmp_path):
    await run(plan(of(12)), tmp_path / "whole")
    stopped = await run(plan(of(12)), tmp_path / "run", Settings(allowance=Allowance(tokens=200_000), concurrency=2))
    done = results(tmp_path / "run")
    spent = sum(result.totals.prompt_tokens + result.totals.generated_tokens for result in done)
    assert stopped.ending is Ending.budget
    assert 0 < len(done) < 12
    assert spent < 200_000
    again = await run(plan(of(12)), tmp_path / "run", Settings(allowance=Allowance(tokens=spent)))
    assert again.ending is Ending.budget, "what was spent before counts"
    assert len(results(tmp_path / "run")) == len(done)
    assert (await run(plan(of(12)), tmp_path / "run")).ending is Ending.complete
    assert report(tmp_path / "run") == report(tmp_path / "whole")


async def test_a_budget_of_time_and_of_cost_stops_a_run(tmp_path):
    priced = {"spec": "faulty:429=0+teacher", "price": {"prompt": 1, "generated": 1}}
    for allowance in (Allowance(seconds=0.3), Allowance(cost=0.0001)):
        name = f"run-{allowance.cost}"
        stopped = await run(Plan.of(of(419), Config.of(model=priced)), tmp_path / name, Settings(allowance=allowance))
        assert stopped.ending is Ending.budget
        assert len(results(tmp_path / name)) < 419
        assert allowance.used_up
    with pytest.raises(UserError, match="--max-cost needs prices"):
        await run(plan(), tmp_path / "free", Settings(allowance=Allowance(cost=1)))


async def test_told_to_finish_a_run_ends_what_is_under_way_and_starts_nothing(tmp_path):
    seen: list[Runner] = []

    def ready(runner: Runner, progress: Progress) -> None:
        seen.append(runner)
        progress.told.append(lambda result: runner.finish())

    outcome = await run(plan(of(40)), tmp_path / "run", Settings(concurrency=4, ready=ready))
    assert outcome.ending is Ending.interrupted
    assert 4 <= len(results(tmp_path / "run")) <= 5
    assert not list((tmp_path / "run/episodes").glob(".*"))


async def test_told_to_stop_a_run_gives_up_what_is_under_way(tmp_path):
    def ready(runner: Runner, progress: Progress) -> None:
        progress.told.append(lambda result: runner.stop())

    outcome = await run(plan(of(40)), tmp_path / "run", Settings(concurrency=8, ready=ready))
    assert outcome.ending is Ending.interrupted
    assert len(results(tmp_path / "run")) <= 8
    logs = {path.stem for path in (tmp_path / "run/episodes").iterdir()}
    assert logs == {result.key for result in results(tmp_path / "run")}
    assert not list((tmp_path / "run/claims").iterdir())


# Several runners


async def test_runners_that_share_a_run_play_every_episode_once(tmp_path, script):
    chosen = plan(of(60), model=script)
    await run(chosen, tmp_path / "alone")
    begun = asyncio.Event()
    settings = Settings(concurrency=3, ready=lambda _runner, _progress: begun.set())
    first = asyncio.create_task(run(chosen, tmp_path / "run", settings))
    await begun.wait()
    others = [asyncio.create_task(join(tmp_path / "run", Settings(concurrency=3))) for _ in range(3)]
    outcomes: list[Outcome] = await asyncio.gather(first, *others)
    assert {outcome.ending for outcome in outcomes} == {Ending.complete}
    assert all(len(outcome.progress.done) == 60 for outcome in outcomes)
    assert episodes_begun(tmp_path / "run") == 60
    assert report(tmp_path / "run") == report(tmp_path / "alone")


async def test_who_joins_with_another_prompt_is_refused(tmp_path):
    prompt = tmp_path / "p.txt"
    prompt.write_text("Prompt:\n\n\nResponse:\n#START##END#")
    await run(plan(of(2), prompt=str(prompt)), tmp_path / "run")
    prompt.write_text("Prompt:\nother\n\n\nResponse:\n#START##END#")
    with pytest.raises(UserError, match="prompts"):
        await join(tmp_path / "run")


async def test_a_claim_is_one_runners_alone_until_it_is_given_back(tmp_path):
    one, other = Claims(tmp_path), Claims(tmp_path)
    async with one.alive(), other.alive():
        assert one.take("k")
        assert not other.take("k")
        other.release("k")
        assert not one.take("k"), "nobody else gives it back"
        one.release("k")
        assert other.take("k")


async def test_claims_of_a_process_that_was_killed_are_free_at_once(tmp_path):
    code = (
        "import asyncio, sys, pathlib\nfrom thread_cli.bench.claims import Claims\n"
        "async def main():\n    claims = Claims(pathlib.Path(sys.argv[1]))\n"
        "    async with claims.alive():\n        claims.take('k')\n        print(claims.owner.id, flush=True)\n"
        "        await asyncio.sleep(100)\nasyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, tmp_path, stdout=subprocess.PIPE)
    assert process.stdout
    await process.stdout.readline()
    claims = Claims(tmp_path)
    async with claims.alive():
        assert not claims.take("k")
        process.kill()
        await process.wait()
        assert claims.take("k")
        claims.release("k")
        claims.tidy(set())
        assert [path.stem for path in tmp_path.iterdir()] == [claims.owner.id]


async def test_claims_of_another_machine_are_free_once_it_gives_no_sign_of_life(tmp_path):
    away, here = Claims(tmp_path, beat=0.05, stale=0.5), Claims(tmp_path, beat=0.05, stale=0.5)
    object.__setattr__(away.owner, "machine", "another")
    async with here.alive():
        async with away.alive():
            assert away.take("k")
            await asyncio.sleep(0.8)
            assert not here.take("k"), "its heart beats"
            sign = tmp_path / f"{away.owner.id}.alive"
            os.link(sign, tmp_path / "saved")
        os.link(tmp_path / "saved", sign)
        await asyncio.sleep(0.8)
        assert here.take("k")


def test_the_first_of_two_results_of_an_episode_stands(tmp_path):
    journal = Journal.begin(tmp_path / "run", plan(), {})
    one = Result(
        key="k", environment="e", split="s", task="t", category="", text="", method="thread", model="m", variant="",
        epoch=0, status=Status.solved, reward=1.0, marks={}, message="", failure=None, totals=Totals(), attempts=1,
        seconds=1.0, finished="",
    )  # fmt: skip
    for message, kept in (("first", True), ("second", False)):
        log = journal.attempt("k", message)
        log.write_text(message)
        assert journal.commit(one.model_copy(update={"message": message}), log) is kept
        assert not log.exists()
    assert journal.read("k").message == "first"
    assert (journal.episodes / "k.jsonl").read_text() == "first"


async def test_a_result_file_that_is_damaged_is_named(tmp_path):
    await run(plan(of(2)), tmp_path / "run")
    damaged = next((tmp_path / "run/results").iterdir())
    damaged.write_text("{")
    with pytest.raises(UserError, match=f"{damaged.name} is no result .* remove it"):
        await run(plan(of(2)), tmp_path / "run")


# The command line


@pytest.fixture
def suite_file(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text('[[parts]]\nenvironment = "textcraft"\nsplit = "all"\ntasks = 5\n')
    return str(path)


def test_the_command_plays_a_suite_and_reports_it_by_depth(tmp_path, suite_file):
    done = thread("bench", suite_file, "--model", "teacher", "--log", "run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "5/5" in done.stdout
    assert re.search(r"depth 4 +100\.0 \(5/5", done.stdout)
    assert "log: run" in done.stdout
    again = thread("bench", suite_file, "--model", "teacher", "--log", "run", cwd=tmp_path)
    assert again.returncode == 0
    assert "1/5" not in again.stdout, "nothing is played again"


def test_json_gives_each_new_result_as_a_line_and_nothing_else(tmp_path, suite_file):
    arguments = ("bench", suite_file, "--model", "teacher", "--log", "run", "--display", "json")
    lines = thread(*arguments, cwd=tmp_path).stdout.splitlines()
    found = [Result.model_validate(json.loads(line)) for line in lines]
    assert sorted(result.task for result in found) == list("01234")
    assert thread(*arguments, cwd=tmp_path).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nothing",), "there is no suite 'nothing'"),
        (("small.toml", "--method", "luck"), "there is no method 'luck'"),
        (("small.toml", "--model", "teacher", "--max-cost", "1"), "--max-cost needs prices"),
        (("small.toml", "--executor", "magic"), "there is no executor 'magic'"),
        (("small.toml", "--address", "x"), "--address goes with --executor ray"),
        (("--join", "nowhere"), "nowhere holds no bench run"),
        (("--join", "nowhere", "--model", "teacher"), "leave the other settings out"),
        (("small.toml", "--display", "loud"), "display"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, suite_file, arguments, complaint):
    done = thread("bench", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_suite_the_suites_are_listed(tmp_path):
    done = thread("bench", cwd=tmp_path)
    assert done.returncode == 0
    assert "textcraft-200" in done.stdout


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_ends_what_is_under_way_and_twice_stops_at_once(tmp_path, times):
    (tmp_path / "long.toml").write_text('[[parts]]\nenvironment = "textcraft"\nsplit = "all"\n')
    command = [
        sys.executable,
        "-m",
        "thread_cli",
        "bench",
        "long.toml",
        "--model",
        "teacher",
        "--log",
        "run",
        "-j",
        "4",
    ]
    process = subprocess.Popen([*command, "--display", "none"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "run"
    for _ in range(400):
        if (folder / "results").is_dir() and any((folder / "results").glob("*.json")):
            break
        time.sleep(0.02)
    before = len(list((folder / "results").glob("*.json")))
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on from here" in told
    assert before <= len(results(folder)) < 419
    assert not list((folder / "episodes").glob(".*"))
    assert {path.stem for path in (folder / "episodes").iterdir()} == {result.key for result in results(folder)}


def test_an_episode_of_a_run_can_be_shown_and_played_again(tmp_path, suite_file):
    thread("bench", suite_file, "--model", "teacher", "--log", "run", cwd=tmp_path)
    key = next(result.key for result in results(tmp_path / "run") if result.task == "3")
    by_task, by_key = (thread("show", "run", "--task", name, cwd=tmp_path) for name in ("3", key))
    assert by_task.returncode == 0
    assert by_task.stdout == by_key.stdout
    assert "the task is solved" in by_task.stdout
    again = thread("run", "textcraft", "--task", "3", "--model", "replay:run", "--display", "none", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "replay: the same events as recorded\n")
    assert "holds no episode with the key or task 77" in thread("show", "run", "--task", "77", cwd=tmp_path).stderr


# What is shown


def progress_of(folder: Path, total: int) -> Progress:
    progress = Progress(total)
    progress.start()
    for result in results(folder):
        progress.add(result, f"{result.environment}: {result.category}")
    return progress


@pytest.fixture
async def played(tmp_path: Path) -> Path:
    parts = tuple(Part(environment="textcraft", split=f"depth{depth}", tasks=2) for depth in (2, 3, 4))
    await run(plan(suite(parts=parts)), tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("size", [(120, 40), (60, 12), (30, 8), (18, 5), (8, 3), (3, 1)])
async def test_progress_fits_into_terminals_of_all_sizes(played, size):
    width, height = size
    console = Console(width=width, height=height, force_terminal=True)
    lines = render_progress(progress_of(played, 9), width, height, console=console)
    assert 1 <= len(lines) <= height
    assert all(line.cell_len <= width for line in lines)


async def test_progress_tells_counts_shares_and_categories(played):
    console = Console(width=120, height=40)
    shown = "\n".join(line.plain for line in render_progress(progress_of(played, 9), 120, 40, console=console))
    assert "6/9" in shown
    assert "6 solved (100.0%)" in shown
    assert " left" in shown
    for depth in (2, 3, 4):
        assert re.search(rf"textcraft: depth {depth} +2/2 +100\.0%  score 1\.000", shown)


async def test_lines_are_told_as_results_come_and_hostile_text_does_nothing(played, capsys):
    progress = Progress(3)
    shown = choose_bench("plain", progress, Console())
    shown.start()
    progress.start()
    one = results(played)[0]
    hostile = {"key": "x", "task": "\x1b[2Jt", "failure": FailureClass.limit, "message": "[red]\x07m\nn"}
    progress.add(one, "")
    progress.add(one.model_copy(update=hostile), "")
    shown.stop()
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 2
    assert "(limit: [red]m" in told
    assert "\x1b" not in told
