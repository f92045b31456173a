"""Finds out about an API model by asking it: the shape of calls that works, its limits and its usage reports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.model import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from thread_cli.models.openai import OpenAIModel

__all__ = ["probed"]

_ASKED: Final = Request(
    q="Numbers in order, one line each list.\n1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12\n",
    c="21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32\n",
    y="41, 42, 43,",
    stop=("47", "\n#END#"),
    max_tokens=24,
    seed=1,
    max_reasoning=1000,
)


async def probed(model: OpenAIModel) -> AsyncIterator[tuple[str, str]]:
    """Ask a few small questions; yields what was found, each a name and a value in words.

    Raises:
        Transient, ThreadFailure: the model cannot be asked.
    """
    done = await model.complete(_ASKED)
    learnt = model.learnt
    yield "endpoint and shape", learnt.shape.value
    yield "begun answer", "continued" if done.text.lstrip().startswith("44") else f"not continued: {done.text!r:.60}"
    yield "parameters not sent", ", ".join(sorted(learnt.rejected)) or "none"
    ending = {"listen": "and says at which", "end": "and says at which"}.get(done.stop, "and does not say at which")
    if "stop" in learnt.rejected:
        yield "stop strings", "looked for here alone"
    elif learnt.stops:
        yield "stop strings", f"{learnt.stops}, cut here ({done.stop})"
    else:
        yield "stop strings", f"stops ({done.stop}), {ending}"
    if done.usage.prompt:
        yield "usage in streams", f"{done.usage.prompt} prompt and {done.usage.generated} generated tokens"
    else:
        yield "usage in streams", "none"
    again = await model.complete(replace(_ASKED, y=f"{_ASKED.y} 44, 45,"))
    known = again.usage.prompt and again.usage.cached_known
    cached = f"{again.usage.cached} of {again.usage.prompt} at the second call" if known else "not told"
    yield "cached tokens", cached
    if note := done.usage.note or again.usage.note:
        yield "reading of its numbers", note
    yield "reasoning", "seen, counted apart" if learnt.reasons else "not seen"
    yield "context", f"{learnt.room.tokens:,} tokens" if learnt.room.tokens else "not listed"
    yield "price", "unknown" if done.usage.cost is None else f"${done.usage.cost:.6f} for the first call"
