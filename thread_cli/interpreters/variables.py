"""Variables: Python as models write it, in confined sessions; where the kernel cannot confine, in a subset of Python.

Simple code (see `simple.py`) is evaluated in the runner. A thread that writes no other code needs no session.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from thread_cli.interpreters.session_confinement import unavailable
from thread_cli.interpreters.simple import simple_outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.contracts.interpreter import Interpreter, Outcome
    from thread_cli.interpreters.session import SessionInterpreter

__all__ = ["VariableInterpreter", "described"]


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
        self._sessions: SessionInterpreter | None = None
        """The interpreter that is chosen, where it has sessions."""
        self.patience = 0.4

    async def open(self) -> None:
        """Begin to start the processes that the first piece of code will need, without waiting for them."""
        if self._chosen is None:
            self._chosen = self._choose()

    async def run(self, code: str, names: Mapping[str, Any], *, thread: str = "") -> Outcome:
        if (read := simple_outcome(code, names)) is not None:
            return read
        self._chosen = self._chosen or self._choose()
        return await self._chosen.run(code, names, thread=thread)

    def ended(self, thread: str) -> None:
        """A thread has ended: its session is needed no more."""
        if self._sessions is not None:
            self._sessions.ended(thread)

    @property
    def sessions(self) -> int:
        """Number of sessions at the moment."""
        return 0 if self._sessions is None else self._sessions.sessions

    async def close(self) -> None:
        if self._chosen is not None:
            await self._chosen.close()

    def _choose(self) -> Interpreter:
        # Simple code needs neither, so either is loaded when it is first needed.
        if not self._unsafe and unavailable():
            from thread_cli.interpreters.monty import MontyInterpreter

            return MontyInterpreter(seconds=self._seconds, memory=self._memory)
        from thread_cli.interpreters.session import SessionInterpreter

        self._sessions = SessionInterpreter(
            kind="variables", unsafe=self._unsafe, seconds=self._seconds, memory=self._memory, disk=0
        )
        return self._sessions


def described(*, unsafe: bool = False) -> str:
    """Describes the Python that computes the variables of threads on this machine."""
    python = f"CPython {platform.python_version()}"
    if not (reason := unavailable()):
        return f"{python} in confined sessions"
    if unsafe:
        return f"{python}, not confined: {reason}"
    return f"a subset (pydantic-monty {version('pydantic-monty')}), as Python cannot be confined here: {reason}"
