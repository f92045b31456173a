"""Data analysis: Python with pandas, numpy and scipy, in sessions that are confined by the kernel.

A warmed process (`session_zygote.py`) forks one session per thread. A session is a cache: the names of a thread live
with the engine, and a session is told those that it does not know yet and that the code can reach, so any of them may
be ended at any time, for taking too long or to make room, and is opened again when its thread goes on.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet, WeakValueDictionary

from thread_cli.distribution import remedy
from thread_cli.engine.errors import EnvironmentFailed, InterpreterFailed, ThreadFailure, UserError
from thread_cli.interpreters import HostError, Outcome, SessionDead, Workspace
from thread_cli.interpreters.code import names_in, parse
from thread_cli.interpreters.session_process import JUNK, Connection, Zygote, dead
from thread_cli.interpreters.session_values import Held, NotPlainError, encoded, message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SessionInterpreter"]

_PACKAGES: Final = ("cloudpickle", "numpy", "pandas", "sandlock", "scipy")
_IDLE: Final = 8
_RUNNING: Final = 8
_ASKS: Final = 10_000
"""Calls of the host that one piece of code may make."""
_SETUP_SECONDS: Final = 60.0
_PRINT_LIMIT: Final = 64_000
_LINE: Final = 300
_DYNAMIC: Final = frozenset({"eval", "exec", "globals", "locals", "vars", "dir", "query"})
"""Code that uses these may read any name."""


class SessionInterpreter:
    """Python for data analysis; `docs/interpreters.md` says what code finds there and what it may do.

    Args:
        workspace: what the sessions hold besides the libraries.
        unsafe: run sessions unconfined where this machine cannot confine them.
        seconds: the longest that one piece of code may run, calls of the host not counted.
        memory: bytes that one session may take.
        disk: bytes that the folder of the sessions may hold.

    Raises:
        UserError: packages are missing.
    """

    patience = 5.0

    def __init__(
        self,
        workspace: Workspace | None = None,
        *,
        unsafe: bool = False,
        seconds: float = 10.0,
        memory: int = 1_000_000_000,
        disk: int = 256_000_000,
    ) -> None:
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(f"data analysis needs {', '.join(missing)}: {remedy('dataqa')}")
        self._workspace = workspace or Workspace()
        self._unsafe = unsafe
        self._seconds = seconds
        self._memory = memory
        self._disk = disk
        self._always = names_in(_statements(self._workspace.setup), attributes=True)
        self._held: WeakSet[Held] = WeakSet()
        self._idle: OrderedDict[str, Connection] = OrderedDict()
        self._live: set[Connection] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running = asyncio.Semaphore(_RUNNING)
        self._folder: str | None = None
        self._zygote = Zygote.shared()

    async def open(self) -> None:
        """See that sessions can be had, before one is needed.

        Raises:
            UserError: this machine cannot confine them, and `unsafe` is not allowed.
            InterpreterFailed: they do not start.
        """
        if not self._zygote.ready:
            await asyncio.to_thread(self._zygote.wait)
        if self._zygote.unconfined and not self._unsafe:
            raise UserError(
                f"model-written Python cannot be confined on this machine ({self._zygote.unconfined}); "
                "--unsafe-python runs it with the rights that you have"
            )

    async def run(self, code: str, names: Mapping[str, Any], *, thread: str = "") -> Outcome:
        try:
            statements = parse(code)
        except SyntaxError as error:
            return Outcome(error=f"SyntaxError: {error.msg}")
        async with self._turns.setdefault(thread, asyncio.Lock()), self._running:
            session = self._idle.pop(thread, None)
            if session is not None and not session.idle():
                self._end(session)
                session = None
            session = session or await self._open()
            try:
                outcome = await self._run(session, code, statements, names)
            except BaseException:
                self._end(session)
                raise
            self._keep(thread, session)
            return outcome

    async def close(self) -> None:
        for session in list(self._live):
            self._end(session)
        self._idle.clear()
        if self._folder is not None:
            folder, self._folder = self._folder, None
            self._zygote.remove(folder)

    # --- sessions

    async def _open(self) -> Connection:
        await self.open()
        if self._folder is None:
            self._folder = self._zygote.folder(self._disk)
        session = self._zygote.open(
            folder=self._folder,
            readable=[str(path) for path in self._workspace.readable],
            confined=not self._zygote.unconfined,
            memory=self._memory,
            file_size=self._disk // 2,
        )
        self._live.add(session)
        try:
            await self._begin(session)
        except BaseException:
            self._end(session)
            raise
        return session

    async def _begin(self, session: Connection) -> None:
        """See that a session is confined, and let it run the workspace's setup."""
        try:
            said, _ = await session.receive()
            if "failed" in said:
                raise InterpreterFailed(f"no analysis session can be opened: {_line(said['failed'])}")
            said, _, _ = await self._tell(
                session, _SETUP_SECONDS, {"setup": self._workspace.setup, "calls": sorted(self._workspace.calls)}
            )
        except SessionDead as death:
            raise InterpreterFailed(f"no analysis session can be opened: {death}") from death
        if "failed" in said:
            raise EnvironmentFailed(f"the setup of the analysis session failed: {_line(said['failed'])}")

    def _keep(self, thread: str, session: Connection) -> None:
        """Keep a session for its thread, in the place of the one that was not used for longest."""
        if not session.idle():
            self._end(session)
            return
        self._idle[thread] = session
        while len(self._idle) > _IDLE:
            self._end(self._idle.popitem(last=False)[1])

    def _end(self, session: Connection) -> None:
        self._live.discard(session)
        session.end()

    # --- code

    async def _run(
        self, session: Connection, code: str, statements: Iterable[ast.stmt], names: Mapping[str, Any]
    ) -> Outcome:
        reached = self._reached(statements, names)
        drop = [name for name, value in session.known.items() if name not in names or names[name] is not value]
        for name in drop:
            del session.known[name]
        news = {name: names[name] for name in reached if name not in session.known}
        content = {"code": code, "drop": drop, "watch": reached}
        try:
            said, bound, spent = await self._tell(
                session, self._seconds, content, {name: _said(name, news[name]) for name in news}
            )
        except ValueError as error:
            raise SessionDead(f"MemoryError: {error}") from None
        match said:
            case {"printed": None | str() as printed, "error": None | str() as error, "gone": list()}:
                self._hold(bound)
                session.known |= news | bound
                for name in filter(session.known.__contains__, map(str, said["gone"])):
                    del session.known[name]
            case {"died": str(why)}:
                raise SessionDead(dead(_line(why)))
            case _:
                raise SessionDead(dead(JUNK))
        return Outcome(bound, printed and printed[:_PRINT_LIMIT], None if error is None else _line(error), spent)

    def _hold(self, bound: Mapping[str, Any]) -> None:
        """Take account of values that are held from now on; together they are bounded as a session is.

        Raises:
            SessionDead: they are too much.
        """
        news = [value for value in bound.values() if isinstance(value, Held)]
        if sum(len(value.pickled) for value in [*self._held, *news]) > self._memory:
            raise SessionDead("MemoryError: the values of all threads together are too large to be kept")
        self._held.update(news)

    async def _tell(
        self, session: Connection, seconds: float, content: dict[str, Any], names: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], float]:
        """Have a session do something, answering its calls: what it says, its values, and how long it ran."""
        spent = 0.0
        for _ in range(_ASKS):
            began = monotonic()
            try:
                async with asyncio.timeout(seconds - spent):
                    await session.send(content, names)
                    said, values = await session.receive()
            except TimeoutError:
                reason = f"TimeoutError: the code ran for more than {seconds:g} s, its session was ended"
                raise SessionDead(reason) from None
            spent += monotonic() - began
            match said:
                case {"ask": str(name), "args": [list(), dict()]} if name in self._workspace.calls:
                    content = await self._asked(name, *said["args"])
                    names = None
                case _:
                    return said, values, spent
        raise SessionDead(f"SessionDead: the code called the host more than {_ASKS} times")

    async def _asked(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The answer to a call of the host."""
        call = self._workspace.calls[name]
        try:
            inspect.signature(call).bind(*args, **kwargs)
        except TypeError as error:
            return {"failed": f"{name}(): {error}", "kind": "TypeError"}
        try:
            answer = {"answer": await call(*args, **kwargs)}
            message(answer)
        except HostError as error:
            return {"failed": _line(str(error)), "kind": "RuntimeError"}
        except (ThreadFailure, UserError):
            raise
        except Exception as error:
            raise EnvironmentFailed(f"{name}() failed: {type(error).__name__}: {_line(str(error))}") from error
        return answer

    def _reached(self, statements: Iterable[ast.stmt], names: Mapping[str, Any]) -> list[str]:
        """The names that code can reach: those that it reads, and those that functions among these look up."""
        pending = names_in(statements, attributes=True) | self._always
        found: set[str] = set()
        while pending:
            if pending & _DYNAMIC:
                return sorted(names)
            found |= pending
            held = [names[name] for name in pending if name in names]
            pending = set[str]().union(*(value.reads for value in held if isinstance(value, Held))) - found
        return sorted(found & names.keys())


def _said(name: str, value: Any) -> Any:
    if isinstance(value, Held):
        return value
    try:
        return encoded(value)
    except NotPlainError as error:
        raise InterpreterFailed(f"`{name}` cannot be given to a session: {error}") from error


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:
        return []  # the first session will say so


def _line(text: Any) -> str:
    return " ".join(str(text).split())[:_LINE]
