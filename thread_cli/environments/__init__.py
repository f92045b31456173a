"""What an environment is to the engine: tasks, a first observation, steps, an end.

One environment object plays one episode at a time. The engine imports no adapter: adapters are found through the
entry-point group `thread_cli.environments`, ours like anybody's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thread_cli.models import Model

__all__ = ["Environment", "Scores", "Snapshots", "Step", "Task", "Teaches"]


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `id` names it for good within its environment; `data` is the adapter's own."""

    id: str
    text: str = ""
    split: str = ""
    category: str = ""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Step:
    """What an action led to. A task is solved when its rewards have reached 1 at the end of the episode."""

    observation: str
    reward: float = 0.0
    done: bool = False


class Environment(Protocol):
    """An adapter. Its constructor takes only keyword arguments, all optional, `seed` among them."""

    splits: ClassVar[Mapping[str, str]]
    """Name and one-line description of each set of tasks; the first is the default."""
    requires: ClassVar[Sequence[str]]
    """Import names of the packages that the adapter needs and the base install may lack."""
    extra: ClassVar[str | None]
    """The extra of this distribution that installs them; None for an adapter of another distribution."""
    graded: ClassVar[bool]
    """Whether episodes earn a reward, by actions or by `score`."""
    rules: ClassVar[Mapping[str, Any]]
    """Front matter that stands in for the missing one of a plain-text prompt file written for this environment."""

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, in an order that is the same on every machine."""
        ...

    async def reset(self, task: Task) -> str:
        """Begin an episode; returns the text that the main thread gets as its context."""
        ...

    async def step(self, action: str) -> Step:
        """Carry out one action. An action that makes no sense is answered by an observation, not by an error.

        Raises:
            EnvironmentFailed: the environment itself broke; no fault of the model.
        """
        ...

    async def close(self) -> None:
        """Release what the environment holds. May be called twice."""
        ...


@runtime_checkable
class Snapshots(Protocol):
    """An environment that can be rewound."""

    async def snapshot(self) -> object: ...

    async def restore(self, snapshot: object) -> None: ...


@runtime_checkable
class Scores(Protocol):
    """An environment that marks the main thread's result instead of rewarding actions."""

    def score(self, answer: str) -> float: ...


@runtime_checkable
class Teaches(Protocol):
    """An environment with an expert of its own, which plays the episode begun by the last `reset`."""

    def teacher(self) -> Model: ...
