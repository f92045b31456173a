"""Real processes that several test files start."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest


def thread(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "thread_cli", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
        check=False,
    )


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
