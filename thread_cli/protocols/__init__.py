"""Wire formats. Their contract with the engine is `thread_cli.contracts.protocol`."""

from thread_cli.contracts import protocol
from thread_cli.contracts.protocol import *  # noqa: F403 - its names, listed there alone

__all__: list[str] = []
__all__ += protocol.__all__
