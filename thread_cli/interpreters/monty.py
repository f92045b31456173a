"""Variables: Python in `pydantic-monty`, a sandbox whose workers are processes of their own.

Every call gets a fresh session, so that nothing leaks between threads: the names that the code uses go in as values,
the names that it binds come out as values. Objects that cannot travel as values (functions, imported modules) are kept
as the source that defines them, and defined anew before code that uses them. Clock, sleep and random numbers are fixed,
so that a run can be repeated.

Nearly all code takes well under a millisecond and is run on the event loop; code that takes longer is run again in an
OS thread, so that other threads need not wait for it. The sandbox has no effects, so running twice is running once. Its
asynchronous client is not used: it keeps foreign threads that may enter Python while Python shuts down, which aborts
the process (seen with 1.4.0, on one exit in twenty).
"""

from __future__ import annotations

import ast
import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.errors import InterpreterFailed
from thread_cli.contracts.interpreter import Outcome, SessionDead
from thread_cli.interpreters.subset import ODD, PLAIN, at_prints, checked, refusal
from thread_cli.protocols.code import names_in, parse, silent, syntax_error
from thread_cli.protocols.values import containers, holds_set, spelled, with_shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic_monty import Monty, MontySession, OSPolicy, ResourceLimits

__all__ = ["Definition", "MontyInterpreter"]

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_QUICK: Final = 0.02  # seconds
_OUT_OF_TIME: Final = "TimeoutError: time limit exceeded"
_STOPPED: Final = "TimeoutError: stopped after the time limit"
_GRACE: Final = 0.5  # seconds
_PRINT_LIMIT: Final = 64_000  # bytes
_VALUE_LIMIT: Final = 1_000_000  # characters, digits and items
_DIGITS_LIMIT: Final = 4_000  # Python refuses to write integers with more than 4,300 digits
_BREAKING: Final = ("TimeoutError", "MemoryError")  # after these a session's state is not to be trusted
_IMMUTABLE = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True, slots=True)
class Definition:
    """A value that is known by its source only: a function, a class, an imported module."""

    source: str

    def __str__(self) -> str:
        return self.source.split("\n", 1)[0]


class MontyInterpreter:
    """Python for variables: strings, numbers, collections, functions, `re`, `math`, `json`; no files, no network.

    Args:
        seconds: the longest that one piece of code may run.
        memory: bytes that it may hold.
        processes: the most pieces of code that run at once beside the event loop.
    """

    patience = 0.4

    def __init__(self, *, seconds: float = 1.0, memory: int = 32_000_000, processes: int = 2) -> None:
        self._quick = _Sandbox(seconds=min(_QUICK, seconds), memory=memory, processes=1)
        self._patient = _Sandbox(seconds=seconds, memory=memory, processes=processes)
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="monty")

    async def run(self, code: str, names: Mapping[str, Any], *, thread: str = "") -> Outcome:  # noqa: ARG002
        try:
            statements = parse(code)
            with silent():  # the sandbox takes more for Python than Python does
                compile(code, "<string>", "exec", dont_inherit=True)
            if refused := refusal(statements):
                return Outcome(error=refused)
        except SyntaxError:
            return Outcome(error=syntax_error(code))
        except (RecursionError, MemoryError, ValueError, OverflowError):
            return Outcome(error="SyntaxError: too deeply nested")
        outcome = self._quick.run(statements, names)
        if outcome.error not in (_OUT_OF_TIME, _STOPPED):
            return outcome
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._patient.run, statements, names)

    async def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._quick.close()
        self._patient.close()


