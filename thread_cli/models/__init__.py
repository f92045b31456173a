"""Kinds of models. Their contract with the engine is `thread_cli.contracts.model`."""

from thread_cli.contracts import model
from thread_cli.contracts.model import *  # noqa: F403 - its names, listed there alone

__all__: list[str] = []
__all__ += model.__all__
