"""The warmed parent of all sessions of a kind: `python -P session_zygote.py DESCRIPTOR KIND`.

It has the libraries of its kind loaded, and forks a session on demand. It takes requests on one socket, answers each
before it reads the next, and trusts nobody but the runner at its other end. When that end closes, it ends all sessions
and removes their folders. Meanwhile it keeps every folder within its bound.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from thread_cli.interpreters.session_confinement import ConfinementError, enclose, held, limit, prepare, restrict
from thread_cli.interpreters.session_folder import effort, overfull, remove, trim
from thread_cli.interpreters.session_tools import KINDS, let_event_loops_run
from thread_cli.interpreters.session_values import HEADER, message
from thread_cli.interpreters.session_worker import Session, prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["main"]

_TICK: Final = 0.05
"""Seconds between two looks at the folders."""
_PR_SET_PDEATHSIG: Final = 1
_PROBE: Final[dict[str, Any]] = {"readable": [], "memory": 1 << 30, "file_size": 1 << 20}


class _Zygote:
    """Sessions by process, folders with the bytes that each may hold."""

    def __init__(
        self, control: socket.socket, session: Callable[[int], Session], enclosed: str | None, taken: int
    ) -> None:
        self._control = control
        self._session = session
        self._enclosed = enclosed
        """The reason for which this process cannot be confined, empty if it is confined; None if each session confines
        itself.
        """
        self._taken = taken
        """Bytes that this process held before it was confined; 0 if each session measures for itself."""
        self._folders: dict[str, int] = {}
        self._sessions: dict[int, str] = {}
        self._ends: dict[int, str] = {}
        self._efforts: dict[int, tuple[int, int]] = {}

    def serve(self) -> None:
        """Answer requests until the runner is gone, and leave nothing behind."""
        try:
            try:
                self._say({"unconfined": self._probe()})
            except OSError as error:
                self._say({"failed": str(error)})
                return
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            while True:
                if poll.poll(_TICK * 1000 if self._sessions else None) and not self._attend():
                    return
                self._reap()
                for folder, most in self._folders.items():
                    if overfull(folder, most):
                        self._relieve(folder, most)
        finally:
            for folder in list(self._folders):
                self._remove(folder)

    def _attend(self) -> bool:
        """Carry out a request of the runner; False if the runner is gone."""
        data, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, 1)
        while data and not data.endswith(b"\n"):
            data += self._control.recv(1 << 16) or b"\n"
        for line in data.splitlines():
            if not line.strip():
                return False
            try:
                answer = self._answer(json.loads(line), descriptors)
            except OSError as error:
                answer = {"failed": str(error)}
            if answer is not None:
                self._say(answer)
        for descriptor in descriptors:
            os.close(descriptor)
        return bool(data)

    def _say(self, answer: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):
            self._control.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any] | None:
        match request:
            case {"make": int(most)}:
                return {"folder": self._make(most)}
            case {"remove": str(folder)}:
                self._remove(folder)
                return {}
            case {"open": dict()}:
                return {"pid": self._open(descriptors[0], request["open"])}
            case {"ended": int(pid)}:
                self._reap()
                return {"how": self._ends.get(pid)}
            case {"end": int(pid)}:
                self._kill(pid)
                self._ends.pop(pid, None)
                return None
            case _:
                return {"failed": "no such request"}

    def _make(self, most: int) -> str:
        folder = tempfile.mkdtemp(prefix="thread-session-")
        self._folders[folder] = most
        return folder

    def _remove(self, folder: str) -> None:
        for pid in self._of(folder):
            self._kill(pid)
            self._reap(pid)
        if self._folders.pop(folder, None) is not None:
            remove(folder)

    def _open(self, connection: int, options: dict[str, Any]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                self._control.close()
                _become_session(connection, self._session, enclosed=self._enclosed == "", taken=self._taken, **options)
            finally:
                os._exit(1)
        self._sessions[pid] = options["folder"]
        self._ends.pop(pid, None)
        return pid

    def _of(self, folder: str) -> list[int]:
        return [pid for pid, place in self._sessions.items() if place == folder]

    def _kill(self, pid: int) -> None:
        if pid in self._sessions:
            for kill in (os.killpg, os.kill):
                with suppress(ProcessLookupError, PermissionError):
                    kill(pid, signal.SIGKILL)

    def _reap(self, only: int | None = None) -> None:
        """Record sessions that ended; wait for the end of a session that is named."""
        for pid in [only] if only else list(self._sessions):
            done, status = os.waitpid(pid, 0 if only else os.WNOHANG)
            if done:
                del self._sessions[pid]
                self._efforts.pop(pid, None)
                code = os.waitstatus_to_exitcode(status)
                how = f"it exited with {code}" if code >= 0 else f"it was ended by {_signal(-code)}"
                self._ends.setdefault(pid, how)

    def _relieve(self, folder: str, most: int) -> None:
        """End the session that wrote most to its folder since the last look, and make room there."""
        with self._paused(folder) as sessions:
            if sessions:
                worst = max(sessions, key=self._news)
                self._ends[worst] = "it filled its folder"
                self._kill(worst)
                self._reap(worst)
            trim(folder, most)

    def _news(self, pid: int) -> tuple[int, int]:
        written, ticks = effort(pid)
        before = self._efforts.get(pid, (0, 0))
        self._efforts[pid] = written, ticks
        return written - before[0], ticks - before[1]

    @contextmanager
    def _paused(self, folder: str) -> Generator[list[int]]:
        """Stop the sessions of a folder inside the block, so that they cannot replace a file by a link while it is
        removed.
        """
        for pid in self._of(folder):
            os.kill(pid, signal.SIGSTOP)
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                del self._sessions[pid]
                self._ends.setdefault(pid, "it ended")
        yield self._of(folder)
        for pid in self._of(folder):
            os.kill(pid, signal.SIGCONT)

    def _probe(self) -> str:
        """The reason for which no session can be confined here; empty if they can."""
        if self._enclosed:
            return self._enclosed
        ours, theirs = socket.socketpair()
        folder = self._make(1 << 30) if self._enclosed is None else ""
        with ours, theirs:
            self._open(theirs.fileno(), {**_PROBE, "folder": folder, "confined": True})
            theirs.close()
            said = ours.recv(4096)[HEADER.size :]
        self._remove(folder)
        return str(json.loads(said).get("failed", "")) if said else "a confined session does not start"


def _become_session(
    connection: int,
    make: Callable[[int], Session],
    *,
    enclosed: bool,
    taken: int,
    folder: str,
    readable: list[str],
    confined: bool,
    memory: int,
    file_size: int,
) -> None:
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        if folder:
            os.chdir(folder)
            tempfile.tempdir = os.environ["TMPDIR"] = os.environ["HOME"] = folder
        limit(memory=memory + (taken or held()), file_size=file_size)
        if confined and not enclosed:
            enclose(folder or None, readable)
        if confined:
            restrict()
            let_event_loops_run()
        session = make(connection)
    except BaseException as error:  # noqa: BLE001 - told to the runner
        failure = str(error) if isinstance(error, ConfinementError) else f"{type(error).__name__}: {error}"
        os.write(connection, message({"failed": failure[:1000]}))
        return
    os.write(connection, message({"ready": True}))
    session.serve()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main() -> None:
    number, kind = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
    tools = KINDS[kind]()
    exec(tools.warm, {})  # noqa: S102 - our own code
    make = prepared(tools)
    with suppress(ConfinementError):  # the probe will tell
        prepare()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    taken, enclosed = 0, None
    if kind == "variables":  # all of its sessions may read the same and write nothing
        taken, enclosed = held(), ""
        try:
            enclose(None, [])
        except ConfinementError as error:
            enclosed = str(error)
    control = socket.socket(fileno=int(number))
    gc.collect()
    gc.freeze()  # so that sessions share memory with their parent
    _Zygote(control, make, enclosed, taken).serve()


if __name__ == "__main__":
    main()
