"""How long a session takes to answer, and when that is too long on a machine that is busy with other work."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from thread_cli.contracts.interpreter import Names
    from thread_cli.interpreters.session_process import Connection

__all__ = ["exchange"]

_MOMENT: Final = 2
"""Milliseconds for which the event loop stands still for an answer: most code takes no longer."""
_LEAST: Final = 1e-6
"""Seconds that code ran for at least, however long it seems to have waited for a processor."""
_GRACE: Final = 0.5
"""Seconds that a session is given to finish an answer that it has begun."""
_STARVED: Final = 20
"""How many times its time a session may take where others have the processors."""
_TURN: Final = 0.05
"""Seconds that a session is given to get a processor, before its time is counted again."""


async def exchange(session: Connection, data: bytes, seconds: float) -> tuple[dict[str, Any], Names, float]:
    """Send `data` to a session. Returns its answer, and the seconds for which it ran, without waits for a processor.

    Raises:
        TimeoutError: the session ran for `seconds` and has not answered.
    """
    began = monotonic()
    rest = session.begin(data)
    if not rest and session.answered(_MOMENT) and (said := session.received()) is not None:
        return *said, monotonic() - began
    before = last = session.scheduled()
    answer = asyncio.ensure_future(session.ask(rest))
    try:
        left = seconds
        while left > 0:
            done, _ = await asyncio.wait({answer}, timeout=left)
            now = session.scheduled()
            ran = monotonic() - began - (now.waited - before.waited)
            if done:
                return *answer.result(), max(_LEAST, ran)
            # Where the event loop stood still, the answer may be there and not have been read yet.
            left = max(seconds - ran, _GRACE * session.answered())
            if now.ready and (now.ran == last.ran or ran < seconds + _TURN):
                # It may be waiting for a processor, which the kernel tells only once it has got one.
                left = max(left, _TURN)
            last = now
            if monotonic() - began >= _STARVED * seconds:
                break
    finally:
        answer.cancel()
        await asyncio.wait({answer})
        if not answer.cancelled():
            answer.exception()  # or it would be told that nobody asked for it
    raise TimeoutError
