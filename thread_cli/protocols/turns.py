"""A thread as a conversation, for servers that know chat alone.

The text before the first example of a prompt is the system message. An example becomes a user message with the context
and an assistant message with Y. For servers that cannot continue a begun answer, each feedback becomes a user message,
so that the last message always is one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from thread_cli.contracts.model import Conversation, Message
from thread_cli.protocols.thread import CLOSE, LISTEN

__all__ = ["EXAMPLE", "conversation"]

EXAMPLE: Final = re.compile(r"(?:\A|\n{3,})(?=Prompt:\n)")
"""The separator between the examples of a prompt."""
_FEEDBACK: Final = re.compile(rf"{LISTEN}(.*?){CLOSE}\s*", re.DOTALL)
_OPENED: Final = re.compile(r"\s*Prompt:\n(?P<context>.*)\n{3}Response:\n(?P<start>\S+)\n\Z", re.DOTALL)


def conversation(q: str, c: str, y: str) -> Conversation | None:
    """The conversation of a thread's prompt q, opened context c, and sequence Y; None if q does not allow one.

    q has to hold examples, each with `Prompt:`, `Response:` and the token that begins the Y of `c`.
    """
    opened = _OPENED.match(c)
    examples = None if opened is None else _examples(q, opened["start"])
    if opened is None or examples is None:
        return None
    context: Message = ("user", opened["context"])
    return Conversation(
        examples=(*examples.examples, context),
        turns=(*examples.turns, context, *_turns(y)),
    )


@lru_cache(maxsize=32)
def _examples(q: str, start: str) -> Conversation | None:
    head, *examples = EXAMPLE.split(q)
    messages: list[Message] = [("system", head.strip())] if head.strip() else []
    turns = list(messages)
    for example in examples:
        context, found, y = example.partition(f"\n\n\nResponse:\n{start}\n")
        if not found:
            return None
        question: Message = ("user", context.removeprefix("Prompt:\n"))
        messages += [question, ("assistant", y.strip())]
        turns += [question, *_turns(y.strip())]
    return Conversation(tuple(messages), tuple(turns)) if examples else None


def _turns(y: str) -> list[Message]:
    """The messages of Y. Empty messages are left out, except feedback."""
    messages: list[Message] = []
    written, *rest = _FEEDBACK.split(y)
    while rest:
        feedback, following, *rest = rest
        messages += [("assistant", written + LISTEN), ("user", feedback.strip() or CLOSE)]
        written = following
    return [*messages, ("assistant", written)] if written else messages
