"""Self-consistency (arXiv 2203.11171): several branches of one question, and the answer that most of them give."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.protocol import Child, Spawn, Whole
from thread_cli.contracts.writer import Decided
from thread_cli.models.around import Around
from thread_cli.models.written import Written
from thread_cli.protocols.answers import answer_in, most_frequent
from thread_cli.protocols.ballot import BallotFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.contracts.model import Completion, Model, Piece, Request
    from thread_cli.contracts.protocol import Protocol
    from thread_cli.contracts.writer import Course, Turn

__all__ = ["NO_ANSWER", "SELF_CONSISTENCY", "TEMPERATURE", "branched"]

SELF_CONSISTENCY: Final = "self-consistency"
"""Name of the writer of the main thread."""
TEMPERATURE: Final = 0.7
"""Temperature of branches where the run's is 0: greedy branches would all be the same."""
NO_ANSWER: Final = "no branch gave an answer"
"""What the main thread returns where there is nothing to vote on."""
_SEEDS: Final = 2**31
"""Some servers take no larger seeds."""
_STRIDE: Final = 1009
"""Distance of the seeds of two runs, so that runs with adjacent seeds share no branch."""


def branched(model: Model, count: int, protocol: Protocol) -> tuple[Model, Protocol]:
    """The model and the wire format with which `count` threads answer the main thread's question, each for itself.

    `protocol` is the wire format of these branches. They draw from seeds of their own, which the run's seed decides.
    The main thread is written by code, and costs no tokens; it returns the answer that most branches give, of equals
    the one of the first branch. A branch that failed or was pruned has no vote.
    """
    return Written(_Vote(count, protocol), _Seeded(model), name=SELF_CONSISTENCY), BallotFormat(count)


class _Vote:
    """The writer of the main thread."""

    def __init__(self, count: int, protocol: Protocol) -> None:
        self._count = count
        self._protocol = protocol

    def course(self, turn: Turn) -> Course | None:
        return self._main(turn.context) if turn.depth == 0 else None

    def _main(self, question: str) -> Course:
        branch = Child(context=question, protocol=self._protocol)
        heard = yield Decided(f"{self._count} branches\n", Spawn((branch,) * self._count))
        texts = [result.text for result in heard.results if not result.failed]
        answer = most_frequent(map(answer_in, texts))
        if answer is not None and isinstance(self._protocol, Whole):
            return next(text for text in texts if answer_in(text) == answer)
        return answer or NO_ANSWER


class _Seeded(Around):
    """A model whose calls draw from a seed that belongs to their branch."""

    async def _asked(self, request: Request, tell: Callable[[Piece], None] | None = None) -> Completion:
        _, _, below = request.thread.partition(".")
        if below:
            branch = int(below.partition(".")[0])
            seed = None if request.seed is None else (request.seed * _STRIDE + branch) % _SEEDS
            request = replace(request, seed=seed, temperature=request.temperature or TEMPERATURE)
        return await super()._asked(request, tell)
