"""Wire formats. What one is to the engine is told by `thread_cli.contracts.protocol`."""

from thread_cli.contracts.protocol import (
    Act,
    End,
    Move,
    Protocol,
    Result,
    Spawn,
)

__all__ = [
    "Act",
    "End",
    "Move",
    "Protocol",
    "Result",
    "Spawn",
]
