"""Watchers in bench runs: each episode has its own, they are part of what the run is, and reports count what they end."""

from __future__ import annotations

import json
import os

import pytest
from benches import keys, of, plan, report, results
from processes import thread

from thread_cli.bench.playing import join, run
from thread_cli.bench.runner import Ending
from thread_cli.contracts.errors import Status, UserError
from thread_cli.record import RunFolder, first_difference, read_events

pytestmark = pytest.mark.usefixtures("own_watchers")


async def test_each_episode_has_watchers_of_its_own_and_what_they_end_is_counted(tmp_path, script) -> None:
    outcome = await run(plan(of(4), model=script, watch="prunes"), tmp_path / "run")
    assert outcome.ending is Ending.complete
    found = results(tmp_path / "run")
    assert [(result.pruned, result.stopped, result.totals.threads) for result in found] == [(1, False, 2)] * 4
    (told,) = json.loads(report(tmp_path / "run"))
    assert (told["pruned_threads"], told["stopped_episodes"]) == (4, 0)
    assert "threads pruned by watchers: 4; episodes ended by them: 0." in thread("report", "run", cwd=tmp_path).stdout


async def test_an_episode_that_a_watcher_ends_is_a_result(tmp_path, script) -> None:
    await run(plan(of(2), model=script, watch="stops"), tmp_path / "run")
    found = results(tmp_path / "run")
    assert [(result.status, result.pruned, result.stopped) for result in found] == [(Status.failed, 0, True)] * 2
    assert found[0].message == "a watcher ended the episode: seen"


async def test_watchers_are_part_of_what_a_run_is(tmp_path, script) -> None:
    plain, watched = plan(of(2), model=script), plan(of(2), model=script, watch="prunes")
    assert not set(await keys(plain)) & set(await keys(watched))
    assert not set(await keys(watched)) & set(await keys(plan(of(2), model=script, watch=["prunes", "stops"])))
    await run(plain, tmp_path / "run")
    with pytest.raises(UserError, match=r"watch\.0 was not set, is now prunes"):
        await run(watched, tmp_path / "run")


async def test_a_run_with_watchers_is_taken_up_again_by_all_who_join_it(tmp_path, script) -> None:
    await run(plan(of(3), model=script, watch="prunes"), tmp_path / "run")
    gone = min((tmp_path / "run/results").iterdir())
    gone.unlink()
    assert (await join(tmp_path / "run")).ending is Ending.complete
    assert json.loads(gone.read_bytes())["pruned"] == 1


async def test_a_watcher_that_is_not_installed_is_refused_before_anything_is_played(tmp_path, script) -> None:
    with pytest.raises(UserError, match="there is no watcher 'x'; there are broken, parallel-probe, prunes, stops"):
        await run(plan(of(2), model=script, watch="x"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


async def test_a_watched_episode_of_a_bench_run_is_replayed_by_run_and_bench(tmp_path, script) -> None:
    await run(plan(of(2), model=script, watch="prunes"), tmp_path / "run")
    await run(plan(of(2), model=f"replay:{tmp_path / 'run'}"), tmp_path / "again")
    for task in ("0", "1"):
        recorded, now = (read_events(RunFolder(tmp_path / name).episode(task)) for name in ("run", "again"))
        assert first_difference(recorded, now) is None


def test_the_command_names_watchers_as_run_does(tmp_path, script) -> None:
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    played = thread("bench", "textcraft-200", "--limit", "1", "--model", script, "-o", "watch=stops",
                    "--log", tmp_path / "run", "--display", "none", cwd=tmp_path, **path)  # fmt: skip
    assert played.returncode == 0, played.stderr
    assert [result.stopped for result in results(tmp_path / "run")] == [True]
