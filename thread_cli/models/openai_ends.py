"""The meaning of `finish_reason`, in the words of many servers.

Only words that a protocol defines as a normal end count as one. A server that gave up, a filter, and unknown words are
failures, so that half an answer never passes for a complete one.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

__all__ = ["End", "end_of"]


class End(Enum):
    """What a `finish_reason` means."""

    stop = auto()
    """The model ended its text, or wrote a stop string."""
    length = auto()
    """As many tokens as were asked for."""
    context = auto()
    """The context is full."""
    withheld = auto()
    """A filter keeps the answer back; asking again would not help."""
    broken = auto()
    """The server gave up, or the word is unknown; asking again may help."""


_STOP: Final = "stop eos eos_token end_of_text stop_sequence stop_token end_turn complete completed"
_LENGTH: Final = "length max_tokens max_output_tokens max_new_tokens"
_CONTEXT: Final = "model_length model_context_window_exceeded context_length context_length_exceeded"
_WITHHELD: Final = (
    "content_filter content_filtered safety refusal sensitive recitation blocklist prohibited_content spii"
    " guardrail_intervened guardrails content_moderation moderation"
)
_MEANING: Final = {
    word: end
    for words, end in ((_STOP, End.stop), (_LENGTH, End.length), (_CONTEXT, End.context), (_WITHHELD, End.withheld))
    for word in words.split()
}


def end_of(finish_reason: str) -> End:
    """The meaning of a `finish_reason`, however it is spelled."""
    word = finish_reason.strip().replace("-", "_").lower()
    return _MEANING.get(word) or _MEANING.get(word.removeprefix("finish_reason_").removeprefix("reason_"), End.broken)
