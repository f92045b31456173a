"""A model whose threads are asked for their answers while they write.

A thread that a watcher probes is written in parts of so many tokens. After each part but the last, the move is to look
aside: a child inherits the text so far, writes the answer, and the thread goes on where it was cut off, as though
nothing had happened. So a probe is a child like any other, in the log, the tree and all sums; what was written is
evaluated once, on backends that share prefixes; and a recorded run is followed by asking for the same parts again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.protocol import Aside, Child, End
from thread_cli.contracts.watcher import Probe
from thread_cli.models.around import Around
from thread_cli.protocols.answers import closed_at
from thread_cli.protocols.ballot import ProbeFormat
from thread_cli.protocols.circles import goes_round
from thread_cli.protocols.streams import asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.contracts.model import Completion, Model, Piece, Request
    from thread_cli.contracts.watcher import Probes
    from thread_cli.contracts.writer import Exchange, Turn

__all__ = ["Probed"]

_FORMAT: Final = ProbeFormat()


class Probed(Around):
    """Has probes put to the threads that `probes` names.

    Args:
        model: writes all threads, and the answers.
        probes: says which threads are asked, and how.
    """

    def __init__(self, model: Model, probes: Probes) -> None:
        super().__init__(model)
        self._probes = probes

    async def _asked(self, request: Request, tell: Callable[[Piece], None] | None = None) -> Completion:
        turn = request.turn
        if turn is None:
            return await asked(self._model, request, tell)
        if isinstance(turn.brief, Probe):
            return replace(await self._answer(request, turn.brief, tell), move=End())
        probe = self._probes.probe(turn)
        if probe is None:
            return await asked(self._model, request, tell)
        return await self._part(request, turn, probe, tell)

    async def _part(
        self, request: Request, turn: Turn, probe: Probe, tell: Callable[[Piece], None] | None
    ) -> Completion:
        """The next part of a probed thread; it comes with the move `Aside` if the text goes on after it."""
        parts = _cut_off(turn)
        earlier = "".join(part.text for part in parts)
        # A replay knows no token numbers, so parts end at multiples of `every`: the part after a longer one is shorter.
        tokens = probe.every * len(parts)
        left = request.max_tokens - tokens
        drawn = sum(probe.every if part.tokens is None else len(part.tokens) for part in parts)
        begun = replace(request, resumes=(len(earlier), drawn))
        written = await self._unbroken(begun, max(1, min(probe.every, left) - (drawn - tokens)), tell)
        if written.stop != "length" or probe.every >= left or goes_round(earlier + written.text):
            return written
        about = f"probe after {tokens + probe.every} tokens"
        child = Child(
            context=about, inherits=True, opening=probe.opening, stop=probe.stop, protocol=_FORMAT, brief=probe
        )
        return replace(written, move=Aside((child,)))

    async def _unbroken(self, request: Request, size: int, tell: Callable[[Piece], None] | None) -> Completion:
        """The next `size` tokens, and further ones while the text may end within a stop string.

        A backend looks for stop strings in the text of one call, and finds none that two calls have written.
        """
        written = await asked(self._model, replace(request, max_tokens=size), tell)
        for _ in range(max(map(len, request.stop), default=0)):
            if written.stop != "length" or not _may_stop(written.text, request.stop):
                break
            characters, tokens = request.resumes
            more = replace(
                request,
                y=request.y + written.text,
                max_tokens=1,
                resumes=(characters + len(written.text), tokens + written.usage.generated),
            )
            written = _joined(written, await asked(self._model, more, tell), request.stop)
        return written

    async def _answer(self, request: Request, probe: Probe, tell: Callable[[Piece], None] | None) -> Completion:
        """The answer to a probe."""
        request = replace(request, temperature=0.0, max_tokens=min(probe.max_tokens, request.max_tokens))
        written = await asked(self._model, request, tell)
        if not probe.opening.endswith("{"):
            return written
        while written.stop == "listen" and _open(written.text) and request.max_tokens > written.usage.generated:
            text = written.text + probe.stop[0]
            left = request.max_tokens - written.usage.generated
            more = await asked(self._model, replace(request, y=request.y + text, max_tokens=left), tell)
            written = _joined(replace(written, text=text), more, ())
        return written


def _cut_off(turn: Turn) -> list[Exchange]:
    """The parts, in order, of the text that a thread has not finished."""
    parts: list[Exchange] = []
    for exchange in reversed(turn.exchanges):
        if exchange.read or exchange.feedback.kind != "joined":
            break
        parts.append(exchange)
    return parts[::-1]


def _may_stop(text: str, stops: tuple[str, ...]) -> bool:
    """Whether a text ends with the beginning of a stop string."""
    return any(text.endswith(stop[:size]) for stop in stops for size in range(1, len(stop)))


def _open(answer: str) -> bool:
    """Whether the bracket that ended an answer closed one of the answer's own, and not that of the opening."""
    return closed_at(f"{answer}}}", 0) != len(answer)


def _joined(written: Completion, more: Completion, stops: tuple[str, ...]) -> Completion:
    """A completion and its continuation as one, cut off at the first stop string."""
    text = written.text + more.text
    tokens = None if written.tokens is None or more.tokens is None else (*written.tokens, *more.tokens)
    joined = replace(
        more,
        text=text,
        tokens=tokens,
        usage=more.usage.and_earlier(written.usage),
        waited=written.waited + more.waited,
        retries=written.retries + more.retries,
        logprobs=None if written.logprobs is None else [*written.logprobs, *(more.logprobs or ())],
        pieces=None if written.pieces is None else [*written.pieces, *(more.pieces or ())],
    )
    found = min(((at, place) for place, stop in enumerate(stops) if (at := text.find(stop)) >= 0), default=None)
    if found is None:
        return joined
    at, place = found
    # The token numbers of a text cut within a token are unknown: it is tokenised again, as other text is.
    return replace(
        joined, text=text[:at], tokens=None, stop="end" if place else "listen", stop_string=stops[place], pieces=None,
        logprobs=None,
    )  # fmt: skip
