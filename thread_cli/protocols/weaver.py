"""ThreadWeaver's wire format (arXiv 2512.07843), as released (commit 2662232) or as the paper says.

`<Parallel> <Outlines> <Outline>1: …</Outline> … </Outlines> <Thread>1: …</Thread> … </Parallel>`, within `<think>`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import UserError
from thread_cli.protocols.checking import weaver_problems
from thread_cli.protocols.forkjoin import ForkJoin, Grammar
from thread_cli.protocols.formats import Format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.protocols.formats import Dialect

__all__ = ["FORMAT", "OPTIONS", "weaver"]

OPTIONS: Final = {
    "evaluation": "as the released evaluation script: doubled numbers all count, and a list of none ends the thread",
    "paper": "as the paper says: the engine writes </Parallel>, whatever ended the threads, and the model goes on",
    "conclusions": "the engine begins a <Conclusion> after the last thread",
}
"""What each option changes."""

_RELEASED: Final = Grammar(
    whole="Parallel",
    listing="Outlines",
    item="Outline",
    branch="Thread",
    seed="\n<Thread>\n{id}:",
    next_seed="<Thread>\n{id}:",
    after="\n",
    cut="\n</Parallel>",
    overruns=("<Thread>", "</Parallel>", "</think>"),
    blocks=32,
)


def weaver(dialect: Dialect, options: Mapping[str, str]) -> ForkJoin:
    """The format, with some of `OPTIONS`; without any, as the released code trains.

    Raises:
        UserError: two options exclude each other.
    """
    if "paper" in options and len(options) > 1:
        raise UserError(f"the protocol 'weaver' cannot be {' and '.join(sorted(options))} at once: paper stands alone")
    grammar = _RELEASED
    if "evaluation" in options:
        grammar = replace(grammar, doubles="all", halts=True)
    if "conclusions" in options:
        grammar = replace(grammar, after="\n<Conclusion>\n")
    if "paper" in options:
        seed = "\n<Thread> {id}:"
        grammar = replace(grammar, seed=seed, next_seed=seed, after="\n</Parallel>\n", cut=None, blocks=None)
    return ForkJoin(grammar, start=dialect.start, end=dialect.end, opening=dialect.opening)


FORMAT: Final = Format(
    "ThreadWeaver: outlines, and a thread for each that goes on from all text so far",
    weaver,
    OPTIONS,
    rules={"start": "<think>", "psi": "answer"},
    problems=weaver_problems,
)
"""ThreadWeaver's format, as prompts name it."""
