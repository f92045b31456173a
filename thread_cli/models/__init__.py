"""Kinds of models. What a model is to the engine is told by `thread_cli.contracts.model`."""

from thread_cli.contracts import model
from thread_cli.contracts.model import *  # noqa: F403 - its names, listed there alone

__all__: list[str] = []
__all__ += model.__all__
