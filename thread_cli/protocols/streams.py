"""A model's text as it comes: the sum of a stream, and streams of calls that tell their pieces as they go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
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
    """Call a model on behalf of another call: as that one is, `completed` where its pieces are told, and else whole.

    Raises:
        ModelError: as the model does.
    """
    return await (model.complete(request) if tell is None else completed(model, request, tell))


async def completed(model: Model, request: Request, tell: Tell | None = None) -> Completion:
    """Call a model; `tell` gets the pieces, where the model streams.

    Such a call ends in a completion also where the caller's task is cancelled: its `stop` is `cut` then, and it is for
    the caller to end as well. A model that does not stream passes the cancellation on.

    Raises:
        ModelError: as the model does; or its stream ended without a completion.
    """
    if not _streams(type(model)):
        return await model.complete(request)
    parts = cast("Streams", model).stream(request)
    try:
        async for part in parts:
            if isinstance(part, Completion):
                return part
            if tell is not None:
                tell(part)
    finally:
        await parts.aclose()
    raise ModelError("the model's stream ended without a completion")


@cache
def _streams(kind: type[Model]) -> bool:
    """Whether models of that type stream. Python takes longer to tell than the engine to start a thread."""
    return issubclass(kind, Streams)


async def poured(call: Callable[[Tell], Coroutine[None, None, Completion]]) -> AsyncGenerator[Piece | Completion]:
    """The stream of a call that tells its pieces, and that returns what was written where it is cancelled."""
    pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
    task = asyncio.get_running_loop().create_task(call(pieces.put_nowait))
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        while (piece := await pieces.get()) is not None:
            yield piece
        completion = await task
    except asyncio.CancelledError:
        task.cancel()
        completion = await _given_up(task)
    finally:
        if not task.done():  # nobody listens any more
            task.cancel()
            await asyncio.wait([task])
    yield completion


async def _given_up(task: asyncio.Task[Completion]) -> Completion:
    """What a cancelled call has come to; one that has failed just then is no less cancelled."""
    try:
        return await task
    except Exception as error:
        usage: Usage | None = getattr(error, "usage", None)
        if usage is None:
            raise asyncio.CancelledError from error
        return Completion("", "cut", usage)


@dataclass(slots=True)
class Telling:
    """Tells what is new in a growing text, but for an end that may turn out to begin a stop string."""

    tell: Tell
    stop: Sequence[str] = ()
    text: str = ""
    reasoning: str = ""
    tokens: int = 0

    def grown(self, text: str, reasoning: str, tokens: int, *, whole: bool = False) -> None:
        """Tell what has come since the last call; `tokens` are all so far, `whole` says that no more will come."""
        certain = text if whole else text[: len(text) - _begun(text, self.stop)]
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
    """A `tell` of which the first piece says that the text begins anew."""
    first = True

    def told(piece: Piece) -> None:
        nonlocal first
        tell(replace(piece, anew=True) if first else piece)
        first = False

    return told
