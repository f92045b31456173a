"""What may befall the folder of a bench run: other places, other runners, odd file systems, clocks that are wrong."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import Server, completion

from thread_cli.assembly.config import Config
from thread_cli.bench import FailureClass
from thread_cli.bench.budget import Allowance
from thread_cli.bench.claims import Claims
from thread_cli.bench.journal import Journal
from thread_cli.bench.plan import Plan
from thread_cli.bench.player import Player
from thread_cli.bench.playing import Settings, join, run
from thread_cli.bench.runner import Ending
from thread_cli.bench.suite import Part, Suite
from thread_cli.contracts.errors import UserError
from thread_envs.alfworld.generator import generate


def textcraft(tasks: int) -> Suite:
    return Suite(name="small", parts=(Part(environment="textcraft", split="all", tasks=tasks),))


def alfworld(data: Path | str) -> Suite:
    return Suite(name="games", parts=(Part(environment="alfworld", split="valid_seen", options={"data": str(data)}),))


def plan(suite: Suite, model: str = "teacher", **settings) -> Plan:
    chosen = {name: settings.pop(name) for name in ("limit", "shuffle") if name in settings}
    return Plan.of(suite, Config.of(model=model, **settings), **chosen)


async def settled(chosen: Plan) -> tuple[Plan, set[str]]:
    player = Player(chosen)
    try:
        found, items, _ = player.settle()
        return found, {item.key for item in items}
    finally:
        await player.aclose()


def results(folder: Path) -> list[Path]:
    return sorted((folder / "results").glob("*.json"))


@pytest.fixture
def games(tmp_path: Path) -> Path:
    """A folder with two official games, as far as their tasks tell."""
    for number, kind in enumerate(("pick_and_place_simple", "pick_clean_then_place_in_recep")):
        folder = tmp_path / f"here/json_2.1.1/valid_seen/{kind}-Fork-None-Drawer-1/trial_T{number}"
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").write_text(json.dumps({**generate(number), "solvable": True}))
    return tmp_path / "here"


# Identity


async def test_a_run_is_the_same_wherever_its_data_lie_and_another_where_they_are_others(games, tmp_path):
    away = Path(shutil.copytree(games, tmp_path / "away/there"))
    here, there = await settled(plan(alfworld(games))), await settled(plan(alfworld(away)))
    assert (here[0].identity, here[1]) == (there[0].identity, there[1])
    game = min(away.rglob("game.tw-pddl"))  # noqa: ASYNC240
    game.write_text(game.read_text() + "\n")
    other = await settled(plan(alfworld(away)))
    assert here[0].identity != other[0].identity
    assert len(here[1] & other[1]) == 1
    told = here[0].difference(other[0])
    assert told
    assert "tasks.alfworld" in told
    assert str(tmp_path) not in told


async def test_data_and_prompts_are_found_from_any_working_folder(games, tmp_path, monkeypatch):
    monkeypatch.chdir(games.parent)
    (games.parent / "p.txt").write_text("Prompt:\n\n\nResponse:\n#START##END#")
    made = plan(alfworld(games.name), prompt="p.txt")
    part = made.suite.parts[0]
    assert (part.options["data"], part.prompt) == (str(games), str(games.parent / "p.txt"))
    assert plan(alfworld("~/games")).suite.parts[0].options["data"] == "~/games"


async def test_the_same_episodes_are_the_same_run_however_they_are_asked_for():
    one, _ = await settled(plan(textcraft(6)))
    for other in (plan(textcraft(6), limit=1000), plan(textcraft(6), shuffle=True), plan(textcraft(50), limit=6)):
        assert (await settled(other))[0].identity == one.identity
    assert (await settled(plan(textcraft(6), limit=5)))[0].identity != one.identity


# The folder


async def test_a_run_killed_at_its_very_beginning_is_begun_again(tmp_path):
    (tmp_path / "run/prompts").mkdir(parents=True)
    (tmp_path / "run/results").mkdir()
    (tmp_path / "run/prompts/.abc.txt.1.2.part").write_text("half")
    (tmp_path / "run/.bench.toml.1.2.part").write_text("half")
    assert (await run(plan(textcraft(2)), tmp_path / "run")).ending is Ending.complete


async def test_a_folder_with_results_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "run/results").mkdir(parents=True)
    (tmp_path / "run/results/mine.csv").write_text("x")
    with pytest.raises(UserError, match="something else than a bench run"):
        await run(plan(textcraft(2)), tmp_path / "run")


async def test_a_result_under_the_name_of_another_is_named(tmp_path):
    await run(plan(textcraft(2)), tmp_path / "run")
    one, other = results(tmp_path / "run")
    shutil.copy(one, other)
    with pytest.raises(UserError, match=f"{other.name} is no result .its key is {one.stem}"):
        await run(plan(textcraft(2)), tmp_path / "run")


async def test_failures_are_set_aside_once_by_however_many_at_a_time(tmp_path):
    script = tmp_path / "script.toml"
    script.write_text("[[thread]]\npath = 'no such'\ntext = ''\n")
    folder = tmp_path / "run"
    await run(plan(textcraft(9), f"scripted:{script}"), folder, Settings(retries=0))
    journal = Journal(folder)
    assert {journal.read(key).failure for key in sorted(journal.keys())} == {FailureClass.infrastructure}
    with ThreadPoolExecutor(6) as several:
        assert sum(several.map(lambda _: Journal(folder).set_aside_failures(), range(6))) == 9
    assert sorted(path.name.partition(".")[2] for path in journal.episodes.iterdir()) == ["attempt-1.jsonl"] * 9
    assert not list(journal.results.iterdir())


async def test_a_file_system_without_hard_links_does(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    chosen = plan(textcraft(20))
    begun = asyncio.Event()
    settings = Settings(concurrency=3, ready=lambda _runner, _progress: begun.set())
    first = asyncio.create_task(run(chosen, tmp_path / "run", settings))
    await begun.wait()
    outcomes = [await first, await join(tmp_path / "run")]
    assert [outcome.ending for outcome in outcomes] == [Ending.complete] * 2
    assert len(results(tmp_path / "run")) == 20
    assert not list((tmp_path / "run/claims").iterdir())


def test_a_disk_that_is_full_is_told_in_one_line_and_the_run_goes_on_when_it_is_not(tmp_path):
    (tmp_path / "s.toml").write_text('[[parts]]\nenvironment = "textcraft"\nsplit = "all"\ntasks = 4\n')
    command = [sys.executable, "-m", "thread_cli", "bench", "s.toml", "--model", "teacher", "--log", "run"]
    for size, code in ((20_000, 4), (resource.RLIM_INFINITY, 0)):
        done = subprocess.run(
            [*command, "--display", "none"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            preexec_fn=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)),
            check=False,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (code, int(code > 0)), done.stderr
    assert len(results(tmp_path / "run")) == 4
    assert {path.stem for path in (tmp_path / "run/episodes").iterdir()} == {p.stem for p in results(tmp_path / "run")}


# Claims


async def test_clocks_that_jump_end_no_claim(tmp_path):
    away, here = Claims(tmp_path, beat=0.05, stale=0.4), Claims(tmp_path, beat=0.05, stale=0.4)
    object.__setattr__(away.owner, "machine", "another")
    async with here.alive():
        async with away.alive():
            assert away.take("k")
            sign = tmp_path / f"{away.owner.id}.alive"
            for jump in range(12):
                os.utime(sign, (0, 0) if jump % 2 else (4e9, 4e9))
                assert not here.take("k")
                await asyncio.sleep(0.06)
            os.link(sign, tmp_path / "saved")
        os.utime(tmp_path / "saved", (4e9, 4e9))
        os.link(tmp_path / "saved", sign)
        assert not here.take("k")
        await asyncio.sleep(0.6)
        assert here.take("k"), "nothing beats any more, though its last beat lies ahead"


async def test_a_claim_that_was_never_wholly_written_is_not_for_good(tmp_path):
    claims = Claims(tmp_path, stale=0.1)
    async with claims.alive():
        (tmp_path / "k").write_bytes(b"")
        assert not claims.take("k"), "somebody may be writing it now"
        await asyncio.sleep(0.2)
        assert claims.take("k")


# What is spent


async def test_prompts_that_a_server_does_not_count_are_estimated_for_budgets_and_records(tmp_path):
    chosen = textcraft(3)
    with Server(lambda _: completion("print('x')")) as server:
        played = await run(plan(chosen, f"openai:m@{server.url}/v1"), tmp_path / "run", Settings(concurrency=1))
        spent = played.progress.tokens
        assert spent > 3 * 1000, "one for four characters of the prompt"
        allowance = Allowance(tokens=spent // 2)
        stopped = await run(plan(chosen, f"openai:m@{server.url}/v1"), tmp_path / "other", Settings(1, 0, 0, allowance))
    assert stopped.ending is Ending.budget
    assert len(results(tmp_path / "other")) < 3
