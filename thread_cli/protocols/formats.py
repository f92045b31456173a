"""The wire formats that a prompt can name, each with the options that it takes: `weaver:paper`.

Each format is declared as `FORMAT` by the module of its name, which is loaded when that format is first needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from thread_cli.contracts.protocol import Protocol as WireFormat

__all__ = ["FORMATS", "Dialect", "Format"]


class Dialect(Protocol):
    """What a prompt's rules say about its wire format."""

    @property
    def start(self) -> str: ...
    @property
    def end(self) -> str: ...
    @property
    def opening(self) -> str: ...
    @property
    def blank_line(self) -> bool: ...
    @property
    def fence(self) -> str: ...
    @property
    def several(self) -> str: ...
    @property
    def background(self) -> str: ...
    @property
    def independent(self) -> bool: ...
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
    valued: frozenset[str] = frozenset()
    """Those that have a value, as in `calls=3`; all others are a word alone."""
    rules: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Front matter that holds where a prompt in this format says nothing else, such as its ψ."""
    problems: Callable[[str, Container[str]], tuple[str, ...]] | None = None
    """The faults of a main thread's Y under these options, in a few words each; None where only the engine checks the
    format."""


FORMATS: Final = {
    name: EntryPoint(name, f"thread_cli.protocols.{name}:FORMAT", "") for name in ("thread", "apr", "weaver", "npr")
}
"""Where each `Format` is, by name: `FORMATS[name].load()`."""
