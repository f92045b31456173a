"""Commands whose process is killed: a line says by what, the log has its end, and the terminal is as it was."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from processes import thread

from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.events import EpisodeEnded, ThreadEnded, ThreadStarted
from thread_cli.display import TreeState
from thread_cli.record import RunFolder, read_events
from thread_cli.record.closing import close_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CRASHES = [signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT, signal.SIGKILL]
ENDLESS = ["--model", "faulty:timeout=1+scripted:s.toml", "-o", "model.attempts=100000", "-o", "model.retry_wait=0.01"]
COUNTS = """
import signal, sys, time
from thread_cli.supervision import supervised

def work():
    got = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: got.append(signal.Signals(number).name))
    print("ready", flush=True)
    while not got:
        time.sleep(0.01)
    time.sleep(0.5)
    print(*got, flush=True)
    sys.exit(len(got) + 40)

supervised(lambda *told: 4)
work()
"""


def until(true: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def worker_of(process: subprocess.Popen[Any]) -> psutil.Process:
    """The child that a command runs in."""
    until(lambda: psutil.Process(process.pid).children())
    return psutil.Process(process.pid).children()[0]


def begun(folder: Path, *arguments: str, out: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """An episode without an end that is under way."""
    (folder / "s.toml").write_text('[[thread]]\ntext = "First, go on {task} =>"\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "thread_cli", "run", "none", "Go.", *ENDLESS, "--log", "a", *arguments],
        cwd=folder,
        stdin=out if isinstance(out, int) and out >= 0 else subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
        text=True,
    )
    log = folder / "a" / "text.jsonl"
    until(lambda: process.poll() is not None or (log.exists() and b"generating" in log.read_bytes()))
    return process


@pytest.mark.parametrize("number", CRASHES, ids=lambda number: number.name)
def test_a_run_whose_process_is_killed_says_so_in_a_line_and_its_log_has_an_end(tmp_path, number) -> None:
    process = begun(tmp_path, "--display", "plain")
    worker_of(process).send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 4
    assert errors.count("\n") == 1
    assert errors.startswith(f"thread: killed by {number.name}, ")
    assert errors.endswith("; the log is in a\n")
    events = read_events(tmp_path / "a" / "text.jsonl")
    assert isinstance(events[-1], EpisodeEnded)
    assert (events[-1].status, events[-1].message) == (Status.engine_error, f"the process was killed by {number.name}")
    assert events[-1].status.infrastructure
    for command in (["show", "a"], ["replay", "a", "--speed", "0", "--display", "plain"]):
        read = thread(*command, cwd=tmp_path)
        assert read.returncode == 0, read.stderr
        assert f"killed by {number.name}" in read.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGSEGV, 4), (signal.SIGQUIT, -signal.SIGQUIT)])
def test_a_terminal_is_left_as_it_was(tmp_path, number, code) -> None:
    leader, follower = pty.openpty()
    process = begun(tmp_path, "--display", "tree", out=follower)
    os.close(follower)
    shown = read_until(leader, b"\x1b[?1049h")
    worker_of(process).send_signal(number)
    with contextlib.suppress(OSError):  # the other end is closed
        while piece := os.read(leader, 4096):
            shown += piece
    assert number.name in process.communicate(timeout=20)[1]
    assert process.returncode == code
    for off, on in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?7l", b"\x1b[?7h")):
        assert shown.rindex(on) > shown.rindex(off)
    os.close(leader)


def read_until(file: int, wanted: bytes) -> bytes:
    shown = b""
    end = time.monotonic() + 20
    while wanted not in shown:
        assert select.select([file], [], [], end - time.monotonic())[0], shown
        shown += os.read(file, 4096)
    return shown


@pytest.fixture
def counting() -> Iterator[subprocess.Popen[str]]:
    """A supervised program that tells the signals it gets, in a session without a terminal."""
    program = [sys.executable, "-c", COUNTS]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command_once_whether_sent_to_the_process_or_to_its_group(counting, send, number) -> None:
    send(counting.pid, number)
    assert counting.communicate(timeout=20)[0] == f"{number.name}\n"
    assert counting.returncode == 41


def test_ctrl_c_at_a_terminal_reaches_the_command_once() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", COUNTS])
    read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    assert read_until(terminal, b"INT\r\n").count(b"SIGINT") == 1
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 41
    os.close(terminal)


def stopped(shell: int) -> set[bool]:
    """Whether the processes below a shell are stopped."""
    return {each.status() == psutil.STATUS_STOPPED for each in psutil.Process(shell).children(recursive=True)}


def test_a_command_that_is_stopped_at_a_terminal_goes_on_in_the_foreground_of_its_shell() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"PS1": "$ ", "COUNTS": COUNTS, "PYTHON": sys.executable}
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    os.write(terminal, b'"$PYTHON" -c "$COUNTS"\n')
    read_until(terminal, b"ready")
    os.write(terminal, b"\x1a")
    read_until(terminal, b"Stopped")
    until(lambda: stopped(pid) == {True})
    os.write(terminal, b"fg\n")
    until(lambda: stopped(pid) == {False})
    os.write(terminal, b"\x03")
    assert read_until(terminal, b"INT\r\n").count(b"SIGINT") == 1
    os.write(terminal, b"echo code $?; exit\n")
    read_until(terminal, b"code")
    os.waitpid(pid, 0)
    os.close(terminal)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_command_ends_with_the_process_that_waits_for_it(tmp_path) -> None:
    process = begun(tmp_path)
    worker = worker_of(process)
    process.kill()
    process.communicate(timeout=20)
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_a_suite_whose_process_is_killed_goes_on_by_the_same_command(tmp_path) -> None:
    (tmp_path / "s.toml").write_text('[[thread]]\ntext = "> inventory =>\\nprint(1) "\n')
    (tmp_path / "load.toml").write_text('[[parts]]\nenvironment = "textcraft"\nsplit = "all"\ntasks = 40\n')
    command = ["bench", "load.toml", "--model", "faulty:429=0.3,retry_after=0.3+scripted:s.toml", "--log", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "thread_cli", *command, "--display", "none", "-j", "4"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    results = tmp_path / "run" / "results"
    until(lambda: process.poll() is not None or (results.is_dir() and len(list(results.glob("*.json"))) >= 5))
    worker_of(process).send_signal(signal.SIGILL)
    assert process.communicate(timeout=20)[1].endswith("; the same command goes on from here\n")
    assert process.returncode == 4
    done = len(list(results.glob("*.json")))
    assert 5 <= done < 40
    assert thread(*command, "--display", "none", cwd=tmp_path).returncode == 0
    assert len(list(results.glob("*.json"))) == 40


def test_input_output_and_exit_codes_pass_through(tmp_path) -> None:
    code = (
        "import sys; from thread_cli.supervision import supervised\n"
        "supervised(lambda *_: 4)\n"
        "print(sys.stdin.read()), print('no', file=sys.stderr), sys.exit(7)"
    )
    ran = subprocess.run([sys.executable, "-c", code], input="words", capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("words\n", "no\n", 7)
    assert thread("run", "nowhere", cwd=tmp_path).returncode == 2


def test_a_log_cut_anywhere_is_closed_with_all_its_threads_and_sums(tmp_path) -> None:
    played = thread("run", "textcraft", "--model", "teacher", "--task", "12", "--log", "a", cwd=tmp_path)
    assert played.returncode == 0, played.stderr
    log = RunFolder.open(tmp_path / "a").episode(None)
    lines = log.read_bytes().splitlines(keepends=True)
    whole = read_events(log)
    cut = tmp_path / "cut.jsonl"
    for kept in range(1, len(lines)):
        for torn in (b"", lines[kept][:30]):
            cut.write_bytes(b"".join(lines[:kept]) + torn)
            assert close_log(cut, "killed", Status.engine_error)
            events = read_events(cut)
            assert cut.read_bytes().endswith(b"}\n")
            assert events[:kept] == whole[:kept]
            assert [event.n for event in events] == list(range(len(events)))
            started = [event.thread for event in events if isinstance(event, ThreadStarted)]
            assert sorted(started) == sorted(event.thread for event in events if isinstance(event, ThreadEnded))
            assert {event.how for event in events[kept:] if isinstance(event, ThreadEnded)} <= {"stopped"}
            assert TreeState.of(events).status is Status.engine_error
            assert not close_log(cut, "killed", Status.engine_error)
    last, recorded = events[-1], whole[-1]
    assert isinstance(last, EpisodeEnded)
    assert isinstance(recorded, EpisodeEnded)
    assert last.totals == recorded.totals


def test_a_log_without_an_event_is_left_as_it_is(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"episode": ')
    with pytest.raises(UserError, match="holds no event"):
        close_log(tmp_path / "a.jsonl", "killed", Status.engine_error)
    assert (tmp_path / "a.jsonl").read_text() == '{"episode": '


def test_notes_that_take_too_much_room_are_none_rather_than_torn(tmp_path) -> None:
    code = (
        "import json, os, signal; from thread_cli.supervision import note, supervised\n"
        "def work():\n    note(log='a', goes_on='b')\n    note(goes_on=None)\n    {more}\n    os.kill(os.getpid(), 11)\n"
        "supervised(lambda number, asked, notes: (print(json.dumps([number, asked, notes])), 4)[1])\nwork()"
    )
    for more, notes in (("pass", {"log": "a"}), ("note(log='x' * 20000)", {})):
        program = [sys.executable, "-c", code.replace("{more}", more)]
        ran = subprocess.run(program, capture_output=True, text=True, check=False)
        assert json.loads(ran.stdout) == [11, False, notes]
        assert ran.returncode == 4
