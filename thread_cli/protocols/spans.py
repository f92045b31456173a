"""A prompt divided by origin: the few-shot prompt, contexts, text of the model, and text that the engine appended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.contracts.model import Span

if TYPE_CHECKING:
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


def _of(turn: Turn) -> list[Span]:
    parts: list[Span] = []
    if turn.inherits is not None:
        parts += [*_of(turn.inherits), Span("context", turn.opening)]
    for exchange in turn.exchanges:
        parts.append(Span("written", exchange.text, exchange.tokens))
        if exchange.removed:
            _remove(parts, exchange.removed)
        parts.append(Span("engine", exchange.read))
    parts.append(Span("written", turn.written, turn.tokens))
    return parts


def _remove(parts: list[Span], characters: int) -> None:
    """Remove so many characters from the end; a part that is cut has no token numbers any more."""
    while characters:
        last = parts.pop()
        if len(last.text) > characters:
            parts.append(Span(last.origin, last.text[:-characters]))
            return
        characters -= len(last.text)
