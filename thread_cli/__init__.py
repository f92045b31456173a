"""Run agents that think by recursive spawning (THREAD, arXiv 2405.17402).

`play` plays one task from a `Config`, as `thread run` does; `Executor` is the machine under it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thread_cli.assembly.config import Config
    from thread_cli.assembly.playing import Played, play
    from thread_cli.engine.executor import Executor

__all__ = ["Config", "Executor", "Played", "play"]

_HOMES = {
    "Config": "thread_cli.assembly.config",
    "Executor": "thread_cli.engine.executor",
    "Played": "thread_cli.assembly.playing",
    "play": "thread_cli.assembly.playing",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line starts faster for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
