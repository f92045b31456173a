"""How environments run.

What one is to the engine is told by `thread_cli.contracts.environment`; adapters import it from here.
"""

from thread_cli.contracts.environment import (
    Computes,
    Environment,
    Finds,
    InOwnProcess,
    Parallel,
    ReadsFiles,
    Scores,
    SetsUp,
    Snapshots,
    Step,
    Task,
    Teaches,
)

__all__ = [
    "Computes",
    "Environment",
    "Finds",
    "InOwnProcess",
    "Parallel",
    "ReadsFiles",
    "Scores",
    "SetsUp",
    "Snapshots",
    "Step",
    "Task",
    "Teaches",
]
