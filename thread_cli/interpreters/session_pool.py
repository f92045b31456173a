"""The pool of sessions: a thread keeps its own for as long as there is room, else it gets one without a trace of other
threads.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from thread_cli.interpreters.session_process import Connection

__all__ = ["Pool"]

_SPARE: Final = 4
_READY: Final = 4


class Pool:
    """The sessions of one interpreter.

    Args:
        most: the most sessions that are kept for threads that do not compute at the moment.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: OrderedDict[str, Connection] = OrderedDict()
        self._spare: list[Connection] = []
        self._live: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._live)

    def add(self, session: Connection) -> None:
        """Add a session, which is in use."""
        self._live.add(session)

    def own(self, thread: str) -> Connection | None:
        """The session of a thread, which is in use from then on."""
        session = self._idle.pop(thread, None)
        if session is not None and not session.idle():
            self.end(session)
            return None
        return session

    def spare(self) -> Connection | None:
        """A session that can forget the thread that it served, in use from then on."""
        while self._spare:
            session = self._spare.pop()
            if session.idle():
                return session
            self.end(session)
        return None

    def keep(self, thread: str, session: Connection) -> None:
        """Keep a session for its thread, in the place of the least recently used one."""
        if not session.idle():
            self.end(session)
            return
        self._idle[thread] = session
        # A session whose contents can be moved makes room for others early: that is quicker than opening another
        # session.
        ready = [thread for thread, each in self._idle.items() if each.tame and not each.lost]
        for other in ready[:-_READY]:
            self.release(other)
        while len(self._idle) > self._most:
            self.release(next(iter(self._idle)))

    def release(self, thread: str) -> None:
        """A thread needs its session no more: keep it for others if no trace of the thread remains, else end it."""
        session = self._idle.pop(thread, None)
        if session is None:
            return
        if session.tame and len(self._spare) < _SPARE:
            session.forget()
            self._spare.append(session)
        else:
            self.end(session)

    def end(self, session: Connection) -> None:
        """End a session."""
        self._live.discard(session)
        session.end()

    def close(self) -> None:
        """End all sessions."""
        for session in list(self._live):
            self.end(session)
        self._idle.clear()
        self._spare.clear()
