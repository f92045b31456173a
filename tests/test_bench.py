"""Bench runs: every episode once, through failures, budgets and interruptions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from benches import SCRIPT, episodes_begun, of, plan, report, results, suite, write_script
from servers import Server, completion, error

from thread_cli.assembly.config import Config, ModelConfig
from thread_cli.assembly.playing import Models, environment_for
from thread_cli.bench import FailureClass
from thread_cli.bench.budget import Allowance
from thread_cli.bench.plan import Plan
from thread_cli.bench.playing import Settings, run
from thread_cli.bench.progress import Progress
from thread_cli.bench.runner import Ending
from thread_cli.bench.suite import Part
from thread_cli.contracts.errors import Status, UserError
from thread_cli.record import RunFolder, read_events

if TYPE_CHECKING:
    from thread_cli.bench.runner import Runner


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
        (plan(prompt="general"), "prompts.textcraft/default.0 was "),
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
    with Server(lambda seen: error(503, "no") if next(refusals, False) else completion("print('x')")) as server:
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
    assert spent < 210_000, "the call by which the budget is passed counts as well"
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
        progress.listeners.append(lambda result: runner.finish())

    outcome = await run(plan(of(40)), tmp_path / "run", Settings(concurrency=4, ready=ready))
    assert outcome.ending is Ending.interrupted
    assert 4 <= len(results(tmp_path / "run")) <= 5
    assert not list((tmp_path / "run/episodes").glob(".*"))


async def test_told_to_stop_a_run_gives_up_what_is_under_way(tmp_path):
    def ready(runner: Runner, progress: Progress) -> None:
        progress.listeners.append(lambda result: runner.stop())

    outcome = await run(plan(of(40)), tmp_path / "run", Settings(concurrency=8, ready=ready))
    assert outcome.ending is Ending.interrupted
    assert len(results(tmp_path / "run")) <= 8
    logs = {path.stem for path in (tmp_path / "run/episodes").iterdir()}
    assert logs == {result.key for result in results(tmp_path / "run")}
    assert not list((tmp_path / "run/claims").iterdir())
