"""Kinds of interpreters. Their contract with the engine is `thread_cli.contracts.interpreter`."""

from thread_cli.contracts import interpreter
from thread_cli.contracts.interpreter import *  # noqa: F403 - its names, listed there alone

__all__: list[str] = []
__all__ += interpreter.__all__
