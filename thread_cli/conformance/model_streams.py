"""Requirements on a backend that streams, as checks of the suite in `models.py`. The contract is that of `Streams`.

A backend that does not stream is asked nothing; the checks say that they do not apply.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from thread_cli.conformance.model_case import ASKED
from thread_cli.conformance.verdicts import NotApplicable, require
from thread_cli.contracts.model import Completion, Piece, Streams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from thread_cli.contracts.model import Model, Request

__all__ = ["STREAMS"]

_ENDLESS: Final = replace(ASKED, stop=("\x00",), max_tokens=2000)
_CUT_AFTER: Final = 3
"""Pieces that are waited for before a stream is cancelled."""
_TRIES: Final = 3
"""A call may end in the very moment in which it is cancelled; hardly so many times in a row."""
_AT_ONCE: Final = 8
_LEAVES: Final = 5.0
"""Seconds in which all that worked for a stream must have ended."""
_SPECIAL: Final = 8
"""Tokens of a stop string, and special ones, that a call may count and no piece tells."""


@dataclass
class _Heard:
    """All pieces of a stream, and its completion."""

    parts: list[Piece | Completion] = field(default_factory=list[Piece | Completion])
    cancelled: bool = False
    """Whether it was cancelled while something was awaited in it."""

    @property
    def completion(self) -> Completion:
        done = [part for part in self.parts if isinstance(part, Completion)]
        require(done, f"the stream ends without a completion, after {len(self.parts)} pieces")
        require(self.parts[-1:] == done, "the stream goes on after its completion")
        return done[0]

    @property
    def pieces(self) -> list[Piece]:
        return [part for part in self.parts if isinstance(part, Piece)]

    @property
    def lasting(self) -> list[Piece]:
        """The pieces from the last one on with which the text begins anew."""
        begun = max((place for place, piece in enumerate(self.pieces) if piece.anew), default=0)
        return self.pieces[begun:]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.lasting)

    @property
    def reasoning(self) -> str:
        return "".join(piece.reasoning for piece in self.lasting)

    def require_joined(self) -> Completion:
        """Require that it ends in one completion, to whose text the pieces join."""
        done = self.completion
        require(self.text == done.text, f"the pieces tell {self.text[-60:]!r}, the completion {done.text[-60:]!r}")
        return done


async def _read_stream(
    model: Model, request: Request, *, cut_after: int | None = None, left_after: int | None = None
) -> _Heard:
    """Read a stream to its end; after so many pieces it is cancelled, or left without reading on.

    Raises:
        NotApplicable: the model does not stream.
        asyncio.CancelledError: it was cancelled, and ended without a completion.
    """
    if not isinstance(model, Streams):
        raise NotApplicable("it does not stream")
    heard, task = _Heard(), asyncio.current_task()

    def cancel() -> None:
        if task is not None and not task.done():
            heard.cancelled = task.cancel()

    async with aclosing(model.stream(request)) as parts:
        async for part in parts:
            heard.parts.append(part)
            if len(heard.parts) == left_after:
                break
            if len(heard.parts) == cut_after and isinstance(part, Piece):
                asyncio.get_running_loop().call_soon(cancel)
    return heard


async def _cancelled(model: Model, request: Request) -> _Heard:
    """A stream in a task of its own that is cancelled after some pieces."""
    task = asyncio.ensure_future(_read_stream(model, request, cut_after=_CUT_AFTER))
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()
    require(not task.cancelled(), f"cancelled after {_CUT_AFTER} pieces, the stream ends without a completion")
    return task.result()


async def _joins(model: Model, _longest: int | None) -> None:
    heard = await _read_stream(model, ASKED)
    done = heard.require_joined()
    require(done.text.strip(), "it writes nothing")
    require(done.stop != "cut", "a stream that nobody has cancelled says that it was cut")


async def _stops(model: Model, _longest: int | None) -> None:
    text = (await _read_stream(model, ASKED)).completion.text
    word = next((part for part in text.split() if len(part) > 1 and text.find(part) > 0), "")
    if not word:
        raise NotApplicable(f"it wrote nothing to stop at: {text!r:.60}")
    heard = await _read_stream(model, replace(ASKED, stop=(word, *ASKED.stop)))
    since = ""
    for piece in heard.pieces:
        since = piece.text if piece.anew else since + piece.text
        require(word not in since, f"the stop string {word!r} is told in the pieces {since[-60:]!r}")
    heard.require_joined()


async def _counts(model: Model, _longest: int | None) -> None:
    heard = await _read_stream(model, ASKED)
    done, tokens = heard.completion, [piece.tokens for piece in heard.lasting]
    require(min(tokens, default=0) >= 0, f"a piece has {min(tokens, default=0)} tokens")
    all_, written = sum(tokens), done.usage.generated
    require(all_ <= written, f"the pieces have {all_} tokens together, the completion {written}")
    if not done.retries:  # whose lost answers are counted too
        least = min(len(tokens), written - _SPECIAL)
        require(all_ >= least, f"{len(tokens)} pieces have {all_} tokens together, the completion {written}")


async def _cut(model: Model, _longest: int | None) -> None:
    heard = await _cancelled(model, _ENDLESS)
    for _ in range(_TRIES - 1):
        if heard.completion.stop != "cut":
            heard = await _cancelled(model, _ENDLESS)
    if heard.completion.stop != "cut":
        require(not heard.cancelled, f"a stream that was cancelled ends with stop {heard.completion.stop!r}")
        raise NotApplicable(f"it told all in {len(heard.pieces)} pieces, before it could be cancelled")
    done, tokens = heard.require_joined(), sum(piece.tokens for piece in heard.lasting)
    least = max(1, tokens)
    require(done.usage.generated >= least, f"{least} tokens were told and {done.usage.generated} are charged")
    require((await model.complete(ASKED)).text.strip(), "after a stream was cancelled it writes nothing")


async def _at_once(model: Model, _longest: int | None) -> None:
    requests = [replace(ASKED, c=f"{n}1, {n}2, {n}3\n", thread=f"0.{n}") for n in range(_AT_ONCE)]
    for heard in await asyncio.gather(*(_read_stream(model, request) for request in requests), return_exceptions=True):
        if isinstance(heard, BaseException):
            raise heard
        require(heard.require_joined().text.strip(), f"of {_AT_ONCE} streams at once one writes nothing")


async def _leaves(model: Model, _longest: int | None) -> None:
    await _read_stream(model, ASKED)  # tasks and files that the first call starts once and for all may stay
    before = asyncio.all_tasks()
    for count in (1, 2):
        await _read_stream(model, _ENDLESS, left_after=count)
    if left := asyncio.all_tasks() - before:
        _, left = await asyncio.wait(left, timeout=_LEAVES)
    require(not left, f"of streams that were not read to the end {len(left)} tasks still run: {list(left)!s:.160}")
    (await _read_stream(model, ASKED)).require_joined()


async def _reasons(model: Model, _longest: int | None) -> None:
    heard = await _read_stream(model, ASKED)
    done = heard.completion
    if not done.reasoning and not heard.reasoning:
        raise NotApplicable("it wrote no reasoning that could be seen")
    thought = heard.reasoning
    require(thought == done.reasoning, f"the pieces tell the reasoning {thought!r:.60}, not {done.reasoning!r:.60}")


STREAMS: Final[dict[str, Callable[[Model, int | None], Awaitable[None]]]] = {
    "streams pieces that join to the text": _joins,
    "tells no stop string in a piece": _stops,
    "counts the tokens of pieces": _counts,
    "ends a cancelled stream in what was written": _cut,
    "streams 8 calls at once": _at_once,
    "leaves nothing running where nobody listens": _leaves,
    "tells reasoning in pieces": _reasons,
}
"""The checks of a stream, by name; each is given a model, and the tokens of the longest prompt where they are known."""
