"""The runner's end of the sessions: the warmed process that forks them, and the connection to one session."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final

from thread_cli.contracts.errors import InterpreterFailed
from thread_cli.contracts.interpreter import SessionDead
from thread_cli.distribution import at_home
from thread_cli.interpreters.session_folder import remove
from thread_cli.interpreters.session_values import HEADER, parsed, sizes

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from thread_cli.contracts.interpreter import Names

__all__ = ["JUNK", "Connection", "Scheduled", "Zygote", "dead"]

JUNK: Final = "it wrote junk to its connection"
_ASK_PERSONALITY: Final = 0xFFFFFFFF
_ADDR_NO_RANDOMIZE: Final = 0x0040000
_CHUNK: Final = 1 << 18
_LOOKS: Final = 20
_PATIENCE: Final = 0.2
"""Seconds for a process to end after its connection closed."""
_PROGRAM: Final = Path(__file__).with_name("session_zygote.py")
"""Run as a script: `python -m` calls a module from C code, and CPython 3.12 counts such calls. Code that recurses
without end would end in another error than in a script.
"""
_ENVIRONMENT: Final = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""The environment variables that sessions get, besides the paths of packages: the runner's keys and tokens are not
among them.
"""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """How the kernel has scheduled a session so far."""

    ran: float = 0.0
    """Seconds on a processor."""
    waited: float = 0.0
    """Seconds of waiting for a processor; the kernel adds a wait once it is over."""
    ready: bool = False
    """Whether the session is on a processor now, or waits for one."""


