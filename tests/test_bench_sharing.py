"""Bench runs that several runners share."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from benches import episodes_begun, of, plan, report

from thread_cli.bench import Result
from thread_cli.bench.claims import Claims
from thread_cli.bench.journal import Journal
from thread_cli.bench.playing import RunEnd, Settings, join, run
from thread_cli.bench.runner import Ending
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.events import Totals

# Several runners


async def test_runners_that_share_a_run_play_every_episode_once(tmp_path, script):
    chosen = plan(of(60), model=script)
    await run(chosen, tmp_path / "alone")
    begun = asyncio.Event()
    settings = Settings(concurrency=3, ready=lambda _runner, _progress: begun.set())
    first = asyncio.create_task(run(chosen, tmp_path / "run", settings))
    await begun.wait()
    others = [asyncio.create_task(join(tmp_path / "run", Settings(concurrency=3))) for _ in range(3)]
    outcomes: list[RunEnd] = await asyncio.gather(first, *others)
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
