"""Failures of a thread whose model reached no end: it only reasoned, or its text was cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from thread_cli.contracts.errors import LimitReached, OnlyReasoning, Repetition
from thread_cli.engine.limits import EPISODE
from thread_cli.protocols.circles import goes_round
from thread_cli.protocols.text import estimated_tokens

if TYPE_CHECKING:
    from thread_cli.contracts.model import Completion, Request

__all__ = ["refuse_cut_off", "refuse_reasoning"]


def refuse_reasoning(request: Request, written: Completion) -> None:
    """Refuse an answer of reasoning alone, unless it ends a thread that has written text before.

    Raises:
        LimitReached: the reasoning was cut off.
        OnlyReasoning: the reasoning was complete, and the thread has never written any text.
    """
    count = f"{written.usage.reasoning or estimated_tokens(written.reasoning)} tokens of reasoning and no text"
    if written.stop == "length":
        budget = request.max_tokens + request.max_reasoning
        if request.max_together is not None:
            budget = min(budget, request.max_together)
        raise LimitReached(
            "max_reasoning_tokens",
            f"the model wrote {count} within {budget} tokens; -o limits.max_reasoning_tokens=… allows more, "
            "-o model.extra={…} sends what switches the server's reasoning off",
            used=written.usage.generated,
            cap=budget,
            owner=EPISODE,
        )
    if not request.y.strip():
        raise OnlyReasoning(
            f"the model wrote {count}; -o model.extra={{…}} sends what switches the server's reasoning off"
        )


def refuse_cut_off(text: str, max_tokens: int, setting: int) -> NoReturn:
    """Refuse a text that was cut off after `max_tokens` tokens; `setting` is the configured limit.

    Raises:
        Repetition: the text goes round in circles.
        LimitReached: it does not, so more tokens might have brought it to an end.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    if goes_round(text) or (len(lines) >= 4 and len(set(lines[-4:])) <= 2):
        raise Repetition("the thread wrote the same lines again and again")
    more = f" (-o limits.max_tokens=… allows more than {setting})" if max_tokens == setting else ""
    message = f"{max_tokens} tokens were generated without a line that listens or an end{more}"
    raise LimitReached("max_tokens", message, used=max_tokens, cap=max_tokens, owner=EPISODE)
