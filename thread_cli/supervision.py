"""A command in a child process, and a parent that outlives it: where the child is killed, the parent says by what.

The parent does nothing but wait. It is forked off before anything heavy is imported, hands on the signals that only it
gets, and ends as the child does. `note` lets the child leave word, in memory that both share, of what must be put in
order should it die: an open log, a terminal that is drawn upon.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GOES_ON", "note", "signal_name", "supervised"]

GOES_ON: Final = "the same command goes on from here"
"""What can be said of work of which all that was finished is kept."""

_ROOM: Final = 1 << 14
"""Bytes that notes may take."""
_LENGTH: Final = 4
_PDEATHSIG: Final = 1  # PR_SET_PDEATHSIG of Linux's prctl(2)
_HANDED_ON: Final = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
    signal.SIGWINCH,
}
_WAITED_FOR: Final = {signal.SIGCHLD, *_HANDED_ON}
_ASKED_FOR: Final = _HANDED_ON | {signal.SIGPIPE, signal.SIGALRM}
"""Signals that somebody sends on purpose; a process that ends by one has not failed."""
_FROM_THE_KERNEL: Final = 0x80  # SI_KERNEL: from the terminal, which tells all of a process group
_notes: _Notes | None = None


def supervised(dead: Callable[[int, bool, dict[str, Any]], int]) -> None:
    """Go on in a child process: only there does this return. The parent exits with the child's exit code.

    Where a signal kills the child, `dead` is called in the parent with its number, whether it is one that people send
    on purpose, and the child's notes. It tells the exit code, but for such a signal: by that the parent ends as well.
    """
    global _notes  # noqa: PLW0603 -- what the whole process has to say
    _notes = _Notes()
    apart = not _has_terminal()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    parent, child = os.getpid(), os.fork()
    if child == 0:
        if apart:
            os.setpgid(0, 0)
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    if apart:
        # Signals to the whole group then reach the child once, through its parent. It does the same: one is too late.
        with suppress(OSError):
            os.setpgid(child, child)
    status = _waited_for(child, apart)
    if not os.WIFSIGNALED(status):
        os._exit(os.waitstatus_to_exitcode(status))
    number = os.WTERMSIG(status)
    asked_for = number in _ASKED_FOR
    code = dead(number, asked_for, _notes.read())
    sys.stdout.flush()
    sys.stderr.flush()
    if asked_for:
        _end_by(number)
    os._exit(code)


def note(**values: Any) -> None:
    """Leave word for the parent, should this process die; None takes a note back. Without a parent, nothing is done."""
    if _notes is not None:
        _notes.change(values)


def signal_name(number: int) -> str:
    """A signal's name, such as `SIGILL`."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


class _Notes:
    """A few named values in memory that is shared with the parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _ROOM)
        self._values: dict[str, Any] = {}

    def change(self, values: dict[str, Any]) -> None:
        import json

        self._values = {name: value for name, value in (self._values | values).items() if value is not None}
        encoded = json.dumps(self._values).encode()
        # Whoever is killed in between has no notes rather than half of them.
        self._memory[:_LENGTH] = bytes(_LENGTH)
        if len(encoded) <= _ROOM - _LENGTH:
            self._memory[_LENGTH : _LENGTH + len(encoded)] = encoded
            self._memory[:_LENGTH] = len(encoded).to_bytes(_LENGTH, "little")

    def read(self) -> dict[str, Any]:
        import json

        length = int.from_bytes(self._memory[:_LENGTH], "little")
        return json.loads(self._memory[_LENGTH : _LENGTH + length]) if length else {}


def _waited_for(child: int, apart: bool) -> int:
    """Hand signals on until the child ends; its wait status."""
    while True:
        number, everybodys = _next_signal(apart)
        if number == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return status
        elif not everybodys:
            os.kill(child, number)


def _next_signal(apart: bool) -> tuple[int, bool]:
    """The next signal, and whether the child has got it as well."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS: where it comes from cannot be told
        number = signal.sigwait(_WAITED_FOR)
        return number, not apart and number in {signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH}
    received = signal.sigwaitinfo(_WAITED_FOR)
    return received.si_signo, not apart and received.si_code == _FROM_THE_KERNEL


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _end_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, where the system can."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def _end_by(number: int) -> NoReturn:
    """End by the signal that ended the child, so that whoever waits sees what it would have seen without a parent."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os._exit(128 + number)
