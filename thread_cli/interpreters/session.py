"""Python in sessions that the kernel confines: for data analysis with pandas, numpy and scipy, and for variables.

A warmed process (`session_zygote.py`) forks the sessions. A thread's objects live on in its session from one piece of
code to the next. The runner also keeps a copy of them as bytes, so that any session may be ended at any time, at a
timeout or to make room, and so that a child, or a parent after the join, can continue with them in a session of its
own. A session gets the names that it does not have yet and that the code can reach.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakValueDictionary, finalize

from thread_cli.contracts.errors import EnvironmentFailed, InterpreterFailed, ThreadFailure, UserError
from thread_cli.contracts.interpreter import HostError, Names, Outcome, SessionDead, Workspace
from thread_cli.distribution import remedy
from thread_cli.interpreters.session_pool import Pool
from thread_cli.interpreters.session_process import JUNK, Connection, Zygote, dead
from thread_cli.interpreters.session_timing import exchange
from thread_cli.interpreters.session_values import STATE, Blob, Held, Kept, NotPlainError, encoded, message
from thread_cli.interpreters.tame import leaves_no_trace
from thread_cli.protocols.code import names_in, parse, syntax_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["SessionInterpreter"]

_PACKAGES: Final = ("cloudpickle", "numpy", "pandas", "sandlock", "scipy")
_IDLE: Final = {"analysis": 8, "variables": 32}
_RUNNING: Final = 8
_ASKS: Final = 10_000
"""Calls of the host that one piece of code may make."""
_STARTS: Final = 2
"""Sessions that are tried where one does not start."""
_START_SECONDS: Final = 30.0
_SETUP_SECONDS: Final = 60.0
_PRINT_LIMIT: Final = 64_000
_LINE: Final = 300
_KEPT: Final = 1_000_000_000
"""The most bytes of kept values, of all threads of an episode together."""
_DYNAMIC: Final = frozenset(
    """eval exec globals locals vars dir query inspect sys gc __main__ __globals__ __dict__ __builtins__ __import__
    import_module modules get_type_hints pickle ctypes doctest testmod unittest cProfile profile""".split()  # noqa: SIM905 - as a list it would be a page long
)
"""Code that uses these may read any name."""


class SessionInterpreter:
    """Python in confined sessions; `docs/interpreters.md` describes their libraries and their confinement.

    Args:
        workspace: set-up, functions and files of the sessions, besides the libraries.
        kind: purpose of the sessions; those for variables have neither libraries nor a folder.
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
        kind: Literal["analysis", "variables"] = "analysis",
        unsafe: bool = False,
        seconds: float = 10.0,
        memory: int = 1_000_000_000,
        disk: int = 256_000_000,
    ) -> None:
        missing = [name for name in _PACKAGES if kind == "analysis" and importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(f"data analysis needs {', '.join(missing)}: {remedy('dataqa')}")
        self._workspace = workspace or Workspace()
        self._kind = kind
        self._unsafe = unsafe
        self._seconds = seconds
        self._memory = memory
        self._disk = disk
        self._kept = 0
        """Bytes of kept values."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._running = asyncio.Semaphore(_RUNNING)
        self._folder: str | None = None
        self._zygote = Zygote.shared(kind)

    @cached_property
    def _pool(self) -> Pool:
        return Pool(_IDLE[self._kind])

    @cached_property
    def _always(self) -> set[str]:
        """The names that all code of these sessions may read, because the set-up does."""
        return names_in(_statements(self._workspace.setup), attributes=True)

    async def open(self) -> None:
        """Start the warmed process, and make sure that sessions can be opened.

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
        except SyntaxError:
            return Outcome(error=syntax_error(code))
        given = names if isinstance(names, Names) else _given(names)
        async with self._turns.setdefault(thread, asyncio.Lock()), self._running:
            tame = self._kind == "variables" and leaves_no_trace(statements)
            while True:
                session = await self._session(thread, tame=tame)
                session.tame = session.tame and tame
                try:
                    outcome = await self._run(session, code, statements, given)
                except BaseException:
                    self._pool.end(session)
                    raise
                if outcome is not None:
                    self._pool.keep(thread, session)
                    return outcome
                self._pool.end(session)

    @property
    def sessions(self) -> int:
        """Number of sessions at the moment."""
        return len(self._pool)

    def ended(self, thread: str) -> None:
        """A thread has ended: its session is needed no more."""
        self._pool.release(thread)

    async def close(self) -> None:
        self._pool.close()
        if self._folder is not None:
            folder, self._folder = self._folder, None
            self._zygote.remove(folder)

    # --- sessions

    async def _session(self, thread: str, *, tame: bool) -> Connection:
        """A session for a thread: its own, or one that has forgotten another thread, or a new one."""
        session = self._pool.own(thread)
        if session is not None and session.used and not tame and not session.lost:
            # Code that may inspect memory must not find data of an earlier thread.
            self._pool.end(session)
            session = None
        if session is None and tame:
            session = self._pool.spare()
        return session or await self._open()

    async def _open(self) -> Connection:
        await self.open()
        if self._folder is None and self._kind == "analysis":
            self._folder = self._zygote.folder(self._disk)
        for _ in range(_STARTS):
            session = self._zygote.open(
                folder=self._folder or "",
                readable=[str(path) for path in self._workspace.readable],
                confined=not self._zygote.unconfined,
                memory=self._memory,
                file_size=self._disk // 2,
            )
            self._pool.add(session)
            try:
                await self._begin(session)
            except TimeoutError:
                self._pool.end(session)
            except BaseException:
                self._pool.end(session)
                raise
            else:
                return session
        raise InterpreterFailed(f"no session can be opened: {_STARTS} did not start within {_START_SECONDS:g} s each")

    async def _begin(self, session: Connection) -> None:
        """Make sure that a session is confined, and run the workspace's setup in it; raises TimeoutError where it does
        not start.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                said, _ = await session.receive()
            if "failed" in said:
                raise InterpreterFailed(f"no session can be opened: {_line(said['failed'])}")
            if self._kind == "variables":
                return
            said, _, _ = await self._tell(
                session, _SETUP_SECONDS, {"setup": self._workspace.setup, "calls": sorted(self._workspace.calls)}
            )
        except SessionDead as death:
            raise InterpreterFailed(f"no session can be opened: {death}") from death
        if "failed" in said:
            raise EnvironmentFailed(f"the setup of the analysis session failed: {_line(said['failed'])}")

    # --- code

    async def _run(
        self, session: Connection, code: str, statements: Iterable[ast.stmt], names: Names
    ) -> Outcome | None:
        """Run code; None if the session cannot forget its earlier thread."""
        if session.state is not None and STATE not in names.kept:
            return None
        # An object that cannot be copied does not reveal the names that it looks up.
        reached = sorted(names) if session.lost else self._reached(statements, names)
        drop = [name for name in session.known if not _knows(session, name, names)]
        for name in drop:
            del session.known[name]
        news = [name for name in reached if name not in session.known]
        said, blobs = _said(news, names)
        content: dict[str, Any] = {"code": code, "drop": drop, "watch": reached}
        session.tame = session.tame and all(blob.simple for blob in blobs)
        state = names.kept.get(STATE)
        if state is not None and state is not session.state:
            blobs += [] if state in blobs else [state]
            content["state"] = blobs.index(state)
        if session.forgets:
            content["reset"] = True
        try:
            said, bound, spent = await self._tell(session, self._seconds, content, said, blobs)
        except ValueError as error:
            raise SessionDead(f"MemoryError: {error}") from None
        match said:
            case {"printed": None | str() as printed, "error": None | str() as error, "gone": list()}:
                gone = [name for name in map(str, said["gone"]) if name.isidentifier()]
            case {"stale": True} if session.forgets:
                return None
            case {"died": str(why)}:
                raise SessionDead(dead(_line(why)))
            case _:
                raise SessionDead(dead(JUNK))
        session.forgets = False
        self._keep(session, bound)
        session.state = bound.kept.get(STATE, state)
        session.known |= {name: (names[name], names.kept.get(name)) for name in news}
        session.known |= {name: (value, bound.kept.get(name)) for name, value in bound.items()}
        for name in bound.kept.keys() & session.known.keys():
            session.known[name] = session.known[name][0], bound.kept[name]
        for name in gone:
            session.known.pop(name, None)
        line = None if error is None else _line(error)
        return Outcome(bound, printed and printed[:_PRINT_LIMIT], line, spent, gone)

    def _keep(self, session: Connection, bound: Names) -> None:
        """Count bytes that are kept from now on; their sum over all threads is bounded.

        Raises:
            SessionDead: the bound is exceeded.
        """
        for blob in {*bound.kept.values()}:
            self._kept += len(blob.data)
            finalize(blob, self._forget, len(blob.data)).atexit = False
            blob.simple = session.tame
            session.lost = session.lost or blob.lost
        for name, value in bound.items():
            if isinstance(value, Held):
                bound.kept[name].simple = False
        if self._kept > max(self._memory, _KEPT if self._kind == "variables" else 0):
            raise SessionDead("MemoryError: the values of all threads together are too large to be kept")

    def _forget(self, size: int) -> None:
        self._kept -= size

    async def _tell(
        self,
        session: Connection,
        seconds: float,
        content: dict[str, Any],
        names: dict[str, Any] | None = None,
        blobs: Sequence[Blob] = (),
    ) -> tuple[dict[str, Any], Names, float]:
        """Send a request to a session and answer its calls; returns its answer, its values, and its running time."""
        spent = 0.0
        for _ in range(_ASKS):
            try:
                said, values, ran = await exchange(session, message(content, names, blobs), seconds - spent)
            except TimeoutError:
                reason = f"TimeoutError: the code ran for more than {seconds:g} s, its session was ended"
                raise SessionDead(reason) from None
            spent += ran
            match said:
                case {"ask": str(name), "args": [list(), dict()]} if name in self._workspace.calls:
                    content = await self._asked(name, *said["args"])
                    names, blobs = None, ()
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

    def _reached(self, statements: Iterable[ast.stmt], names: Names) -> list[str]:
        """The names that code can reach: those that it uses, those that functions among these look up, and those whose
        values are kept together with these.
        """
        pending = names_in(statements, attributes=True) | self._always
        if not names.kept:
            return sorted(names if pending & _DYNAMIC else pending & names.keys())
        found: set[str] = set()
        blobs: set[Blob] = set()
        pending.add(STATE)  # which code may use at any time
        while pending:
            if pending & _DYNAMIC:
                return sorted(names)
            found |= pending
            news = {names.kept[name] for name in pending if name in names.kept} - blobs
            blobs |= news
            together = {name for name, blob in names.kept.items() if blob in news}
            pending = together.union(*(blob.reads for blob in news)) - found
        return sorted(found & names.keys())


def _given(names: Mapping[str, Any]) -> Names:
    return Names(names, {name: value.blob for name, value in names.items() if isinstance(value, Held)})


def _knows(session: Connection, name: str, names: Names) -> bool:
    """Whether a session has the present value of a name."""
    value, kept = session.known[name]
    return name in names and names[name] is value and names.kept.get(name, kept) is kept


def _said(news: Iterable[str], names: Names) -> tuple[dict[str, Any], list[Blob]]:
    """The message about names to a session, and its attached bytes."""
    said: dict[str, Any] = {}
    blobs: dict[Blob, None] = {}
    for name in news:
        value = names[name]
        blob = names.kept.get(name)
        if isinstance(value, Held):
            said[name] = value if blob is None or blob is value.blob else Held(blob, value.text, value.kind)
            blobs[said[name].blob] = None
        elif blob is not None:
            said[name] = Kept(blob, None)
            blobs[blob] = None
        else:
            try:
                said[name] = encoded(value)
            except NotPlainError as error:
                raise InterpreterFailed(f"`{name}` cannot be given to a session: {error}") from error
    return said, list(blobs)


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:
        return []  # the first session will say so


def _line(text: Any) -> str:
    return " ".join(str(text).split())[:_LINE]
