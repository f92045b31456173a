"""The analysis session leaves nothing behind, and is confined for any user, or refused."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from sessions import WITHOUT_LANDLOCK, exists, ran

from thread_cli.contracts.errors import InterpreterFailed, UserError
from thread_cli.contracts.interpreter import SessionDead
from thread_cli.interpreters import session
from thread_cli.interpreters.session import SessionInterpreter

if TYPE_CHECKING:
    from collections.abc import Callable


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- what is left behind


def processes() -> list[psutil.Process]:
    """The sessions of this process."""
    return [each for parent in psutil.Process().children() for each in parent.children()]


async def test_closing_leaves_no_session_no_folder_and_no_descriptor(open_session) -> None:
    await ran(open_session(), "x = 1")
    before, descriptors = len(processes()), psutil.Process().num_fds()
    interpreter = open_session()
    folder = (
        await ran(interpreter, "import os\nfolder = os.getcwd()\nos.makedirs('a/b')\nopen('a/b/c', 'w').close()")
    )["folder"]
    running = asyncio.create_task(interpreter.run("while True: pass", {}, thread="1"))
    await asyncio.sleep(0.1)
    assert len(processes()) >= before + 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await interpreter.close()
    assert not exists(folder)
    assert len(processes()) == before
    assert psutil.Process().num_fds() == descriptors


RUNNER = """
import asyncio
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    interpreter = SessionInterpreter(seconds=100)
    outcome = await interpreter.run("import os\\nx = [os.getpid(), os.getppid(), os.getcwd()]", {})
    busy = asyncio.create_task(interpreter.run("open('x', 'w').close()\\nwhile True: pass", {}, thread="1"))
    await asyncio.sleep(0.2)
    print(outcome.names["x"], flush=True)
    await busy
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_runner_that_is_killed(number) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert runner.stdout
    with runner.stdout as output:
        child, parent, folder = json.loads(output.readline().replace(b"'", b'"'))
    os.killpg(runner.pid, number)
    runner.wait(10)
    wait_until(lambda: not alive(parent) and not alive(child) and not exists(folder))


async def test_another_parent_is_started_where_the_first_was_killed(open_session) -> None:
    first = open_session()
    parent, child = (await ran(first, "import os\nx = os.getppid(), os.getpid()"))["x"]
    os.kill(parent, signal.SIGKILL)
    with pytest.raises(Exception, match=r"the parent of the sessions is gone|the session ended"):
        for thread in "12":
            await first.run("x = 1", {}, thread=thread)
    await first.close()
    wait_until(lambda: not alive(child))
    assert await ran(open_session(), "x = 1") == {"x": 1}


# --- users and places


