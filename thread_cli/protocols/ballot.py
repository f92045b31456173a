"""The wire formats of a vote: of the thread that code writes to count it, and of a probe, which asks a thread for the
answer that it would give now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.contracts.protocol import End

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.protocol import Result, StopReason

__all__ = ["BallotFormat", "ProbeFormat"]


class ProbeFormat:
    """A thread that writes nothing but an answer, and returns it."""

    stop: tuple[str, ...] = ("\n",)

    def open(self, context: str) -> str:
        return context

    def read(self, y: str, stop: StopReason) -> End:  # noqa: ARG002
        return End()

    def body(self, text: str, stop: StopReason) -> str:  # noqa: ARG002
        return ""

    def join(self, results: Sequence[Result]) -> str:
        return "".join(f"{place}: {' '.join(result.text.split())}\n" for place, result in enumerate(results))

    def answer(self, observation: str) -> str:
        return observation

    def returns(self, y: str) -> str:
        """All that the thread wrote, on one line."""
        return " ".join(y.split())


class BallotFormat(ProbeFormat):
    """A thread that asks so many others in its first line, reads their answers, a line each, and returns the rest."""

    def __init__(self, others: int) -> None:
        self._lines = others + 1

    def open(self, context: str) -> str:
        return f"{context}\n"

    def returns(self, y: str) -> str:
        """What it wrote after their answers."""
        return "".join(y.split("\n", self._lines)[self._lines :])
