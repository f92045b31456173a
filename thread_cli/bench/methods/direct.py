"""Acting without reasoning: ReAct with the thoughts left out."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Final

from thread_cli.bench.methods.react import React
from thread_cli.contracts.events import Recorded
from thread_cli.contracts.model import Piece
from thread_cli.protocols.acting import DirectProtocol
from thread_cli.protocols.streams import asked, poured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from thread_cli.contracts.model import Completion, Model, Request

__all__ = ["Direct"]

_BLANK: Final = 4
"""Blank lines after which one is taken for all that the model has to say."""


class Direct(React):
    """One thread that writes nothing but actions and an answer (the `Act` baseline of arXiv 2210.03629)."""

    name = "direct"
    description = "one thread of actions and an answer, no reasoning (`Act` in arXiv 2210.03629)"
    prompt_name = "direct"
    format = DirectProtocol

    def model(self, model: Model) -> Model:
        # A recorded answer already has its blank lines.
        return model if isinstance(model, Recorded) else _PastBlankLines(model)


class _PastBlankLines:
    """A model whose blank lines before its line do not count as that: it is asked to go on after them."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """The next line, with the blank ones before it; raises as the model does."""
        return poured(lambda tell: self._line(request, tell))

    async def complete(self, request: Request) -> Completion:
        """The next line, with the blank ones before it; raises as the model does."""
        return await self._line(request)

    async def _line(self, request: Request, tell: Callable[[Piece], None] | None = None) -> Completion:
        blank = ""
        parts: list[Completion] = []
        while True:
            written = await asked(self._model, replace(request, y=request.y + blank), tell)
            parts.append(written)
            if written.text.strip() or written.stop in {"listen", "length", "cut"} or len(parts) == _BLANK:
                return replace(
                    written,
                    text=blank + written.text,
                    usage=reduce(lambda earlier, usage: usage.and_earlier(earlier), [part.usage for part in parts]),
                    waited=sum(part.waited for part in parts),
                    retries=sum(part.retries for part in parts),
                )
            blank += f"{written.text}\n"
            if tell is not None:
                tell(Piece("\n", tokens=0))

    async def close(self) -> None:
        """Release nothing: the model belongs to whoever has opened it."""
