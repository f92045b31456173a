"""Kinds of interpreters. What one is to the engine is told by `thread_cli.contracts.interpreter`."""

from thread_cli.contracts.interpreter import (
    Ends,
    HostError,
    Interpreter,
    Names,
    Outcome,
    SessionDead,
    Workspace,
)

__all__ = [
    "Ends",
    "HostError",
    "Interpreter",
    "Names",
    "Outcome",
    "SessionDead",
    "Workspace",
]
