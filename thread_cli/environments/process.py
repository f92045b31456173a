"""Runs an object in a process of its own: the object may crash, hang, leak or print, and the runner goes on.

The process leads a group and a session of its own, so Ctrl-C does not reach it, and every process that it started ends
with it. It is killed when a call is cancelled or takes too long, when the runner ends in whatever way, and after some
episodes, since only that frees memory that an adapter's packages leak.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.environments.worker import HEADER, packed

if TYPE_CHECKING:
    import io

__all__ = ["OwnProcess"]

_WORKER: Final = "thread_cli.environments.worker"
_TAIL: Final = 4096  # bytes of standard error
_LAST_LINE: Final = 200  # characters
_KILLING: Final = 10.0  # seconds


class OwnProcess:
    """An object in a process of its own. Its methods are plain functions, called one at a time.

    Args:
        factory: `package.module:callable`, which makes the object there.
        arguments: of the factory; they are pickled, as are arguments of calls and all results.
        recycle_after: episodes after which a fresh process takes over.
        seconds: longest time that one call, or starting, may take.
    """

    def __init__(self, factory: str, *arguments: Any, recycle_after: int = 20, seconds: float = 60) -> None:
        self.seconds = seconds
        self._making = (factory, arguments)
        self._recycle_after = recycle_after
        self._worker: _Worker | None = None
        self._gone = "no episode has begun"
        self._episodes = 0
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process, which is also its group; None while there is none."""
        return self._worker and self._worker.pid

    async def begin(self) -> None:
        """Begin an episode in the present process, or in a fresh one if that is due or there is no process.

        Raises:
            EnvironmentFailed: the process could not be started, or the object not be made.
            UserError: the factory raised it.
        """
        async with self._turn:
            if self._worker and (self._episodes >= self._recycle_after or not self._worker.idle):
                await self._end("its own process is being replaced")
            if self._worker is None:
                self._worker, self._episodes = _Worker(), 0
                try:
                    await self._exchange(self._worker, "starting", (sys.path, *self._making))
                except (EnvironmentFailed, UserError) as error:
                    await self._end(error.message)
                    raise
            self._episodes += 1

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object and return its result.

        Raises:
            EnvironmentFailed: the method raised an exception; or it took too long, or its process died, and now nothing
                can be called until the next `begin`.
            UserError: the method raised it.
        """
        async with self._turn:
            if self._worker is None:
                raise EnvironmentFailed(self._gone)
            return await self._exchange(self._worker, method, (method, arguments))

    async def close(self) -> None:
        """Kill the process and every process that it started. May be called twice, and while a call is running."""
        if self._worker:
            self._worker.kill()
        async with self._turn:
            await self._end("its own process has been closed")

    async def _exchange(self, worker: _Worker, what: str, message: object) -> Any:
        try:
            request = packed(message)
        except Exception as error:
            raise EnvironmentFailed(f"{what}: the arguments cannot be sent: {_line(error)}") from error
        timeout = asyncio.timeout(self.seconds)
        try:
            async with timeout:
                answer = await worker.exchange(request)
        except (EOFError, ConnectionError) as error:
            self._worker = None
            self._gone = await worker.end()
            raise EnvironmentFailed(self._gone) from error
        except TimeoutError as error:
            late = f"{what} took longer than {self.seconds:g} seconds, and its own process was killed"
            await self._end(late)
            raise EnvironmentFailed(late) from error
        except BaseException as error:
            await self._end(f"{what} was interrupted ({type(error).__name__}), and its own process was killed")
            raise
        return _result(answer)

    async def _end(self, why: str) -> None:
        worker, self._worker, self._gone = self._worker, None, why
        if worker is not None:
            await worker.end()


class _Worker:
    """One process, from its start to its end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        watched, lifeline = os.pipe()
        # The kernel kills the group when the lifeline's end here is closed, at the latest with the runner itself.
        self._channel, self._lifeline = ours, os.fdopen(lifeline, "wb", buffering=0)
        self._tail = b""
        ours.setblocking(False)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-P", "-m", _WORKER, str(theirs.fileno()), str(watched)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=(theirs.fileno(), watched),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            self._lifeline.close()
            raise EnvironmentFailed(f"its own process cannot be started: {_line(error)}") from error
        finally:
            theirs.close()
            os.close(watched)
        self._errors = cast("io.FileIO", self._process.stderr)
        os.set_blocking(self._errors.fileno(), False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._errors, self._hear)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def idle(self) -> bool:
        """Whether the process lives and has sent nothing without a request."""
        try:
            self._channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        return False

    async def exchange(self, request: bytes) -> Any:
        """Send a request; returns the answer.

        Raises:
            EOFError, ConnectionError: the process died.
        """
        await self._loop.sock_sendall(self._channel, request)
        length = int.from_bytes(await self._read(HEADER), "big")
        return pickle.loads(await self._read(length))  # noqa: S301 - from our worker

    def kill(self) -> None:
        """Kill the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> str:
        """Kill the process group and release its pipes; returns one line that says how the process died."""
        self.kill()
        self._channel.close()
        self._lifeline.close()
        self._loop.remove_reader(self._errors)
        try:
            # The process is waited for even where this task is being cancelled.
            code = await asyncio.shield(asyncio.to_thread(self._process.wait, _KILLING))
        finally:
            self._hear()
            self._errors.close()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        lines = self._tail.decode("utf-8", "replace").split("\n")
        last = next((line for line in map(" ".join, map(str.split, reversed(lines))) if line), "")
        return f"its own process {how}" + (f"; it last wrote: {last[:_LAST_LINE]}" if last else "")

    def _hear(self) -> None:
        """Keep the end of the process's standard error."""
        heard = self._errors.read(1 << 16)
        if heard:
            self._tail = (self._tail + heard)[-_TAIL:]
        elif heard is not None:
            self._loop.remove_reader(self._errors)

    async def _read(self, length: int) -> bytearray:
        read = bytearray(length)
        left = memoryview(read)
        while left:
            count = await self._loop.sock_recv_into(self._channel, left)
            if not count:
                raise EOFError
            left = left[count:]
        return read


def _result(answer: tuple[Any, ...]) -> Any:
    match answer:
        case ("done", result):
            return result
        case ("user", message):
            raise UserError(message)
        case _:
            _, message, trace = answer
            failure = EnvironmentFailed(" ".join(message.split()))
            failure.add_note(trace)
            raise failure


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
