"""The program of an environment's own process: it makes one object and calls its methods, one after the other.

Messages are pickles, each after its length. Nothing but this module writes to their channel: standard output is
discarded, and the runner keeps the last lines of standard error.
"""

from __future__ import annotations

import fcntl
import functools
import importlib
import os
import pickle
import select
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HEADER", "main", "packed"]

HEADER: Final = 8
"""Bytes of a message's length, the most significant first."""


def packed(message: object) -> bytes:
    """A message in the channel's format: its length and its pickle.

    Raises:
        Exception: `pickle` cannot write the message.
    """
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(body).to_bytes(HEADER, "big") + body


def main(channel: int, lifeline: int) -> None:
    """Serve the runner until it closes the channel.

    The first message is `(sys.path, "module:callable", arguments)` and makes the object, each other one is
    `(method, arguments)`. Answers are `("done", result)`, `("user", message)` for a `UserError`, and
    `("failed", message, trace)`.
    """
    os.set_inheritable(channel, False)
    os.set_inheritable(lifeline, False)
    # A process forked here must not keep the channel open when this one has died.
    os.register_at_fork(after_in_child=functools.partial(os.close, channel))
    _end_with_the_runner(lifeline)
    sys.path[:], factory, arguments = _received(channel)
    module, _, name = factory.partition(":")
    made: list[Any] = []
    _answer(channel, lambda: made.append(getattr(importlib.import_module(module), name)(*arguments)))
    while True:
        method, arguments = _received(channel)
        _answer(channel, functools.partial(_call, made[0], method, arguments))


def _call(made: object, method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(made, method)(*arguments)


def _end_with_the_runner(lifeline: int) -> None:
    """Have this process and its children killed when the runner's end of the lifeline is closed, however it ends.

    The kernel does it, so this works also while the process is stopped or stuck. Outside Linux, where the kernel
    cannot, the process ends when its call has returned.
    """
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        closed, _, _ = select.select([lifeline], [], [], 0)
        if closed:
            sys.exit()


def _answer(channel: int, work: Callable[[], Any]) -> None:
    try:
        message = packed(("done", work()))
    except UserError as error:
        message = packed(("user", error.message))
    except Exception as error:  # noqa: BLE001 - whatever an adapter raises is told to the runner
        message = packed(("failed", f"{type(error).__name__}: {error}", traceback.format_exc()))
    left = memoryview(message)
    while left:
        left = left[os.write(channel, left) :]


def _received(channel: int) -> Any:
    return pickle.loads(_read(channel, int.from_bytes(_read(channel, HEADER), "big")))  # noqa: S301 - from our runner


def _read(channel: int, length: int) -> bytes:
    """Exactly `length` bytes; ends this process at the end of the channel."""
    read = bytearray()
    while len(read) < length:
        part = os.read(channel, min(length - len(read), 1 << 20))
        if not part:
            sys.exit()
        read += part
    return bytes(read)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
