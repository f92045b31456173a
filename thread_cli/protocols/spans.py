"""A prompt divided by origin: the few-shot prompt, contexts, text of the model, and text that the engine appended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.contracts.model import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thread_cli.contracts.model import Request
    from thread_cli.contracts.writer import Turn

__all__ = ["spans"]


def spans(request: Request) -> list[Span]:
    """The parts of a request's prompt, in order; their texts join to it. A part without text is left out.

    Without the structure of its thread (`Request.turn`), Y is one part, as if the model had written all of it.
    """
    parts = [Span("few-shot", request.q), Span("context", request.c)]
    parts += [Span("written", request.y)] if request.turn is None else _of(request.turn)
    return [part for part in parts if part.text]


def _of(turn: Turn) -> Iterator[Span]:
    if turn.inherits is not None:
        yield from _of(turn.inherits)
        yield Span("context", turn.opening)
    for exchange in turn.exchanges:
        yield Span("written", exchange.text, exchange.tokens)
        yield Span("engine", exchange.read)
    yield Span("written", turn.written, turn.tokens)
