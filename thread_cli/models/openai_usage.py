"""Token counts as servers report them, and readings of counts that contradict each other.

Prompt tokens are all tokens of the prompt, cached ones included; generated tokens are all that the model wrote,
reasoning included. Servers that count otherwise are recognised by their total:

- cached tokens that are not among the prompt tokens (gateways to Anthropic) are added to them;
- reasoning that is not among the generated tokens (xAI, Gemini) is added to them.

Each such reading is named in a note. Counts that no reading makes consistent are unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Counts", "counted"]

_PROMPT: Final = ("prompt_tokens", "input_tokens", "prompt_eval_count")
_GENERATED: Final = ("completion_tokens", "output_tokens", "eval_count")
_CACHED: Final = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cached_tokens",
)
_REASONING: Final = (
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "reasoning_tokens",
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of one call. `note` says which reading was needed, empty where the numbers agree."""

    prompt: int
    cached: int
    generated: int
    reasoning: int = 0
    note: str = ""
    cached_known: bool = True
    """Whether the server reports cached tokens; without a report `cached` is 0."""


def counted(usage: Mapping[str, Any]) -> Counts | str | None:
    """Read the usage that a server reports.

    Returns:
        The counts; None if it reports none; or a line that says why its numbers are unusable.
    """
    fields = {"prompt": _PROMPT, "cached": _CACHED, "generated": _GENERATED, "reasoning": _REASONING}
    numbers = {name: _first(usage, paths) for name, paths in (*fields.items(), ("total", ("total_tokens",)))}
    wrong = next(((name, number) for name, number in numbers.items() if not _is_count(number)), None)
    if wrong is not None:
        return f"the server tells {wrong[1]!r} {wrong[0]} tokens"
    prompt, cached, generated, reasoning = (int(numbers[name] or 0) for name in fields)
    known = any(value is not None for value in _values(usage, _CACHED))
    counts = Counts(prompt, cached, generated, reasoning, cached_known=known)
    if not counts.prompt and not counts.generated:
        return None
    return _consistent(counts, int(numbers["total"] or 0))


def _consistent(counts: Counts, total: int) -> Counts | str:
    outside = total == counts.prompt + counts.cached + counts.generated if total else False
    if counts.cached > counts.prompt and total in (0, counts.prompt + counts.generated):
        outside = True
    read, notes = counts, list[str]()
    if counts.cached and outside:
        read = replace(read, prompt=counts.prompt + counts.cached)
        notes.append(f"{counts.cached} cached tokens are not among the {counts.prompt} of the prompt, and were added")
        total = 0
    hidden = total - read.prompt - read.generated if total else 0
    if hidden > 0 and (not counts.reasoning or counts.reasoning == hidden):
        read = replace(read, generated=read.generated + hidden, reasoning=counts.reasoning or hidden)
        notes.append(f"{hidden} tokens of the total are neither prompt nor text, and were read as reasoning")
    if read.cached > read.prompt or read.reasoning > read.generated or hidden < 0:
        return (
            f"the server's counts contradict each other: {counts.prompt} prompt, {counts.cached} cached, "
            f"{counts.generated} generated, {counts.reasoning} of reasoning, {total} in all"
        )
    return replace(read, note="; ".join(notes))


def _first(usage: Mapping[str, Any], paths: tuple[str, ...]) -> Any:
    """The first of these fields with a value other than 0."""
    return next((value for value in _values(usage, paths) if value), None)


def _values(usage: Mapping[str, Any], paths: tuple[str, ...]) -> list[Any]:
    """The values of these fields, None for a field that is missing."""
    values: list[Any] = []
    for path in paths:
        value: Any = usage
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType]
        values.append(value)
    return values


def _is_count(number: Any) -> bool:
    return number is None or (
        isinstance(number, (int, float))
        and not isinstance(number, bool)
        and math.isfinite(number)
        and 0 <= number == int(number)
    )
