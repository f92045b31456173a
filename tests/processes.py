"""Real processes that several test files start."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECONDS = 100
"""That a command may take."""


def thread(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, forked off one that has imported it: see `warm.py`."""
    (out, output), (err, errors), (told, ends) = (os.pipe() for _ in range(3))
    request = {"arguments": list(map(str, arguments)), "folder": str(cwd), "environment": {**os.environ, **environment}}
    socket.send_fds(_warm(), [json.dumps(request).encode()], [output, errors, ends])
    for descriptor in (output, errors, ends):
        os.close(descriptor)
    said = _read_to_the_end([out, err, told], " ".join(map(str, arguments)))
    code = os.waitstatus_to_exitcode(int(said[told].split()[1]))
    return subprocess.CompletedProcess(arguments, code, *(_text(said[each]) for each in (out, err)))


def cold_thread(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, all imports included."""
    command = [sys.executable, "-m", "thread_cli", *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False
    )


@functools.cache
def _warm() -> socket.socket:
    """A socket to the process that commands are forked off."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        started = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("warm.py")), str(its.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # of the kind that commands have
            stderr=subprocess.PIPE,
            pass_fds=[its.fileno()],
        )

    def end() -> None:
        ours.close()
        _, complaint = started.communicate(timeout=SECONDS)
        sys.stderr.write(complaint.decode())

    atexit.register(end)
    return ours


def _read_to_the_end(descriptors: list[int], command: str) -> dict[int, bytes]:
    """All that comes through some pipes; after `SECONDS`, the command whose process id the last one tells is killed."""
    found = dict.fromkeys(descriptors, b"")
    deadline = time.monotonic() + SECONDS
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline - time.monotonic())
            if not ready:
                os.kill(int(found[descriptors[-1]].split()[0]), signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, SECONDS, *(found[each] for each in descriptors[:2]))
            for key, _ in ready:
                if part := os.read(key.fd, 1 << 16):
                    found[key.fd] += part
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return found


def _text(printed: bytes) -> str:
    return io.TextIOWrapper(io.BytesIO(printed)).read()


def in_this_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, for tests that need no other one: starting one takes a second."""
    from thread_cli.cli.app import main

    told, complained, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(cwd):
        patch.setattr(sys, "argv", ["thread", *arguments])
        patch.setenv("THREAD_DEBUG", "")  # which the command sets
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complained):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, told.getvalue(), complained.getvalue())


def demand_plain_llama(model: Path) -> None:
    """Skip the test where llama-cpp-python's own `Llama`, or its server, would die with a model."""
    from thread_cli.models.llama.door import FormatDies
    from thread_cli.models.llama.kinds import dies_by_itself

    try:
        reason = dies_by_itself(model)
    except FormatDies as death:
        reason = death.message
    if reason is not None:
        pytest.skip(reason)


def outputs_under_hash_seeds(script: str) -> set[bytes]:
    """What a script prints under several hash seeds."""
    return {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "0123"
    }
