"""Analysis sessions as several test files use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thread_cli.interpreters.session import SessionInterpreter

SMALL: dict[str, Any] = {"seconds": 1.0, "memory": 400_000_000, "disk": 20_000_000}


async def ran(interpreter: SessionInterpreter, code: str, names: Any = None, thread: str = "0") -> dict[str, Any]:
    outcome = await interpreter.run(code, names or {}, thread=thread)
    assert outcome.error is None
    return dict(outcome.names)


def exists(path: str) -> bool:
    return Path(path).exists()
