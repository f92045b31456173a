"""The threads of `prompts/math/default.jinja`, written from the steps that a task has: a thread computes each."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any, Final

from thread_cli.models.teacher import Course, Teacher

if TYPE_CHECKING:
    from thread_cli.contracts.environment import Task

__all__ = ["OPENING", "MathTeacher"]

OPENING: Final = "MATH QUESTION: "
"""How the context of a main thread begins."""

_COMPUTE: Final = re.compile(r"compute (?P<sum>[\d\s.+*/()-]+?)\s*(?:=>)?\s*\Z")


class MathTeacher(Teacher):
    """Knows the answer of one task. It has every step with numbers computed by a thread, and then says the answer."""

    def __init__(self, task: Task) -> None:
        self._answer: str = task.data["answer"]
        steps: list[list[Any]] = task.data.get("steps") or []
        self._sums = [left for left, _ in steps if _COMPUTE.match(f"compute {left}") and _is_python(_plain(left))]

    def solve(self, context: str) -> Course:
        if context.startswith(OPENING):
            return self._main()
        asked = _COMPUTE.match(context)
        return _said(f"print({_plain(asked['sum'])})\n" if asked else "print('this is no sum')\n")

    def _main(self) -> Course:
        for place, step in enumerate(self._sums):
            yield f"{'Next' if place else 'First'}, compute {step} "
        return f"print({_literal(f'The answer is {self._answer}')})\n"


def _said(text: str) -> Course:
    yield from ()
    return text


def _is_python(numbers: str) -> bool:
    """Whether Python can compute it; data sets write `5(3)`."""
    try:
        tree = ast.parse(numbers, mode="eval")
    except SyntaxError:
        return False
    return not any(isinstance(node, ast.Call) for node in ast.walk(tree))


def _plain(numbers: str) -> str:
    """A sum as Python reads it: data sets write `.5*08`."""
    return re.sub(r"(?<![\d.])0+(?=\d)", "", numbers)


def _literal(text: str) -> str:
    """The text as a string of Python, in raw form where it has backslashes, as the prompts write it."""
    if "\\" in text and "'" not in text and not text.endswith("\\"):
        return f"r'{text}'"
    return repr(text)
