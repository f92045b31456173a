"""Templates: how a question is worded, and how its wording is read back.

A template holds places in braces, `In {year} was {variable} higher in {a} or {b}?`. Questions hold no comma, since
published prompts and runners drop what stands before one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Question", "Template", "ask", "read"]

_TRIES: Final = 400


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of question.

    `statistic` is the compared quantity. `form` is how: `sign` (of one number), `between` (which of two is greater or
    less), `against` (whether one is greater or less than another), `number` (asked for itself). `words` are the two
    choices, the greater or positive one first; of `between`, the word that tells which one is sought.
    """

    name: str
    text: str
    statistic: str
    form: str
    words: tuple[str, ...] = ()

    def read(self, question: str) -> dict[str, str] | None:
        """The values of the places in a question of this template; None where it is of another one."""
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(self.text))
        match = re.fullmatch(pattern, question)
        return match.groupdict() if match else None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its answer. `decimals` is how exact a number has to be, None for an answer in words."""

    template: Template
    values: Mapping[str, Any]
    answer: str
    choices: tuple[str, ...] = ()
    decimals: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the question is about, in the identifiers of the data."""

    @property
    def text(self) -> str:
        return self.template.text.format(**self.values)


def read(question: str, templates: Sequence[Template]) -> tuple[Template, dict[str, str]] | None:
    """The template of a question and the values of its places; None where it is of no template."""
    for template in templates:
        values = template.read(question)
        if values is not None:
            return template, values
    return None


def ask(templates: Sequence[Template], draw: Callable[[Template], Question | None], count: int) -> list[Question]:
    """Up to `count` different questions, the templates in turn; `draw` may find none at a try."""
    found: dict[str, Question] = {}
    failures = 0
    for template in cycle(templates):
        drawn = (draw(template) for _ in range(_TRIES))
        question = next((one for one in drawn if one is not None and one.text not in found), None)
        failures = failures + 1 if question is None else 0
        if question is not None:
            found[question.text] = question
        if len(found) == count or failures == len(templates):
            break
    return list(found.values())
