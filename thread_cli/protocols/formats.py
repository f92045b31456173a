"""Wire formats by name. A spec is a name, with options after a colon where the format takes any: `weaver:paper`.

An option is a word, such as `paper`, or a word with a value, `calls=3`; several are separated by commas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from thread_cli.contracts.errors import UserError
from thread_cli.protocols import npr, weaver
from thread_cli.protocols.apr import AprProtocol, apr_problems
from thread_cli.protocols.checking import npr_problems, weaver_problems
from thread_cli.protocols.thread import ThreadProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from thread_cli.contracts.protocol import Protocol as WireFormat

__all__ = ["FORMATS", "Dialect", "Format", "format_of", "named"]


class Dialect(Protocol):
    """What a prompt's rules say about its wire format."""

    @property
    def start(self) -> str: ...
    @property
    def end(self) -> str: ...
    @property
    def blank_line(self) -> bool: ...
    @property
    def fence(self) -> str: ...
    @property
    def comment(self) -> str:
        """Prefix of each line of an observation of several lines."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """A wire format that a prompt can name."""

    description: str
    make: Callable[[Dialect, Mapping[str, str]], WireFormat]
    """Makes the format from the prompt's rules and the options: values by word, empty for a word alone."""
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    """The options that it takes, each with a line that says what it does."""
    rules: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Front matter that holds where a prompt in this format says nothing else, such as its ψ."""
    problems: Callable[[str], tuple[str, ...]] | None = None
    """What is wrong with a main thread's Y, in a few words each; None where only the engine checks the format."""


def _thread(dialect: Dialect, options: Mapping[str, str]) -> WireFormat:  # noqa: ARG001 - it has none
    return ThreadProtocol(
        start=dialect.start,
        end=dialect.end,
        blank_line=dialect.blank_line,
        comment=dialect.comment,
        fence=dialect.fence,
    )


def _apr(dialect: Dialect, options: Mapping[str, str]) -> WireFormat:  # noqa: ARG001 - it has no dialects
    return AprProtocol(
        calls=_number("calls", options),
        tokens=_number("tokens", options),
        keeps_calls="paper" in options,
        examples="examples" in options,
    )


def _number(option: str, options: Mapping[str, str]) -> int | None:
    value = options.get(option)
    if value is None:
        return None
    if not (value.isdecimal() and value.isascii() and len(value) < 10 and int(value)):
        raise UserError(f"the option {option!r} of a protocol is a number from 1 on, not {value!r}")
    return int(value)


def _weaver(dialect: Dialect, options: Mapping[str, str]) -> WireFormat:
    return weaver.weaver(options, start=dialect.start, end=dialect.end)


def _npr(dialect: Dialect, options: Mapping[str, str]) -> WireFormat:
    return npr.npr(options, start=dialect.start, end=dialect.end)


FORMATS: Final[dict[str, Format]] = {
    "thread": Format("THREAD: a line that ends in => acts, or spawns a thread and waits for it", _thread),
    "apr": Format(
        "APR: a block that names nodes spawns a thread for each, and is replaced by their results",
        _apr,
        {
            "paper": "the block that spawns stays in the parent's text",
            "calls": "the main thread begins with this budget of sub searches",
            "examples": "blank lines set contexts off from the few-shot prompt",
            "tokens": "each child begins with this budget of tokens, rounded up to a multiple of 512",
        },
        {"phi": "sub_search", "psi": "sub_search"},
        apr_problems,
    ),
    "weaver": Format(
        "ThreadWeaver: outlines, and a thread for each that goes on from all text so far",
        _weaver,
        weaver.OPTIONS,
        {"start": "<think>", "psi": "answer"},
        weaver_problems,
    ),
    "npr": Format(
        "NPR: a guideline of plans, a step for each that goes on from all text so far, and a takeaway",
        _npr,
        npr.OPTIONS,
        {"psi": "answer:after=</takeaway>"},
        npr_problems,
    ),
}
"""Each wire format by name."""


def format_of(spec: str, dialect: Dialect) -> WireFormat:
    """The wire format that `spec` names, with its options and the prompt's rules; raises as `named` does."""
    found, options = named(spec)
    return found.make(dialect, options)


def named(spec: str) -> tuple[Format, dict[str, str]]:
    """What `spec` names, and its options: values by word, empty for a word alone.

    Raises:
        UserError: there is no format of that name, or it does not take these options.
    """
    name, _, written = spec.partition(":")
    if name not in FORMATS:
        raise UserError(f"no protocol is called {name!r}; there are {', '.join(FORMATS)}")
    found = FORMATS[name]
    parts = [part.strip().partition("=") for part in written.split(",") if part.strip()]
    options = {word: value for word, _, value in parts}
    if unknown := sorted(options.keys() - found.options.keys()):
        raise UserError(
            f"the protocol {name!r} takes no option {unknown[0]!r}; it takes {', '.join(found.options) or 'none'}"
        )
    return found, options
