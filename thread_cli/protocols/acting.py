"""THREAD's wire format for methods under which a model may act, but not spawn when it likes.

Both formats look like THREAD's, so that prompts, logs and displays are the same for all methods. They differ in what a
thread is allowed to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thread_cli.contracts.errors import MalformedOutput
from thread_cli.contracts.protocol import Act, End
from thread_cli.protocols.thread import LISTEN, ThreadProtocol

if TYPE_CHECKING:
    from thread_cli.contracts.model import StopReason

__all__ = ["ActingProtocol", "DirectProtocol"]


class ActingProtocol(ThreadProtocol):
    """Threads think, act and end; one that would spawn is told that it cannot. A method's own threads decide moves."""

    def read(self, y: str, stop: StopReason) -> Act | End:
        move = super().read(y, stop)
        if isinstance(move, Act | End):
            return move
        raise MalformedOutput("there is no other thread to ask: act with a line that begins with >, or end")


class DirectProtocol(ThreadProtocol):
    """A thread has one line at a time: an action where it begins with `>`, else the answer, which ends the thread.

    A line ends where it listens or breaks, so there is no place to reason in, no code but actions, no fence.
    """

    def __init__(self, *, start: str, end: str, **rules: Any) -> None:
        super().__init__(start=start, end=end, **rules)
        self.stop = (LISTEN, end, "\n")

    def read(self, y: str, stop: StopReason) -> Act | End:  # noqa: ARG002 - a line says itself what it is
        line = y.rpartition("\n")[2]
        if not line.strip():
            raise MalformedOutput("the line is empty: write an action, which begins with >, or the answer")
        if line.lstrip("# ").startswith(">"):
            return Act(line.lstrip("# ").lstrip("> ").strip())
        return End()

    def body(self, text: str, stop: StopReason) -> str:  # noqa: ARG002
        return ""
