"""How environments run.

What one is to the engine is told by `thread_cli.contracts.environment`; adapters import it from here.
"""

from thread_cli.contracts import environment
from thread_cli.contracts.environment import *  # noqa: F403 - its names, listed there alone

__all__: list[str] = []
__all__ += environment.__all__
