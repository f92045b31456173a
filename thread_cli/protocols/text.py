"""Text handling that all backends share: cutting at stop strings, and estimating tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.model import StopReason

__all__ = ["cut_at_stop", "estimated_tokens", "meaning", "stopped"]


def stopped(text: str, stop: Sequence[str]) -> tuple[str, str] | None:
    """`text` up to its earliest stop string, and that string; None if it has no stop string."""
    found = [(at, index) for index, string in enumerate(stop) if (at := text.find(string)) >= 0]
    if not found:
        return None
    at, index = min(found)
    return text[:at], stop[index]


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, StopReason] | None:
    """`text` up to its earliest stop string, and that string's meaning; None if it has no stop string."""
    found = stopped(text, stop)
    return found and (found[0], meaning(found[1], stop))


def meaning(string: str, stop: Sequence[str]) -> StopReason:
    """The meaning of a stop string: the first of them is ω_listen."""
    return "listen" if string == stop[0] else "end"


def estimated_tokens(text: str) -> int:
    """A count of tokens where there is no tokenizer: one for four characters, at least one."""
    return max(1, -(-len(text) // 4))