class _Sandbox:
    """Workers with one limit of time. They are started with the first call."""

    def __init__(self, *, seconds: float, memory: int, processes: int) -> None:
        self._limits: ResourceLimits = {
            "max_feed_duration_secs": seconds,
            "max_memory": memory,
            "max_recursion_depth": 200,
            "max_total_sleep_secs": 0,
        }
        self._policy: OSPolicy = {"datetime": _EPOCH, "random_start": {"seed": 0}}
        self._seconds = seconds
        self._processes = processes
        self._pool: Monty | None = None
        self._opening = Lock()

    def run(self, statements: Sequence[ast.stmt], names: Mapping[str, Any]) -> Outcome:
        """Run code, waiting for it; its `seconds` do not count the wait for a worker."""
        import pydantic_monty

        try:
            bound, definitions = _binds(statements), _definitions(statements)
            known = with_shared(_reachable(names_in(statements), names), names)
            if error := _in_two_sets(known):
                return Outcome(error=error)
            preamble = [_definition(name, value) for name, value in known.items() if _needs_definition(value)]
            sources = [each.source for each in known.values() if isinstance(each, Definition)]
            pieces = at_prints(statements, sources)
        except (RecursionError, ValueError):
            return Outcome(error="SyntaxError: too deeply nested")
        values = {name: value for name, value in known.items() if not isinstance(value, Definition)}
        wanted = bound | _globals(statements).union(*(_globals(parse(source)) for source in sources))
        wanted |= {name for name, value in values.items() if not isinstance(value, _IMMUTABLE)}
        sent = {name: value for name, value in values.items() if not holds_set(value)}
        held = [ids for value in sent.values() if (ids := containers(value))]
        shared = len(set[int]().union(*held)) < sum(map(len, held))
        if shared:  # inputs share no objects, unless they are one input
            preamble += [f"{name} = kept_[{name!r}]" for name in sent]
            sent = {"kept_": sent}
        began = monotonic()
        try:
            with self._opened().checkout(limits=self._limits, os_policy=self._policy) as session:
                began = monotonic()
                if preamble:
                    session.feed_run(checked("\n".join(preamble)), inputs=sent if shared else {})
                results, printed, error = _feed(
                    session, pieces, {} if shared else sent, wanted - definitions.keys(), until=began + self._seconds
                )
        except pydantic_monty.MontyCrashedError as crash:
            if crash.timed_out:
                return Outcome(error=_STOPPED, seconds=monotonic() - began)
            raise SessionDead(f"the code ended its interpreter: {_one_line(crash)}") from None
        except (pydantic_monty.MontyError, ValueError, TypeError) as refused:
            return Outcome(error=_message(refused), seconds=monotonic() - began)
        kept = values.keys() - bound
        changed = {key: value for key, value in results.items() if key not in kept or _differ(value, values[key])}
        results = with_shared(changed, results)
        if too_large := [name for name, value in results.items() if _too_large(value)]:
            return Outcome(error=f"MemoryError: the value of {too_large[0]} is too large to keep")
        if error is None:
            results |= definitions
        return Outcome(results, printed, error, monotonic() - began)

    def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.__exit__(None, None, None)

    def _opened(self) -> Monty:
        with self._opening:
            if self._pool is None:
                from pydantic_monty import Monty

                try:
                    # The watchdog ends code that ignores the limit, such as one long multiplication.
                    pool = Monty(max_processes=self._processes, request_timeout=self._seconds + _GRACE)
                    self._pool = pool.__enter__()
                except Exception as error:
                    raise InterpreterFailed(f"the Python sandbox does not start: {_one_line(error)}") from error
            return self._pool


def _feed(
    session: MontySession, pieces: Sequence[str], values: dict[str, Any], wanted: set[str], *, until: float
) -> tuple[dict[str, Any], str | None, str | None]:
    """Run the pieces one after the other.

    Returns the values of the wanted names, the output of the last piece that printed, and the error.
    """
    import pydantic_monty

    fetch = f"{{name: value for name, value in locals().items() if name in {sorted(wanted)!r}}}"
    printed: str | None = None
    found: dict[str, Any] = {}
    for place, piece in enumerate(pieces):
        output = pydantic_monty.CollectString(max_bytes=_PRINT_LIMIT)
        last = place == len(pieces) - 1
        if monotonic() > until:
            return {}, printed, _OUT_OF_TIME
        source = checked(piece)
        try:
            result = session.feed_run(f"{source}\n{fetch}" if last else source, inputs=values, print_callback=output)
        except pydantic_monty.MontyRuntimeError as error:
            message = _message(error)
            found = {} if message.startswith(_BREAKING) else _fetched(session, wanted)
            return found, output.output or printed, message
        except ValueError:
            result = _fetched(session, wanted)
        values = {}
        printed = output.output or printed
        found = _by_name(result) if last else {}
    return _checked(session, found, printed)


def _checked(
    session: MontySession, found: dict[str, Any], printed: str | None
) -> tuple[dict[str, Any], str | None, str | None]:
    """The values that code bound, without those that would differ outside the sandbox; the error names them."""
    if odd := session.feed_run(f"{ODD} if {ODD!r} in locals() else []"):
        return {}, printed, f"NotImplementedError: {odd[0]} may be told otherwise on this machine"
    doubtful = [name for name, value in found.items() if type(value) not in (int, bool, type(None))]
    if not doubtful:
        return found, printed, None
    session.feed_run(PLAIN)
    odd = [name for name in doubtful if not session.feed_run(f"plain_({name})") or _is_cut(found[name])]
    error = f"NotImplementedError: what `{odd[0]}` is bound to cannot be kept on this machine" if odd else None
    return {name: value for name, value in found.items() if name not in odd}, printed, error


def _is_cut(value: Any) -> bool:
    """Whether a value contains itself, or seems to."""
    return "[...]" in (text := repr(value)) or "{...}" in text


def _by_name(result: Any) -> dict[str, Any]:
    if not isinstance(result, dict):  # where the code gave `name` or `locals` another meaning
        raise InterpreterFailed("the Python sandbox does not tell names")
    return cast("dict[str, Any]", result)


