"""Finds out whether a server continues a begun answer, or closes it and begins another.

Many servers take a conversation that ends with the assistant's message and answer with a message of its own. No error
shows it. Two signs do: the text after a word that was left half written; and the number of prompt tokens, since closing
a message and opening the next one takes some. Only if both agree, the begun answer counts as closed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.model import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["closes_begun_answers"]

_HALF: Final = Request(
    q="The days of a week.\nMonday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday\n",
    c="The same days again, on one line.\n",
    y="Monday, Tuesday, Wednes",
    stop=(),
    max_tokens=8,
)
_REST: Final = "day"
_WORD: Final = "a"
"""A text of one token in nearly every vocabulary."""


async def closes_begun_answers(
    text: Callable[[Request], Awaitable[str | None]], prompt_tokens: Callable[[Request], Awaitable[int]]
) -> bool:
    """Whether a server closes a begun answer; False if that is not certain.

    Args:
        text: returns the server's continuation; None if the call fails.
        prompt_tokens: returns the server's count of prompt tokens; 0 if it reports none.
    """
    written = await text(_HALF)
    if written is None or written.startswith(_REST):
        return False
    plain = replace(_HALF, q="", c=_WORD, y="", max_tokens=1)
    without, with_word = await prompt_tokens(plain), await prompt_tokens(replace(plain, y=_WORD))
    return bool(without and with_word) and with_word - without > 1
