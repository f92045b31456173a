"""Streams of a model's text: their sum, and streams made from calls that pass on pieces through a callback."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, cast

from thread_cli.contracts.errors import ModelError
from thread_cli.contracts.model import Completion, Piece, Streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence

    from thread_cli.contracts.model import Model, Request, Usage

    Tell = Callable[[Piece], None]

__all__ = ["Telling", "again", "asked", "completed", "poured"]


async def asked(model: Model, request: Request, tell: Tell | None) -> Completion:
    """Call a model on behalf of another call: with `completed` if that call passes on pieces (`tell`), else with
    `complete`.

    Raises:
        ModelError: as the model does.
    """
    return await (model.complete(request) if tell is None else completed(model, request, tell))


async def completed(model: Model, request: Request, tell: Tell | None = None) -> Completion:
    """Call a model; `tell` gets the pieces, where the model streams.

    Such a call ends in a completion also if the caller's task is cancelled: its `stop` is `cut` then, and the caller
    has to end as well. A model that does not stream passes the cancellation on.

    Raises:
        ModelError: as the model does; its stream ended without a completion, or what it answered is none.
    """
    if not _streams(type(model)):
        return _sound(await model.complete(request))
    parts = cast("Streams", model).stream(request)
    try:
        async for part in parts:
            if isinstance(part, Completion):
                return _sound(part)
            if tell is not None:
                tell(part)
    finally:
        await parts.aclose()
    raise ModelError("the model's stream ended without a completion")


def _sound(written: object) -> Completion:
    """A model's answer; raises ModelError where it is no completion of a text."""
    if isinstance(written, Completion) and isinstance(written.text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        return written
    raise ModelError(f"what the model answered is no completion: {written!r:.80}")


@cache
def _streams(kind: type[Model]) -> bool:
    """Whether models of that type stream. The check takes longer than starting a thread, so it is cached."""
    return issubclass(kind, Streams)


async def poured(call: Callable[[Tell], Coroutine[None, None, Completion]]) -> AsyncGenerator[Piece | Completion]:
    """Make a stream of a call that passes on its pieces, and that returns the text so far where it is cancelled.

    Text for which the call passed on no piece is passed on at its end, so that the pieces join to the whole text.
    """
    pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
    received = _Received()
    task = asyncio.get_running_loop().create_task(call(pieces.put_nowait))
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        while (piece := await pieces.get()) is not None:
            yield received.add(piece)
        completion = await task
    except asyncio.CancelledError:
        task.cancel()
        completion = await _given_up(task)
    finally:
        if not task.done():  # nobody listens any more
            task.cancel()
            await asyncio.wait([task])
    while not pieces.empty():
        if (piece := pieces.get_nowait()) is not None:
            yield received.add(piece)
    if (rest := received.rest(completion)) is not None:
        yield rest
    yield completion


@dataclass(slots=True)
class _Received:
    """The texts and tokens of a stream's pieces so far."""

    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    tokens: int = 0
    """Tokens of all pieces, lost ones included."""

    def add(self, piece: Piece) -> Piece:
        if piece.anew:
            self.texts, self.thoughts = [], []
        self.texts.append(piece.text)
        self.thoughts.append(piece.reasoning)
        self.tokens += piece.tokens
        return piece

    def rest(self, completion: Completion) -> Piece | None:
        """A last piece with the rest of a completion; None where the pieces have all of it."""
        text, thought = "".join(self.texts), "".join(self.thoughts)
        if (text, thought) == (completion.text, completion.reasoning):
            return None
        tokens = max(0, completion.usage.generated - self.tokens)
        if completion.text.startswith(text) and completion.reasoning.startswith(thought):
            return Piece(completion.text[len(text) :], completion.reasoning[len(thought) :], tokens)
        return Piece(completion.text, completion.reasoning, tokens, anew=True)


async def _given_up(task: asyncio.Task[Completion]) -> Completion:
    """The completion of a cancelled call; a call that failed in that moment counts as cancelled too."""
    try:
        return await task
    except Exception as error:
        usage: Usage | None = getattr(error, "usage", None)
        if usage is None:
            raise asyncio.CancelledError from error
        return Completion("", "cut", usage)


@dataclass(slots=True)
class Telling:
    """Passes on the new part of a growing text, and holds an end back that may turn out to begin a stop string."""

    tell: Tell
    stop: Sequence[str] = ()
    text: str = ""
    reasoning: str = ""
    tokens: int = 0

    def grown(self, text: str, reasoning: str, tokens: int, *, ended: bool = False) -> None:
        """Pass on the text that is new since the last call. `tokens` counts all so far; `ended`: no more text will
        come.
        """
        certain = text if ended else text[: len(text) - _begun(text, self.stop)]
        anew = not (text.startswith(self.text) and reasoning.startswith(self.reasoning))
        if anew:
            self.text, self.reasoning, self.tokens = "", "", 0
        elif len(certain) <= len(self.text) and reasoning == self.reasoning:
            return
        certain = max(certain, self.text, key=len)
        new = tokens - self.tokens
        self.tell(Piece(certain[len(self.text) :], reasoning[len(self.reasoning) :], max(0, new), anew))
        self.text, self.reasoning, self.tokens = certain, reasoning, tokens


def _begun(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end of a text may turn out to begin a stop string."""
    longest = min(len(text), max(map(len, stop), default=1) - 1)
    return next((size for size in range(longest, 0, -1) if any(each.startswith(text[-size:]) for each in stop)), 0)


def again(tell: Tell) -> Tell:
    """A `tell` that marks its first piece as one with which the text begins anew."""
    first = True

    def tell_marked(piece: Piece) -> None:
        nonlocal first
        tell(replace(piece, anew=True) if first else piece)
        first = False

    return tell_marked