def _fetched(session: MontySession, wanted: set[str]) -> dict[str, Any]:
    """The values of the wanted names, without those that are not bound or cannot leave the sandbox."""
    import pydantic_monty

    found: list[str] = []
    for name in sorted(wanted):
        try:
            session.feed_run(name)
        except (pydantic_monty.MontyRuntimeError, ValueError):
            continue
        found.append(name)
    # All at once, so that names that share an object inside share it here.
    return _by_name(session.feed_run(f"{{{', '.join(f'{name!r}: {name}' for name in found)}}}"))


def _in_two_sets(known: Mapping[str, Any]) -> str | None:
    """The error if two names share an object and one of them contains a set, since sets travel as source."""
    held = {name: containers(value) for name, value in known.items()}
    for name, value in known.items():
        if not isinstance(value, Definition) and holds_set(value):
            for other, ids in held.items():
                if other != name and not ids.isdisjoint(held[name]):
                    return f"NotImplementedError: `{name}` and `{other}`, which are one object, cannot be kept here"
    return None


def _globals(statements: Iterable[ast.stmt]) -> set[str]:
    """Names that functions declare `global`."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return {name for node in nodes if isinstance(node, ast.Global) for name in node.names}


def _binds(statements: Iterable[ast.stmt]) -> set[str]:
    """Names bound at the top level, in whatever way; names inside functions and comprehensions are their own."""
    bound: set[str] = set()
    pending: list[ast.AST] = list(statements)
    while pending:
        node = pending.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                bound.add(node.name)
                continue
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                bound |= {n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr)}
                continue
            case ast.Name(ctx=ast.Store()):
                bound.add(node.id)
            case ast.Import() | ast.ImportFrom():
                bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.add(name)
            case _:
                pass
        pending.extend(ast.iter_child_nodes(node))
    return bound


def _definitions(statements: Iterable[ast.stmt]) -> dict[str, Definition]:
    found: dict[str, Definition] = {}
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.ClassDef():
                found[statement.name] = Definition(ast.unparse(statement))
            case ast.Import() | ast.ImportFrom():
                found |= dict.fromkeys(sorted(_binds([statement])), Definition(ast.unparse(statement)))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda()):
                found[name] = Definition(ast.unparse(statement))
            case _:
                pass
    return found


def _reachable(read: set[str], names: Mapping[str, Any]) -> dict[str, Any]:
    """The names that are used, directly or by a definition that is used; each definition comes after the names that it
    uses.
    """
    found: dict[str, Any] = {}
    visited: set[str] = set()

    def visit(name: str) -> None:
        if name in visited or name not in names:
            return
        visited.add(name)
        value = names[name]
        if isinstance(value, Definition):
            for inner in sorted(names_in(parse(value.source))):
                visit(inner)
        found[name] = value

    for name in sorted(read):
        visit(name)
    return found


def _size(value: Any) -> int:
    """Number of characters, digits and items in `value`, inner ones included."""
    total = 0
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        total += 1
        if isinstance(item, (str, bytes)):
            total += len(item)
        elif isinstance(item, int):
            digits = item.bit_length() // 3
            total += digits if digits < _DIGITS_LIMIT else _VALUE_LIMIT
        elif isinstance(item, dict):
            for pair in cast("dict[Any, Any]", item).items():
                pending.extend(pair)
        elif isinstance(item, (list, tuple, set, frozenset)):
            pending.extend(cast("list[Any]", item))
    return total


def _needs_definition(value: Any) -> bool:
    """Whether a value goes in as source: for sets, because their order as values would depend on the hash seed."""
    return isinstance(value, Definition) or holds_set(value)


def _definition(name: str, value: Any) -> str:
    return value.source if isinstance(value, Definition) else f"{name} = {spelled(value)}"


def _differ(one: Any, other: Any) -> bool:
    """Whether two values differ, or are spelled differently: 1 and 1.0, or the order of a dictionary."""
    try:
        return bool(one != other) or repr(one) != repr(other)
    except (RecursionError, ValueError):  # nested too deeply, or a number too long
        return True


def _too_large(value: Any) -> bool:
    return _size(value) > _VALUE_LIMIT


def _message(error: BaseException) -> str:
    """One line, without the measured times and sizes that would differ from run to run."""
    line = _one_line(error)
    for limit in ("time limit exceeded", "memory limit exceeded", "sleep limit exceeded"):
        if limit in line:
            return f"{line.split(':')[0]}: {limit}"
    return line


def _one_line(error: BaseException) -> str:
    # Monty numbers its objects at random, but a repeated run has to be the same.
    line = " ".join(re.sub(r" \(id [0-9a-f-]{36}\)", "", str(error)).split())
    return (line or type(error).__name__)[:300]
