"""Sessions as several test files use them."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Any

from cases import BACK, FORK, JOIN

from thread_cli.engine.namespace import Namespace
from thread_cli.interpreters.session import SessionInterpreter

SMALL: dict[str, Any] = {"seconds": 1.0, "memory": 400_000_000, "disk": 20_000_000}
WITHOUT_LANDLOCK = """
import ctypes, struct
code = b"".join(struct.pack("HBBI", *step) for step in (
    (0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x00050000 | 38), (6, 0, 0, 0x7FFF0000)))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
buffer = ctypes.create_string_buffer(code, len(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.cast(buffer, ctypes.c_void_p))), 0, 0) == 0
"""
"""Makes a process one of a machine whose kernel has no Landlock."""


async def ran(interpreter: SessionInterpreter, code: str, names: Any = None, thread: str = "0") -> dict[str, Any]:
    outcome = await interpreter.run(code, names or {}, thread=thread)
    assert outcome.error is None
    return dict(outcome.names)


async def computed(interpreter: Any, pieces: list[str], *, apart: bool = False) -> list[tuple[str | None, str | None]]:
    """What threads print and read of errors, piece by piece; with `apart` no piece runs in the session of another."""
    told: list[tuple[str | None, str | None]] = []
    threads = [("0", Namespace())]
    used = {"0"}
    for place, piece in enumerate(pieces):
        thread, names = threads[-1]
        if piece == FORK:
            threads.append((f"{thread}.{place}", names.child()))
        elif piece in (BACK, JOIN):
            threads.pop()
            threads[-1][1].join([names])
        else:
            thread = f"{thread}-{place}" if apart else thread
            outcome = await interpreter.run(piece, names.values, thread=thread)
            names.bind(outcome.names, outcome.gone)
            told.append((outcome.printed, outcome.error))
            used.add(thread)
    for thread in used if hasattr(interpreter, "ended") else ():
        interpreter.ended(thread)
    return told


def in_statements(pieces: list[str]) -> list[str]:
    """The same pieces, with each statement a piece of its own."""
    return list(itertools.chain.from_iterable(map(_statements, pieces)))


def _statements(piece: str) -> list[str]:
    try:
        statements = ast.parse(piece).body
    except SyntaxError:
        return [piece]
    lines = piece.split("\n")
    firsts = [min([s.lineno, *(d.lineno for d in getattr(s, "decorator_list", []))]) for s in statements]
    whole = ["\n".join(lines[first - 1 : s.end_lineno]) for first, s in zip(firsts, statements, strict=True)]
    return whole if len({*firsts}) == len(firsts) else [piece]


def exists(path: str) -> bool:
    return Path(path).exists()