class Zygote:
    """The warmed process. It ends when this process does, even if this process is killed."""

    _shared: ClassVar[dict[str, Zygote]] = {}
    _sharing: ClassVar[Lock] = Lock()

    def __init__(self, kind: str) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._gone = False
        self.ready = False
        """Whether it is warm."""
        self.unconfined = ""
        """The reason for which sessions cannot be confined on this machine; empty if they can, or if that is not known
        yet.
        """
        self._control, theirs = socket.socketpair()
        with theirs, _fixed_addresses():
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, *_flags(), str(_PROGRAM), str(theirs.fileno()), kind],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                cwd="/",
                env={**_ENVIRONMENT, **_places()},
                start_new_session=True,
            )

    @classmethod
    def shared(cls, kind: str) -> Zygote:
        """The warmed process that serves this one for sessions of a kind (see `session_tools.py`), started at first
        use.
        """
        with cls._sharing:
            known = cls._shared.get(kind)
            if known is None or not known._alive():
                if known is not None:
                    known.close()
                known = cls._shared[kind] = Zygote(kind)
                atexit.register(known.close)
            return known

    def wait(self) -> None:
        """Wait until it is warm. May be called from any thread.

        Raises:
            InterpreterFailed: it does not start.
        """
        with self._lock:
            if self.ready:
                return
            said = self._answer()
            errors = self._process.stderr
            assert errors is not None  # noqa: S101 - a pipe, as asked for
            if not said:
                lines = errors.read().decode(errors="replace").split("\n")
                reason = next((line for line in lines[::-1] if line), "it ends at once")
                raise InterpreterFailed(f"sessions for code do not start: {reason}")
            errors.close()
            answer = json.loads(said)
            if "failed" in answer:
                raise InterpreterFailed(f"sessions for code do not start: {answer['failed']}")
            self.unconfined = answer["unconfined"]
            self.ready = True

    def folder(self, most: int) -> str:
        """A new folder for sessions, which may hold so many bytes."""
        return str(self._request({"make": most})["folder"])

    def remove(self, folder: str) -> None:
        """Remove a folder, and end the sessions in it."""
        try:
            self._request({"remove": folder})
        except InterpreterFailed:
            remove(folder)

    def open(self, **options: Any) -> Connection:
        """Fork a session: `folder`, `readable`, `confined`, `memory` and `file_size` in bytes."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                answer = self._request({"open": options}, theirs.fileno())
            except BaseException:
                ours.close()
                raise
        return Connection(self, ours, int(answer["pid"]))

    def ended(self, pid: int) -> str | None:
        """The way in which a session ended; None if it has not."""
        how = self._request({"ended": pid})["how"]
        return None if how is None else str(how)

    def end(self, pid: int) -> None:
        """End a session, without waiting for it."""
        with contextlib.suppress(OSError), self._lock:
            self._control.sendall(json.dumps({"end": pid}).encode() + b"\n")

    def close(self) -> None:
        """End it with all its sessions, and wait for that."""
        if self._pid != os.getpid():
            return
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()

    def _alive(self) -> bool:
        return self._pid == os.getpid() and not self._gone and self._process.poll() is None

    def _answer(self) -> bytes:
        said = b""
        while not said.endswith(b"\n"):
            part = self._control.recv(1 << 16)
            if not part:
                return b""
            said += part
        return said

    def _request(self, request: Mapping[str, Any], descriptor: int | None = None) -> dict[str, Any]:
        data = json.dumps(request).encode() + b"\n"
        try:
            with self._lock:
                sent = socket.send_fds(self._control, [data], [] if descriptor is None else [descriptor])
                self._control.sendall(data[sent:])
                said = self._answer()
        except OSError:
            said = b""
        if not said:
            self._gone = True
            raise InterpreterFailed("the parent of the sessions is gone")
        answer = json.loads(said)
        if "failed" in answer:
            raise InterpreterFailed(f"no session can be opened: {answer['failed']}")
        return answer


class Connection:
    """The runner's end of one session.

    `known` are the names in it, with the runner's values and kept bytes. `tame`: all code that it ran leaves no trace;
    `used`: it has served another thread before; `forgets`: it has to forget that thread yet; `lost`: it holds an object
    that could not be copied to another session.
    """

    def __init__(self, zygote: Zygote, link: socket.socket, pid: int) -> None:
        self._zygote = zygote
        self._link = link
        self._pid = pid
        self._link.setblocking(False)
        self._ended = False
        self._parts = bytearray()
        """The part of the next message that has come."""
        self.known: dict[str, tuple[Any, Any]] = {}
        self.state: Any = None
        self.tame = True
        self.used = False
        self.forgets = False
        self.lost = False

    def idle(self) -> bool:
        """Whether it waits for code: it has neither ended, nor sent a message without a request, nor left threads
        running.
        """
        try:
            self._link.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self.tame or self._is_alone()
        except OSError:
            pass
        return False

    def begin(self, data: bytes) -> memoryview:
        """Send as much of a message as can be sent without waiting; returns the rest."""
        try:
            return memoryview(data)[self._link.send(data) :]
        except OSError:  # if it has ended, `ask` says so
            return memoryview(data)

    async def ask(self, rest: memoryview) -> tuple[dict[str, Any], Names]:
        """Send the rest of a message, and wait for the answer; raises as `receive` does."""
        if rest:
            try:
                await asyncio.get_running_loop().sock_sendall(self._link, rest)
            except OSError:
                raise SessionDead(await self._death()) from None
        return await self.receive()

    def forget(self) -> None:
        """Have the session forget its thread with the next code that it runs."""
        self.known.clear()
        self.state = None
        self.used, self.lost, self.forgets = True, False, True

    async def receive(self) -> tuple[dict[str, Any], Names]:
        """The next message: its content, and the values of its names.

        Raises:
            SessionDead: it has ended, or its data are no message.
        """
        while (message := self._message()) is None:
            try:
                part = await asyncio.get_running_loop().sock_recv(self._link, _CHUNK)
            except OSError:
                part = b""
            if not part:
                raise SessionDead(await self._death())
            self._parts += part
        return message

    def received(self) -> tuple[dict[str, Any], Names] | None:
        """The next message, if all of it has come; what has come of it is kept. Raises as `receive` does."""
        try:
            while part := self._link.recv(_CHUNK):
                self._parts += part
        except OSError:  # there is no more for now; if it has ended, `receive` says so
            pass
        return self._message()

    def _message(self) -> tuple[dict[str, Any], Names] | None:
        parts = self._parts
        try:
            if len(parts) < HEADER.size:
                return None
            body, rest = sizes(bytes(parts[: HEADER.size]))
            length = HEADER.size + body + rest
            if len(parts) < length:
                return None
            if len(parts) > length:
                raise ValueError("more than a message")  # noqa: TRY301 - as any other junk
            self._parts = bytearray()
            return parsed(bytes(parts[HEADER.size : HEADER.size + body]), bytes(parts[HEADER.size + body :]))
        except (ValueError, TypeError, RecursionError):
            raise SessionDead(dead(JUNK)) from None

    def end(self) -> None:
        """End the session. May be called twice."""
        if not self._ended:
            self._ended = True
            self._link.close()
            self._zygote.end(self._pid)

    async def _death(self) -> str:
        for _ in range(20):
            how = self._zygote.ended(self._pid)
            if how is not None:
                return dead(how)
            await asyncio.sleep(_PATIENCE / 20)
        return dead("it closed its connection")

    def _is_alone(self) -> bool:
        """Whether it has one OS thread; threads that have just ended are visible for a moment still."""
        for _ in range(_LOOKS):
            if self._threads() == 1:
                return True
            time.sleep(0.001)
        return False

    def answered(self, milliseconds: int = 0) -> bool:
        """Whether it sends data within so many milliseconds; the event loop is blocked meanwhile."""
        waiting = select.poll()
        waiting.register(self._link, select.POLLIN)
        return bool(waiting.poll(milliseconds))

    def scheduled(self) -> Scheduled:
        """How the kernel has scheduled it so far; nothing is known outside Linux."""
        if sys.platform != "linux":
            return Scheduled()
        try:
            ran, waited = Path(f"/proc/{self._pid}/schedstat").read_text().split()[:2]
            state = Path(f"/proc/{self._pid}/stat").read_text().rpartition(") ")[2][:1]
        except (OSError, ValueError):
            return Scheduled()
        return Scheduled(int(ran) / 1e9, int(waited) / 1e9, state == "R")

    def _threads(self) -> int:
        if sys.platform != "linux":
            return 1
        try:
            return len(os.listdir(f"/proc/{self._pid}/task"))  # noqa: PTH208 - several times quicker
        except OSError:
            return 0


@contextlib.contextmanager
def _fixed_addresses() -> Generator[None]:
    """Start programs without address randomisation inside the block: some hashes, and so the order of sets, depend on
    addresses.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    before = libc.personality(_ASK_PERSONALITY)
    if before >= 0:
        libc.personality(before | _ADDR_NO_RANDOMIZE)
    try:
        yield
    finally:
        if before >= 0:
            libc.personality(before)


def _flags() -> list[str]:
    return ["-P", "-s"] if sys.flags.no_user_site else ["-P"]


def _places() -> dict[str, str]:
    """The paths of this package and the libraries, as in this process, and the folder in which sessions' folders are
    made.
    """
    own = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    home = at_home(Path("~"))
    known = {name: os.environ.get(name, "") for name in ("PYTHONUSERBASE", "TMPDIR")}
    return {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *own]),
        "HOME": str(home) if home.is_absolute() else "/",
        **{name: path for name, path in known.items() if Path(path).is_absolute()},
    }


def dead(how: str) -> str:
    """One line that says how a session ended."""
    return f"SessionDead: the session ended under the code: {how}"
