"""`thread bench` on the command line, and what it shows."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benches import plan, results, suite
from processes import in_this_process, thread
from rich.console import Console

from thread_cli.bench import FailureClass, Result
from thread_cli.bench.live import choose_bench, render_progress
from thread_cli.bench.playing import run
from thread_cli.bench.progress import Progress
from thread_cli.bench.suite import Part

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


def test_one_of_several_episodes_of_a_task_is_shown_and_played_again_by_its_file(tmp_path, suite_file):
    options = ("--model", "teacher", "--epochs", "2", "--limit", "1", "--log", "run", "--display", "none")
    assert in_this_process("bench", suite_file, *options, cwd=tmp_path).returncode == 0
    (task,) = {result.task for result in results(tmp_path / "run")}
    key = max(result.key for result in results(tmp_path / "run"))
    arguments = ("run", "textcraft", "--task", task, "--display", "none", "--model")
    which = in_this_process(*arguments, "replay:run", cwd=tmp_path)
    assert (which.returncode, which.stderr.count("\n")) == (2, 1)
    assert "choose one by its key" in which.stderr
    assert "run/episodes/KEY.jsonl" in which.stderr
    file = f"run/episodes/{key}.jsonl"
    again = in_this_process(*arguments, f"replay:{file}", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "replay: the same events as recorded\n")
    shown, keyed = (in_this_process("show", *name, cwd=tmp_path).stdout for name in ([file], ["run", "--task", key]))
    assert shown == keyed != ""
    other = in_this_process("show", file, "--task", "77", cwd=tmp_path)
    assert (other.returncode, other.stderr) == (2, f"thread: {file} holds no episode of task 77\n")


def test_the_folder_of_a_replay_may_begin_with_a_tilde(tmp_path):
    home = {"HOME": str(tmp_path), "THREAD_DISPLAY": "none"}
    ran = thread("run", "textcraft", "--task", "12", "--model", "teacher", "--log", "a", cwd=tmp_path, **home)
    assert ran.returncode == 0, ran.stderr
    for recorded in ("a", "a/12.jsonl"):
        again = thread("run", "textcraft", "--task", "12", "--model", f"replay:~/{recorded}", cwd=tmp_path, **home)
        assert (again.returncode, again.stderr) == (0, "replay: the same events as recorded\n")


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
