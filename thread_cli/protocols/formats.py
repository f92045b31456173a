"""The wire formats that a prompt can name, each with the options that it takes: `weaver:paper`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from thread_cli.protocols import apr, npr, weaver
from thread_cli.protocols.checking import npr_problems, weaver_problems
from thread_cli.protocols.thread import Dialect, ThreadProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from thread_cli.contracts.protocol import Protocol as WireFormat

__all__ = ["FORMATS", "Dialect", "Format"]


@dataclass(frozen=True, slots=True)
class Format:
    """A wire format that a prompt can name."""

    description: str
    make: Callable[[Dialect, Mapping[str, str]], WireFormat]
    """Makes the format from the prompt's rules and the options: values by word, empty for a word alone."""
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """The options that it takes, each with a line that says what it does."""
    valued: frozenset[str] = frozenset()
    """Those that have a value, as in `calls=3`; all others are a word alone."""
    rules: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Front matter that holds where a prompt in this format says nothing else, such as its ψ."""
    problems: Callable[[str], tuple[str, ...]] | None = None
    """The faults of a main thread's Y, in a few words each; None where only the engine checks the format."""


FORMATS: Final[dict[str, Format]] = {
    "thread": Format("THREAD: a line that ends in => acts, or spawns a thread and waits for it", ThreadProtocol.of),
    "apr": Format(
        "APR: a block that names nodes spawns a thread for each, and is replaced by their results",
        apr.apr,
        apr.OPTIONS,
        apr.VALUED,
        {"phi": "sub_search", "psi": "sub_search"},
        apr.apr_problems,
    ),
    "weaver": Format(
        "ThreadWeaver: outlines, and a thread for each that goes on from all text so far",
        weaver.weaver,
        weaver.OPTIONS,
        rules={"start": "<think>", "psi": "answer"},
        problems=weaver_problems,
    ),
    "npr": Format(
        "NPR: a guideline of plans, a step for each that goes on from all text so far, and a takeaway",
        npr.npr,
        npr.OPTIONS,
        rules={"psi": "answer:after=</takeaway>"},
        problems=npr_problems,
    ),
}
"""Each wire format by name."""
