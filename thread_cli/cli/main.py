"""Where `thread` begins: the command runs in a child process, and its parent says so should a signal kill it."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from thread_cli.contracts.errors import ExitCode
from thread_cli.supervision import supervised

__all__ = ["main"]

_LEFT: Final = "\x1b[?1049l"
"""Leaves a terminal's alternate screen."""
_PLAIN: Final = "\x1b[?7h\x1b[?25h\x1b[0m"
"""Long lines wrapped, a cursor, no colour."""


def main() -> None:
    """Run a command in a child process; where a signal kills that, put in order what it left and tell it in a line."""
    supervised(_dead)
    # Only in the child: the parent stays small, and where memory is short it is not the one to be killed.
    try:
        from thread_cli.cli.app import main as command
    except KeyboardInterrupt:  # while modules are loaded, which may take some seconds
        sys.exit(ExitCode.interrupted)
    command()


def _dead(number: int, asked_for: bool, notes: dict[str, Any]) -> int:
    """Put a terminal and a log in order after a child that was killed by a signal; returns the exit code."""
    if asked_for and not notes:
        return ExitCode.infrastructure
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and stream.isatty():
            os.write(stream.fileno(), (_LEFT * bool(notes.get("screen")) + _PLAIN).encode())
            break
    from thread_cli.cli.deaths import account

    print(f"thread: {account(number, asked_for, notes)}", file=sys.stderr)
    return ExitCode.infrastructure
