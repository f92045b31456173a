"""ϕ, which makes a child's context, and ψ, which makes the text for its parent: functions chosen by name, per prompt or
flag.

A spec is a name, with parameters after a colon where the function takes any: `last_line_after_comma:separator=; `.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from thread_cli.contracts.errors import UserError
from thread_cli.protocols.apr import node_context, search_result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PHI", "PSI", "Ended", "Spawning", "Variables", "phi", "psi"]


_TAG: Final = re.compile(r"</?[A-Za-z]+>")
_TAGS: Final = re.compile(rf"(?:\s*{_TAG.pattern})*+\s*")


class Variables(Protocol):
    """The variables of a thread."""

    def substitute(self, text: str) -> str:
        """`text` with `{name}` replaced by the value of each name that is bound.

        Raises:
            MalformedOutput: the result would be longer than any text should be.
        """
        ...


@dataclass(slots=True)
class Spawning:
    """A parent at the moment it spawns. `line` is the line that spawns, `y` all that the parent has written, `context`
    the parent's own context.
    """

    line: str
    y: str
    task: str
    names: Variables
    listen: str
    context: str = ""


@dataclass(slots=True)
class Ended:
    """A child at its end. `printed` is what its last printing statement printed."""

    y: str
    printed: str | None


def _last_line(parent: Spawning) -> str:
    """The line that spawns, values substituted, and the listen token (the paper's)."""
    return parent.names.substitute(parent.line) + parent.listen


def _last_line_after_comma(parent: Spawning, separator: str = ", ") -> str:
    """As `last_line`, without the text before the first comma (the paper's agent prompts)."""
    head, found, tail = parent.line.partition(separator)
    return parent.names.substitute(tail if found else head) + parent.listen


def _whole_sequence(parent: Spawning) -> str:
    """All that the parent has written, values substituted."""
    return parent.names.substitute(parent.y) + parent.listen


def _line_and_task(parent: Spawning) -> str:
    """The text of the task, and below it the line that spawns."""
    return f"{parent.task}\n{_last_line(parent)}"


def _node(parent: Spawning) -> str:
    """The node that the line names, and its state (APR)."""
    return node_context(parent.line, f"{parent.context}\n{parent.y}")


def _printed(child: Ended) -> str:
    """The output of the child's last `print`; a printed `{name}` stays a name (the paper's)."""
    return (child.printed or "").strip()


def _ended_last_line(child: Ended) -> str:
    """The last line that the child wrote."""
    return child.y.rstrip().rpartition("\n")[2]


def _ended_answer(child: Ended, after: str = "</think>") -> str:
    """The text after the last tag that ends thinking, else the last line without the tags around it, if it is more."""
    thought, found, answer = child.y.rpartition(after)
    if found and answer.strip():
        return answer.strip()
    lines = reversed((thought if found else child.y).split("\n"))
    return next((line for tagged in lines if (line := _untagged(tagged))), "")


def _untagged(line: str) -> str:
    """A line without the tags at its ends, in a time that grows with its length alone."""
    start = found.end() if (found := _TAGS.match(line)) else 0
    end = len(line.rstrip())
    while (at := line.rfind("<", start, end)) >= 0 and _TAG.fullmatch(line, at, end):
        end = at
        while end > start and line[end - 1].isspace():
            end -= 1
    return line[start:end]


def _ended_whole_sequence(child: Ended) -> str:
    """The child's whole Y."""
    return child.y.strip()


def _search_result(child: Ended) -> str:
    """The path to the goal, or the last line of a search without one (APR)."""
    return search_result(child.y)


PHI: Final[dict[str, Callable[..., str]]] = {
    "last_line": _last_line,
    "last_line_after_comma": _last_line_after_comma,
    "whole_sequence": _whole_sequence,
    "line_and_task": _line_and_task,
    "sub_search": _node,
}
"""Each ϕ by name: it makes a child's context from a `Spawning`; those with parameters take these as keywords."""
PSI: Final[dict[str, Callable[..., str]]] = {
    "printed": _printed,
    "last_line": _ended_last_line,
    "answer": _ended_answer,
    "whole_sequence": _ended_whole_sequence,
    "sub_search": _search_result,
}
"""Each ψ by name: it makes the text for the parent from an `Ended`."""


def phi(spec: str) -> Callable[[Spawning], str]:
    """The ϕ that `spec` names.

    Raises:
        UserError: there is none of that name, or it does not take these parameters.
    """
    return _named("ϕ", PHI, spec)


def psi(spec: str) -> Callable[[Ended], str]:
    """The ψ that `spec` names; raises as `phi` does."""
    return _named("ψ", PSI, spec)


def _named(symbol: str, registry: Mapping[str, Callable[..., str]], spec: str) -> Callable[..., str]:
    name, _, written = spec.partition(":")
    if name not in registry:
        raise UserError(f"no {symbol} is called {name!r}; there are {', '.join(registry)}")
    parts = [part.partition("=") for part in re.split(r";(?=\w+=)", written) if part]
    parameters = {key: value for key, _, value in parts}
    function = registry[name]
    takes = set(function.__code__.co_varnames[1 : function.__code__.co_argcount])
    if unknown := parameters.keys() - takes:
        raise UserError(f"the {symbol} {name!r} takes no parameter {min(unknown)!r}")
    return partial(function, **parameters)
