"""What the teachers of both settings have in common: the threads that compare numbers, and the last lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from thread_cli.models.teacher import Course
    from thread_envs.dataqa.questions import Template

__all__ = ["COMPARISONS", "END", "compared", "final", "said", "say"]

END: Final = r"\s*(=>)?\s*\Z"
"""How a pattern of a thread's context ends."""

_SIGN = re.compile(rf"does (?P<number>\S+) mean (?P<positive>\w+) or (?P<negative>\w+?){END}")
_AGAINST = re.compile(rf"is (?P<number>\S+) (?P<greater>\w+) or (?P<less>\w+) compared to (?P<other>\S+?){END}")
_BETWEEN = re.compile(rf"which is (?P<word>higher|lower): (?P<a>.+) with (?P<x>\S+) or (?P<b>.+) with (?P<y>\S+?){END}")


def final(answer: str) -> str:
    """The end of a main thread."""
    return say(f"Final Answer: {answer}")


def say(text: str) -> str:
    """The end of a thread that has no more to say than this."""
    return f"print({text!r})\n"


def said(text: str) -> Course:
    """A thread that says one thing."""
    yield from ()
    return say(text)


def compared(template: Template, one: str, other: str, names: tuple[str, str]) -> Course:
    """How a main thread ends once it has both numbers, and the names of what they are of."""
    if template.form == "against":
        answer = yield f"Last, is {one} {' or '.join(template.words)} compared to {other} "
    else:
        answer = yield f"Last, which is {template.words[0]}: {names[0]} with {one} or {names[1]} with {other} "
    return final(answer.text)


def _sign(asked: re.Match[str]) -> Course:
    yield from ()
    return f"print({asked['positive']!r} if {asked['number']} > 0 else {asked['negative']!r})\n"


def _against(asked: re.Match[str]) -> Course:
    yield from ()
    return f"print({asked['greater']!r} if {asked['number']} > {asked['other']} else {asked['less']!r})\n"


def _between(asked: re.Match[str]) -> Course:
    yield from ()
    pick = {"higher": "max", "lower": "min"}[asked["word"]]
    numbers = f"{{{asked['a']!r}: {asked['x']}, {asked['b']!r}: {asked['y']}}}"
    return f"numbers = {numbers}\nprint({pick}(numbers, key=numbers.get))\n"


COMPARISONS: Final = ((_SIGN, _sign), (_AGAINST, _against), (_BETWEEN, _between))
"""Patterns of contexts, and the courses of the threads that are given them."""
