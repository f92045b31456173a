"""NPR's wire format (arXiv 2512.07461), as released (commit e148ad5) or as the paper says.

`<guideline> <plan>1: …</plan> … </guideline> <step>1: …</step> … <takeaway> … </takeaway>`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from thread_cli.protocols.checking import npr_problems
from thread_cli.protocols.forkjoin import ForkJoin, Grammar
from thread_cli.protocols.formats import Format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.protocols.formats import Dialect

__all__ = ["FORMAT", "OPTIONS", "npr"]

OPTIONS: Final = {"paper": "as the paper says: any number of plans; without any, the thread goes on by itself"}
"""What each option changes."""

_RELEASED: Final = Grammar(
    whole="",
    listing="guideline",
    item="plan",
    branch="step",
    seed="\n<step>\n{id}:",
    next_seed="\n<step>\n{id}:",
    after="<takeaway>\n",
    overruns=("<step>", "<takeaway>"),
    halts=True,
    widest=5,
)


def npr(dialect: Dialect, options: Mapping[str, str]) -> ForkJoin:
    """The format, with some of `OPTIONS`; without any, as released."""
    grammar = replace(_RELEASED, halts=False, widest=None) if "paper" in options else _RELEASED
    return ForkJoin(grammar, start=dialect.start, end=dialect.end, opening=dialect.opening)


FORMAT: Final = Format(
    "NPR: a guideline of plans, a step for each that goes on from all text so far, and a takeaway",
    npr,
    OPTIONS,
    rules={"psi": "answer:after=</takeaway>"},
    problems=npr_problems,
)
"""NPR's format, as prompts name it."""
