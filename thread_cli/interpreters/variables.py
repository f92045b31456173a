"""Variables: Python as models write it, in confined sessions; where the kernel cannot confine, in a subset of Python.

Code that only assigns and prints constants is read instead of run. A thread that writes no other costs no session.
"""

from __future__ import annotations

import ast
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from thread_cli.interpreters import Outcome
from thread_cli.interpreters.code import parse
from thread_cli.interpreters.monty import MontyInterpreter
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.interpreters.session_confinement import unavailable
from thread_cli.interpreters.session_values import NotPlainError, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.interpreters import Interpreter

__all__ = ["VariableInterpreter", "constants", "described"]

_LARGEST: Final = 10_000
"""Characters of code that is read instead of run."""
_SET: Final = (ast.Set, ast.Call)


class VariableInterpreter:
    """Python for the variables of threads: no files, no network, nothing but its standard library.

    Args:
        unsafe: run sessions unconfined where this machine cannot confine them, instead of a subset of Python.
        seconds: the longest that one piece of code may run.
        memory: bytes that the code of a thread may hold.
    """

    def __init__(self, *, unsafe: bool = False, seconds: float = 1.0, memory: int = 32_000_000) -> None:
        self._unsafe = unsafe
        self._seconds = seconds
        self._memory = memory
        self._chosen: Interpreter | None = None
        self.patience = 0.4

    async def run(self, code: str, names: Mapping[str, Any], *, thread: str = "") -> Outcome:
        if len(code) <= _LARGEST and (read := constants(code, names)) is not None:
            return read
        self._chosen = self._chosen or self._choose()
        return await self._chosen.run(code, names, thread=thread)

    def ended(self, thread: str) -> None:
        """A thread has ended: what is kept for its next piece of code is needed no more."""
        if isinstance(self._chosen, SessionInterpreter):
            self._chosen.ended(thread)

    async def close(self) -> None:
        if self._chosen is not None:
            await self._chosen.close()

    def _choose(self) -> Interpreter:
        if not self._unsafe and unavailable():
            return MontyInterpreter(seconds=self._seconds, memory=self._memory)
        return SessionInterpreter(
            kind="variables", unsafe=self._unsafe, seconds=self._seconds, memory=self._memory, disk=0
        )


def described(*, unsafe: bool = False) -> str:
    """Which Python computes the variables of threads on this machine."""
    python = f"CPython {platform.python_version()}"
    if not (reason := unavailable()):
        return f"{python} in confined sessions"
    if unsafe:
        return f"{python}, not confined: {reason}"
    return f"a subset (pydantic-monty {version('pydantic-monty')}), as Python cannot be confined here: {reason}"


def constants(code: str, names: Mapping[str, Any]) -> Outcome | None:
    """The outcome of code that only assigns and prints constants; None where there is more to it."""
    try:
        statements = parse(code)
    except SyntaxError:
        return None
    bound: dict[str, Any] = {}
    printed: str | None = None
    try:
        for statement in statements:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if not _has_set(value):
                    bound.pop(name, None)
                    bound[name] = ast.literal_eval(value)
                    encoded(bound[name])
                case ast.Expr(ast.Call(ast.Name(id="print"), [ast.Constant(str(text))], [])) if _is_free(names, bound):
                    printed = text + "\n"
                case _:
                    return None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, NotPlainError):
        return None
    return Outcome(bound, printed)


def _has_set(value: ast.expr) -> bool:
    """Whether there is a set in an expression: its order is for the session to make."""
    return any(isinstance(node, _SET) for node in ast.walk(value))


def _is_free(*known: Mapping[str, Any]) -> bool:
    return not any("print" in names for names in known)
