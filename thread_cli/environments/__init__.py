"""Running environments.

Their contract with the engine is `thread_cli.contracts.environment`; adapters may import its names from here.
"""

from thread_cli.contracts import environment
from thread_cli.contracts.environment import *  # noqa: F403 - its names, listed there alone

__all__: list[str] = []
__all__ += environment.__all__
