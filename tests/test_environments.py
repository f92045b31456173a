"""The contract of environments: the suite that checks it, the commands about it, and an adapter built by others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from processes import thread

from thread_cli.assembly.environments import Broken, find, installed
from thread_cli.conformance.environment_case import Case
from thread_cli.conformance.environment_threads import forks_worlds, keeps_its_promise
from thread_cli.conformance.environments import Verdict, check
from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from thread_cli.contracts.environment import Task

TEMPLATE = Path(__file__).parents[1] / "docs" / "adapter-template"
TESTS = Path(__file__).parent

DEFECTS = {
    "ExtraArgument": "declares what it is",
    "TwiceTheSameId": "lists its tasks",
    "AnySplit": "refuses tasks that it has not",
    "AnyTask": "refuses tasks that it has not",
    "LazyTeacher": "is solved by its teacher",
    "GenerousMarks": "gives marks",
    "Unseeded": "plays the same by the same seed",
    "HashSeeded": "plays the same in another process",
    "Writes": "plays the same in another process",
    "Shared": "keeps two episodes apart",
    "Fussy": "answers bad actions",
    "BeginsByItself": "wants a reset before a step",
    "RewardsForever": "begins anew after the end",
    "Remembers": "begins anew at any time",
    "WrongSnapshot": "takes snapshots",
    "UnknownConcurrency": "declares what it is",
    "Entangled": "keeps its worlds apart",
    "OneAtATime": "keeps its promise to threads at once",
    "BlamesTheModel": "survives a crash in a step",
    "ApartForGood": "survives a crash in a step",
    "NotApart": "survives a crash in a step",
    "SpoiltByCancelling": "survives a hang in a step",
    "ClosesOnce": "can be closed twice",
    "LeavesFiles": "leaves nothing behind",
    "LeavesProcesses": "leaves nothing behind",
}


@pytest.fixture
def register(tmp_path, monkeypatch) -> Callable[[Iterable[str]], Path]:
    """Registers adapters as an installed distribution would; returns the folder that it is installed in."""

    def registered(references: Iterable[str]) -> Path:
        folder = tmp_path / "site"
        about = folder / "others-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
        lines = [f"{reference.rpartition(':')[2].lower()} = {reference}" for reference in references]
        (about / "entry_points.txt").write_text("\n".join(["[thread_cli.environments]", *lines]))
        monkeypatch.syspath_prepend(str(folder))
        return folder

    return registered


async def verdicts(name: str, *only: str) -> dict[str, Verdict]:
    return {verdict.check: verdict async for verdict in check(name, only=only or None)}


# --- the suite


@pytest.mark.parametrize(("name", "applying"), [("textcraft", 18), ("none", 13), ("math", 15)])
async def test_our_adapters_conform(name, applying) -> None:
    found = (await verdicts(name)).values()
    assert [verdict for verdict in found if verdict.outcome == "failed"] == []
    assert sum(verdict.outcome == "passed" for verdict in found) == applying


class Official(Case):
    """ALFWorld with official games."""

    async def tasks(self) -> list[Task]:
        async with self.opened() as environment:
            return list(environment.tasks("valid_seen")[:1])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("alfworld", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
        "webshop",
        "dataqa/icu",
        "dataqa/datacommons",
    ],
)
async def test_our_adapters_keep_what_they_promise_to_threads_at_once(name, request) -> None:
    if name == "alfworld":
        case = Official(name, {"seed": 0, "data": str(request.getfixturevalue("mini"))})
    else:
        case = Case(name, {"seed": 0}, unsafe_python=True)
    await keeps_its_promise(case)
    if not name.startswith("dataqa"):
        await forks_worlds(case)


@pytest.mark.parametrize("adapter", ["Count", "Apart", "Forkable"])
async def test_an_adapter_conforms_with_and_without_a_process_of_its_own(register, adapter) -> None:
    register([f"adapters:{adapter}"])
    found = await verdicts(adapter.lower())
    assert [verdict for verdict in found.values() if verdict.outcome == "failed"] == []
    assert [what for what, verdict in found.items() if verdict.outcome != "passed"] == [
        "gives marks",
        *(["keeps its worlds apart"] if adapter != "Forkable" else []),
    ]


@pytest.mark.parametrize("adapter", DEFECTS)
async def test_a_defect_is_found_by_the_check_that_it_concerns(register, adapter, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    register([f"adapters:{adapter}"])
    found = await verdicts(adapter.lower(), DEFECTS[adapter])
    assert found[DEFECTS[adapter]].outcome == "failed"
    assert found[DEFECTS[adapter]].why
    assert "\n" not in found[DEFECTS[adapter]].why
    release()


def release() -> None:
    """Close what defective adapters have left."""
    import adapters

    for file in adapters.LeavesFiles.left:
        file.close()
    for process in adapters.LeavesProcesses.left:
        process.kill()
        process.wait()
    adapters.LeavesFiles.left.clear()
    adapters.LeavesProcesses.left.clear()


async def test_every_check_is_failed_by_some_defect() -> None:
    from thread_cli.conformance.environment_checks import CHECKS

    assert {name for name, _ in CHECKS} == set(DEFECTS.values())


async def test_what_cannot_be_opened_is_not_checked() -> None:
    for name, options in (("no-such", {}), ("textcraft", {"size": 3})):
        with pytest.raises(UserError):
            await anext(check(name, options))


# --- the commands


def test_envs_check_ends_with_what_was_passed(tmp_path) -> None:
    ran = thread("envs", "check", "textcraft", "-o", "seed=3", cwd=tmp_path)
    lines = ran.stdout.splitlines()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert lines[-1] == "textcraft: 18 passed, 1 does not apply"
    assert lines[0] == "✓ declares what it is"
    assert "- gives marks: it marks no answers" in lines
    assert list(tmp_path.iterdir()) == []


def test_envs_check_names_what_failed(tmp_path, register) -> None:
    path = os.pathsep.join([str(register(["adapters:Fussy"])), str(TESTS)])
    ran = thread("envs", "check", "fussy", cwd=tmp_path, PYTHONPATH=path)
    assert ran.returncode == 1
    assert "✗ answers bad actions: control characters: ValueError" in ran.stdout
    last = ran.stdout.splitlines()[-1]
    assert last == "fussy: 16 passed, 1 failed (answers bad actions), 2 do not apply"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("check", "no-such"), "there is no environment 'no-such'"),
        (("check", "textcraft", "-o", "options.size=3"), "textcraft takes no option 'size'"),
        (("check", "textcraft", "-o", "size"), "-o size: write KEY=VALUE"),
        (("check", "webshop", "-o", "options.shown=many"), "webshop: option 'shown' should be a valid integer"),
        (("check", "webshop", "-o", "options.attributes=7"), "webshop: option 'attributes' should be a valid boolean"),
        (("check", "dataqa/icu", "-o", "options.data=true"), "dataqa/icu: option 'data' should be a valid string"),
        (("setup", "no-such"), "there is no environment 'no-such'"),
        (("setup", "textcraft"), "textcraft has nothing to set up"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, arguments, why) -> None:
    ran = thread("envs", *arguments, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"thread: {why}")
    assert ran.stderr.count("\n") == 1


def test_envs_setup_tells_how_it_goes_and_what_is_there_then(tmp_path, register) -> None:
    path = os.pathsep.join([str(register(["adapters:WithData"])), str(TESTS)])
    done = thread("envs", "setup", "withdata", cwd=tmp_path, PYTHONPATH=path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 numbers in data.txt\n", "fetching data.txt\n")
    again = thread("envs", "setup", "withdata", cwd=tmp_path, PYTHONPATH=path)
    assert (again.returncode, again.stderr) == (2, "thread: the data cannot be had twice\n")


def test_ctrl_c_ends_a_check(tmp_path) -> None:
    command = [sys.executable, "-m", "thread_cli", "envs", "check", "textcraft"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as checking:
        checking.stdout.readline()
        checking.send_signal(signal.SIGINT)
        _, errors = checking.communicate(timeout=20)
    assert (checking.returncode, errors) == (130, "")


def test_a_broken_adapter_breaks_neither_the_list_nor_the_others(tmp_path, register) -> None:
    folder = register(["adapters:NoSuch", "no_such_module:Thing", "adapters:Worked", "adapters:Count"])
    path = os.pathsep.join([str(folder), str(TESTS)])
    listed = thread("envs", cwd=tmp_path, PYTHONPATH=path, COLUMNS="200")
    assert listed.returncode == 0
    assert listed.stderr == ""
    for words in (
        "has no attribute 'NoSuch'",
        "No module named 'no_such_module'",
        "has no attribute 'requires'",
        "three starts",
        "the published set",
    ):
        assert words in " ".join(listed.stdout.split())
    assert thread("envs", "check", "count", cwd=tmp_path, PYTHONPATH=path).returncode == 0
    broken = {each.name for each in installed() if isinstance(each, Broken)}
    assert {"nosuch", "thing", "worked"} <= broken
    with pytest.raises(UserError, match="does not load"):
        find("nosuch")


# --- processes of their own, under `thread run`


def play_apart(folder: Path, cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    (cwd / "script.txt").write_text("> add =>\n---\nprint('done')\n")
    (cwd / "prompt.txt").write_text("A prompt.")
    options = ["--model", "scripted:script.txt", "--prompt", "prompt.txt", "--log", "run", "--display", "plain"]
    return subprocess.Popen(
        [sys.executable, "-m", "thread_cli", "run", *arguments, *options],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(TESTS)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def worker_of(runner: subprocess.Popen[str]) -> psutil.Process:
    until = time.monotonic() + 20
    while time.monotonic() < until and runner.poll() is None:
        for child in psutil.Process(runner.pid).children(recursive=True):
            if "thread_cli.environments.worker" in child.cmdline():
                return child
        time.sleep(0.02)
    raise AssertionError(runner.communicate())


def test_ctrl_c_leaves_no_process_of_an_environment(tmp_path, register) -> None:
    with play_apart(register(["adapters:HangsApart"]), tmp_path, "hangsapart") as runner:
        worker = worker_of(runner)
        time.sleep(0.5)
        os.killpg(runner.pid, signal.SIGINT)
        _, errors = runner.communicate(timeout=20)
    assert runner.returncode == 130
    assert errors == "thread: interrupted; the log is in run\n"
    assert not worker.is_running()


def test_a_killed_process_of_an_environment_is_no_failure_of_the_model(tmp_path, register) -> None:
    with play_apart(register(["adapters:HangsApart"]), tmp_path, "hangsapart") as runner:
        worker = worker_of(runner)
        time.sleep(0.5)
        worker.kill()
        output, errors = runner.communicate(timeout=20)
    assert runner.returncode == 4
    assert "environment error" in output
    assert "environment failed: its own process was killed by SIGKILL" in errors


# --- an adapter built by others


@pytest.fixture(scope="module")
def hanoi(tmp_path_factory) -> Path:
    """The folder that the template is installed in, from a wheel of its own."""
    folder = tmp_path_factory.mktemp("hanoi")
    shutil.copytree(TEMPLATE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = ["--no-deps", "--no-index"]
    built = [*pip, "wheel", "--no-build-isolation", *offline, "-w", str(folder), str(folder / "source")]
    for command in (built, [*pip, "install", *offline, "--target", str(folder / "site"), "thread-hanoi"]):
        ran = subprocess.run(
            [*command, "--find-links", str(folder)], cwd=folder, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
    return folder


def test_a_separately_built_adapter_is_listed_and_conforms(hanoi, tmp_path) -> None:
    path = str(hanoi / "site")
    assert "20 positions of three discs" in thread("envs", cwd=tmp_path, PYTHONPATH=path).stdout
    ran = thread("envs", "check", "hanoi", cwd=tmp_path, PYTHONPATH=path)
    assert ran.stdout.splitlines()[-1] == "hanoi: 17 passed, 2 do not apply"
    assert ran.returncode == 0


def test_a_separately_built_adapter_is_played(hanoi, tmp_path) -> None:
    (tmp_path / "script.txt").write_text("> look =>\n---\n> jump =>\n---\nprint('I give up')\n")
    path = str(hanoi / "site")
    options = ("--display", "plain")
    assert "hanoi" in thread("prompts", cwd=tmp_path, PYTHONPATH=path).stdout
    ran = thread("run", "hanoi", "--model", "scripted:script.txt", *options, cwd=tmp_path, PYTHONPATH=path)
    assert ran.returncode == 1
    assert "> look => A: 2 1, B: nothing, C: 3" in ran.stdout
    assert "> jump => Write `look`, or `move A C`." in ran.stdout
    for task in ("three-7", "four:3"):
        won = thread("run", "hanoi", "--task", task, "--model", "teacher", *options, cwd=tmp_path, PYTHONPATH=path)
        assert won.returncode == 0
        assert "solved  reward 1" in won.stdout


def test_the_own_tests_of_the_template_pass(hanoi) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_hanoi.py"],
        cwd=hanoi / "source",
        env={**os.environ, "PYTHONPATH": str(hanoi / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