def stranger() -> list[str]:
    """What makes a command one of a user without a name, a home and the rights of root; skips where nothing does."""
    command = ["unshare", "--user", "--map-user=12345", "env", "-u", "HOME"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there are no user namespaces here")
    return command


HOMELESS = """
import asyncio, os
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    interpreter = SessionInterpreter(seconds=5)
    for code in (
        "import scipy.optimize, scipy.signal\\nx = scipy.optimize.brentq(lambda x: x - 1, 0, 3)",
        "open('/etc/passwd')", "import os\\nos.fork()", "import socket\\nsocket.socket()", "open('own', 'w').close()",
    ):
        outcome = await interpreter.run(code, {})
        print(os.getuid(), outcome.names.get("x"), (outcome.error or "")[:15])
    await interpreter.close()
asyncio.run(main())
"""


def test_a_user_without_name_home_and_rights_computes_in_confinement() -> None:
    done = subprocess.run([*stranger(), sys.executable, "-c", HOMELESS], capture_output=True, text=True, check=False)
    refused = "12345 None PermissionError"
    assert done.stdout.split("\n") == ["12345 1.0 ", refused, refused, refused, "12345 None ", ""], done.stderr


SUITES = """
import asyncio, os, sys
from thread_cli.conformance.interpreters import check
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.interpreters.variables import VariableInterpreter
def analysis():
    return SessionInterpreter(seconds=0.5, memory=400_000_000, disk=20_000_000)
makers = {"variables": VariableInterpreter, "analysis": analysis}
print(os.getuid(), asyncio.run(check(makers[sys.argv[1]], within=10)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["variables", "analysis"])
def test_both_interpreters_hold_contract_and_attacks_for_an_ordinary_user(kind) -> None:
    done = subprocess.run(
        [*stranger(), sys.executable, "-c", SUITES, kind], capture_output=True, text=True, check=False
    )
    assert done.stdout == "12345 {}\n", done.stderr


TEMPORARY = """
import asyncio, os, shutil
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    interpreter = SessionInterpreter()
    await interpreter.open()
    shutil.rmtree(os.environ["TMPDIR"])
    try:
        await interpreter.run("x = 1", {})
    except Exception as error:
        print(type(error).__name__, error)
    os.mkdir(os.environ["TMPDIR"])
    print((await interpreter.run("import os\\nx = os.getcwd()", {})).names["x"])
    await interpreter.close()
asyncio.run(main())
"""


def test_folders_are_made_where_tmpdir_says_and_where_they_cannot_be_the_runner_says_so(tmp_path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", TEMPORARY], env=environment, capture_output=True, text=True, check=False
    )
    failed, made, _ = done.stdout.split("\n")
    assert failed.startswith("InterpreterFailed no session can be opened: [Errno 2] No such file or directory")
    assert Path(made).parent == folder
    assert list(folder.iterdir()) == []


# --- machines that cannot confine

UNCONFINED = (
    WITHOUT_LANDLOCK
    + """
import asyncio
from thread_cli.contracts.errors import InterpreterFailed, UserError
from thread_cli.contracts.interpreter import SessionDead
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    for unsafe in (False, True):
        interpreter = SessionInterpreter(unsafe=unsafe, seconds=1)
        for code in ("x = int(pd.Series([1, 2]).sum())", "x = open('/etc/passwd').read()[:4]", "while True: pass", "x = 2"):
            try:
                outcome = await interpreter.run(code, {})
                print(dict(outcome.names), outcome.error)
            except Exception as error:
                print(type(error).__name__, error)
        await interpreter.close()
asyncio.run(main())
"""
)


def test_without_landlock_code_runs_only_where_unsafe_python_is_allowed() -> None:
    lines = subprocess.run([sys.executable, "-c", UNCONFINED], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert lines[0].startswith("UserError model-written Python cannot be confined on this machine (")
    assert "--unsafe-python" in lines[0]
    assert lines[4:8] == [
        "{'x': 3} None",
        "{'x': 'root'} None",
        "SessionDead TimeoutError: the code ran for more than 1 s, its session was ended",
        "{'x': 2} None",
    ]


async def test_unsafe_python_is_confined_where_the_machine_can(open_session) -> None:
    outcome = await open_session(unsafe=True).run("open('/etc/passwd')", {})
    assert (outcome.error or "").startswith("PermissionError")


async def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch) -> None:
    monkeypatch.setattr(session, "_PACKAGES", ("pandas", "no_such_package"))
    with pytest.raises(UserError, match=r"needs no_such_package: pip install .*'pandas"):
        SessionInterpreter()


# --- a machine that is busy


HOG = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"


@pytest.fixture
def starved():
    """Leaves a process the one processor that others use all the time, and with the least right to it."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not let a process choose its processor")
    processor = min(os.sched_getaffinity(0))
    hogs: list[subprocess.Popen[bytes]] = []

    def starve(pid: int) -> None:
        os.sched_setaffinity(pid, {processor})
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        group = Path(f"/proc/{pid}/autogroup")
        if group.exists():  # processes of different groups compete by the weights of these
            group.write_text("19")
        for _ in range(3):
            hog = [sys.executable, "-c", HOG, str(processor)]
            hogs.append(subprocess.Popen(hog, stdout=subprocess.PIPE, start_new_session=True))
            stdout = hogs[-1].stdout
            assert stdout
            stdout.readline()

    yield starve
    for hog in hogs:
        hog.kill()
        hog.communicate()


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not tell how it schedules")
@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x = sum(i * i for i in range(20_000))", {}),
        ("x = len(long)", {"long": "long " * 1_000_000}),  # it takes long to read
        ("x = 'long ' * 1_000_000", {}),  # and to answer
    ],
)
async def test_time_in_which_others_have_the_processor_does_not_count(open_session, starved, code, names) -> None:
    interpreter = open_session(kind="variables", seconds=0.25)
    pid = (await ran(interpreter, "import os\nx = os.getpid()"))["x"]
    starved(pid)
    waited = []
    for _ in range(3):
        began = time.monotonic()
        try:
            outcome = await interpreter.run(code, names, thread="0")
        except SessionDead:
            assert time.monotonic() - began > 20 * 0.25, "it was starved for longer than anybody waits"
            break
        assert outcome.error is None
        assert alive(pid), "it ran in the session that is starved"
        waited.append(time.monotonic() - began)
    if waited and max(waited) < 0.25:
        pytest.skip("this machine has processors enough for all of it")


async def test_code_that_waits_for_nothing_is_ended_on_a_busy_machine_too(open_session, starved) -> None:
    interpreter = open_session(kind="variables", seconds=0.1)
    starved((await ran(interpreter, "import os\nx = os.getpid()"))["x"])
    began = time.monotonic()
    with pytest.raises(SessionDead, match=r"ran for more than 0\.1 s"):
        await interpreter.run("while True: pass", {}, thread="0")
    assert time.monotonic() - began < 8


async def test_sessions_that_do_not_start_are_one_line(open_session, monkeypatch) -> None:
    monkeypatch.setattr(session, "_START_SECONDS", 0)
    for _ in range(20):  # a session that starts while this process rests has started in no time
        interpreter = open_session(kind="variables")
        try:
            await interpreter.run("x = 1", {}, thread="0")
        except InterpreterFailed as failure:
            said = failure.message
            break
    assert said == "no session can be opened: 2 did not start within 0 s each"
    monkeypatch.undo()
    assert await ran(interpreter, "x = 1") == {"x": 1}
