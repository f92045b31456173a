"""Requirements on every interpreter, as checks that run against the interpreter itself.

The contract is that of `Interpreter`. The attacks are code that a model might write, by mistake or because a text told
it to. Each may end its own session at most, within a time limit and with a reason of one line, and must not touch the
files, processes, networks and sessions of others.

    failures = await check(lambda: MyInterpreter())
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import stat
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self

from thread_cli.conformance.attacks import ATTACKS
from thread_cli.conformance.verdicts import Failure, require
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.interpreter import SessionDead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from thread_cli.contracts.interpreter import Interpreter

__all__ = ["ATTACKS", "CONTRACT", "Failure", "attacked", "check"]

_SECRET: Final = "the runner's secret"  # noqa: S105 - a text to look for
_LONGEST_LINE: Final = 1_000


async def check(
    interpreter: Callable[[], Interpreter], *, within: float = 20.0, only: Collection[str] | None = None
) -> dict[str, str]:
    """Put an interpreter to all checks, one after the other, each with a new one.

    Args:
        interpreter: makes one.
        within: the most seconds that an attack may last.
        only: names of the checks to run; None for all.

    Returns:
        Name and reason of each check that failed.
    """
    failures: dict[str, str] = {}
    for name in [*CONTRACT, *ATTACKS]:
        if only is not None and name not in only:
            continue
        opened = interpreter()
        try:
            if name in CONTRACT:
                await CONTRACT[name](opened)
            else:
                await attacked(opened, name, within=within)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an interpreter raises is what the check found
            failures[name] = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
        finally:
            await opened.close()
    return failures


async def attacked(interpreter: Interpreter, attack: str, *, within: float = 20.0) -> str | None:
    """Let an attack loose on an interpreter.

    Returns:
        The line that the attacking thread reads, if any.

    Raises:
        Failure: the attack had a forbidden effect.
    """
    with _World() as world:
        await _works(interpreter, "bystander")
        began = monotonic()
        read, _ = await asyncio.gather(
            _read(interpreter, world.with_facts(ATTACKS[attack])), _works(interpreter, "bystander")
        )
        took = monotonic() - began
        require(took <= within, f"it lasted {took:.1f} s")
        world.require_unharmed()
        await _works(interpreter, "bystander")
        await _works(interpreter, "attacker")
        world.require_unharmed()
        return read


async def _read(interpreter: Interpreter, code: str) -> str | None:
    """Run an attack; the line that its thread reads."""
    try:
        outcome = await interpreter.run(code, {"given": [1, 2]}, thread="attacker")
    except SessionDead as death:
        line = str(death)
        require(line, "the session died without a reason")
    else:
        line = outcome.error
        harm = outcome.names.get("harm")
        require(not harm, f"it got through: {str(harm)[:200]}")
        require(_SECRET not in str(dict(outcome.names)) + str(outcome.printed), "it read a secret")
        require(len(outcome.printed or "") <= 100_000, "what it printed is not bounded")
    if line is not None:
        require(
            line == " ".join(line.split("\n")) and len(line) <= _LONGEST_LINE, f"its reason is not one line: {line!r}"
        )
    return line


async def _works(interpreter: Interpreter, thread: str) -> None:
    outcome = await interpreter.run("y = x + 1\nprint(y)", {"x": 41}, thread=thread)
    _same(outcome.names, {"y": 42}, f"the session of the {thread}")
    _same(outcome.printed, "42\n", f"what the session of the {thread} prints")


class _World:
    """Files, ports and processes around the runner that no code may touch, and a check that they are unchanged."""

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self._folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="thread-outside-")))
        self._secret = self._folder / "secret.txt"
        self._secret.write_text(_SECRET)
        self._secret.chmod(0o640)
        self._victim = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # noqa: S607 - it waits
        self._sockets: list[socket.socket] = []
        tcp = self._listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        udp = self._listen(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        self._listen(socket.AF_UNIX, socket.SOCK_STREAM, str(self._folder / "socket"))
        self._before = self._state()
        os.environ["THREAD_CONFORMANCE"] = _SECRET
        self._facts = {
            "OUTSIDE": str(self._folder),
            "SECRET": str(self._secret),
            "TCP": tcp,
            "UDP": udp,
            "RUNNER": os.getpid(),
            "VICTIM": self._victim.pid,
        }
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.pop("THREAD_CONFORMANCE", None)
        self._victim.kill()
        self._victim.communicate()
        self._open.close()

    def with_facts(self, code: str) -> str:
        """Code, preceded by the names of the things that it attacks."""
        return "".join(f"{name} = {value!r}\n" for name, value in self._facts.items() if name in code) + code

    def require_unharmed(self) -> None:
        require(self._victim.poll() is None, "it ended another process")
        _same(self._state(), self._before, "what lies outside the folder")
        for listening in self._sockets:
            with suppress(BlockingIOError):
                if listening.type == socket.SOCK_STREAM:
                    listening.accept()[0].close()
                else:
                    listening.recv(1)
                raise Failure("it reached the network")

    def _listen(self, family: int, kind: int, address: Any) -> int:
        listening = self._open.enter_context(socket.socket(family, kind))
        listening.bind(address)
        if kind == socket.SOCK_STREAM:
            listening.listen()
        listening.setblocking(False)
        self._sockets.append(listening)
        return listening.getsockname()[1] if family == socket.AF_INET else 0

    def _state(self) -> Any:
        about = self._secret.stat()
        mode, times = stat.S_IMODE(about.st_mode), (about.st_mtime_ns, about.st_nlink, about.st_uid)
        return sorted(self._folder.iterdir()), self._secret.read_text(), mode, times, os.getpriority(os.PRIO_PROCESS, 0)


# --- the contract


async def _names(interpreter: Interpreter) -> None:
    """Names go in and come out."""
    outcome = await interpreter.run("y = x + 1\nz = [y]\nz.append(0)", {"x": 41})
    _same(dict(outcome.names), {"y": 42, "z": [42, 0]}, "the names")
    _same((outcome.printed, outcome.error), (None, None), "what is printed, and the error")


async def _values(interpreter: Interpreter) -> None:
    """Plain values come back equal, and of the same types."""
    values: dict[str, Any] = {
        "nothing": None,
        "flags": [True, False],
        "numbers": (0, -1, 10**30, 0.1, -0.0, math.inf),
        "texts": ["", "ä☃\U0001f40d", "two\nlines", "{x}"],
        "collections": {"a": {1: (2, [3])}, 2: {"b"}, (1, 2): []},
    }
    code = "; ".join(f"{name}_2 = {name}" for name in values)
    outcome = await interpreter.run(code, values)
    _same(repr({name: outcome.names[f"{name}_2"] for name in values}), repr(values), "the values")


async def _changes(interpreter: Interpreter) -> None:
    """Changes in place come out too, also those made through a function."""
    outcome = await interpreter.run("items.append(2)", {"items": [1], "others": [1]})
    _same(dict(outcome.names), {"items": [1, 2]}, "the names")


async def _binding(interpreter: Interpreter) -> None:
    """All ways of binding a name bind it."""
    code = (
        "import math as m\nfrom math import pi\nfor i in [1, 2]:\n    j = i\nif (w := 5) > 1:\n    k = w\n"
        "a, (b, *c) = 1, (2, 3)\nd = e = 4\nf: int = 6\ng = [n for n in [7]]\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    h = 8"
    )
    outcome = await interpreter.run(code, {})
    wanted = {"i": 2, "j": 2, "w": 5, "k": 5, "a": 1, "b": 2, "c": [3], "d": 4, "e": 4, "f": 6, "g": [7], "h": 8}
    _same({name: outcome.names.get(name) for name in wanted}, wanted, "the names")
    require({"m", "pi"} <= outcome.names.keys(), "imports are not bound")
    require("n" not in outcome.names, "the name of a comprehension is bound")


async def _prints(interpreter: Interpreter) -> None:
    """Only the output of the last statement that printed counts; an expression prints nothing."""
    outcome = await interpreter.run("print('one')\nfor i in range(2):\n    print(i, end=';')\nx = 3\nx", {})
    _same(outcome.printed, "0;1;", "what is printed")
    _same((await interpreter.run("1 + 1", {})).printed, None, "what an expression prints")
    _same((await interpreter.run("print()", {})).printed, "\n", "an empty line")


async def _errors(interpreter: Interpreter) -> None:
    """An error is one line, and names bound before it are kept."""
    outcome = await interpreter.run("a = 1 + 0\nprint('so far')\nb = a / 0\nc = 3", {})
    _same(dict(outcome.names), {"a": 1}, "the names")
    _same(outcome.printed, "so far\n", "what is printed")
    _same(outcome.error, "ZeroDivisionError: division by zero", "the error")
    for code, start in {
        "{}['x']": "KeyError: ",
        "x = = 1": "SyntaxError",
        "nowhere": "NameError: name 'nowhere' is not defined",
        "raise ValueError('two\\nlines')": "",
        "yield 1": "",
    }.items():
        error = (await interpreter.run(code, {})).error or ""
        require(error.startswith(start) and "\n" not in error, f"`{code}` says {error!r}")


async def _functions(interpreter: Interpreter) -> None:
    """Functions and imports are kept, and look names up where they run."""
    first = await interpreter.run(
        "import re\nscale = 2\ndef found(text):\n    return re.findall('[0-9]', text) * scale", {}
    )
    names = {**first.names, "scale": 1}
    second = await interpreter.run("x = found('a1b2')", names, thread="another")
    _same((dict(second.names), second.error), ({"x": ["1", "2"]}, None), "the outcome")


async def _forgets(interpreter: Interpreter) -> None:
    """Code knows no names but those it is given, whatever ran before it, in its own thread or in another."""
    await interpreter.run("x = 1\ny = 2\ndef f():\n    return x", {}, thread="one")
    for thread in ("one", "two", ""):
        for code in ("z = x", "z = y", "z = f()"):
            error = (await interpreter.run(code, {}, thread=thread)).error or ""
            require(error.startswith("NameError"), f"`{code}` says {error!r}")
    outcome = await interpreter.run("z = x", {"x": 3}, thread="one")
    _same(dict(outcome.names), {"z": 3}, "the names")
    outcome = await interpreter.run("z = x", {"x": 4}, thread="one")
    _same(dict(outcome.names), {"z": 4}, "the names")


async def _overlaps(interpreter: Interpreter) -> None:
    """Calls overlap without mixing, those of one thread too."""
    code = "y = [x] * 3\nfor i in range(2000):\n    y.append(x)\nprint(x)"
    runs = [(number, f"{number % 7}") for number in range(30)]
    outcomes = await asyncio.gather(*(interpreter.run(code, {"x": x}, thread=thread) for x, thread in runs))
    for (x, _), outcome in zip(runs, outcomes, strict=True):
        _same((set(outcome.names["y"]), outcome.printed), ({x}, f"{x}\n"), "the outcome")


async def _repeats(interpreter: Interpreter) -> None:
    """Code does the same in whatever thread it is run: chance, the order of sets, and errors do not differ."""
    code = "import random\nx = random.random()\ny = list({'b', 'a', 'c' + str(1)})\nclass A:\n    pass\nz = str(A())"
    seen: set[str] = set()
    for thread in ("one", "two", "three"):
        outcome = await interpreter.run(code, {}, thread=thread)
        seen.add(repr((outcome.names.get("x"), outcome.names.get("y"), outcome.error)))
    _same(len(seen), 1, "the number of different outcomes")


async def _cancelled(interpreter: Interpreter) -> None:
    """A call that is cancelled leaves nothing behind, and its thread goes on."""
    running = asyncio.create_task(interpreter.run("while True:\n    pass", {"x": 1}, thread="one"))
    await asyncio.sleep(0.1)
    running.cancel()
    with suppress(asyncio.CancelledError, SessionDead):
        await running
    _same(dict((await interpreter.run("y = x", {"x": 2}, thread="one")).names), {"y": 2}, "the names")


async def _closes(interpreter: Interpreter) -> None:
    """It can be closed twice, also unused."""
    await interpreter.close()
    await interpreter.close()


async def _measures(interpreter: Interpreter) -> None:
    """The outcome has the time that code took, without the wait for a session."""
    code = "x = 0\nfor i in range(20000):\n    x = x + i"
    outcomes = await asyncio.gather(*(interpreter.run(code, {}, thread=str(n)) for n in range(4)))
    require(all(0 < outcome.seconds < 5 for outcome in outcomes), f"{[outcome.seconds for outcome in outcomes]} s")


CONTRACT: Final[Mapping[str, Callable[[Interpreter], Awaitable[None]]]] = {
    "names go in and come out": _names,
    "plain values stay what they are": _values,
    "changes in place come out": _changes,
    "all ways of binding bind": _binding,
    "the last print counts": _prints,
    "an error is one line": _errors,
    "functions are kept": _functions,
    "no names but those given": _forgets,
    "calls overlap": _overlaps,
    "runs repeat": _repeats,
    "a cancelled call leaves nothing": _cancelled,
    "closed twice": _closes,
    "time is measured": _measures,
}
"""Checks of the contract, by name; each raises `Failure`."""


def _same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Failure(f"{what}: {str(found)[:200]}, not {str(wanted)[:200]}")
