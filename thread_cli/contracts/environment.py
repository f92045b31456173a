"""The contract between the engine and an environment: tasks, a first observation, steps, an end.

One environment object plays one episode at a time. The engine imports no adapter: all adapters, ours too, are found
through the entry-point group `thread_cli.environments`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from thread_cli.contracts.interpreter import Workspace
    from thread_cli.contracts.model import Model

__all__ = [
    "Action",
    "Apart",
    "AtJoin",
    "Computes",
    "Concurrency",
    "Concurrent",
    "Environment",
    "Finds",
    "InOwnProcess",
    "Joins",
    "Marks",
    "Parallel",
    "ReadsFiles",
    "Scores",
    "SetsUp",
    "Snapshots",
    "Step",
    "TakesActions",
    "Task",
    "Teaches",
]


Concurrency = Literal["exclusive", "shared", "forkable"]
"""How threads that run at the same time act on an environment.

`exclusive`: one after the other, each under a lease, in the order of a serial run. `shared`: at the same time on one
world; `step` may be called while another one runs. `forkable`: each child on a snapshot of its own (`Snapshots`).
"""

AtJoin = Literal["replay", "parent"]
"""What becomes of the worlds of a forkable environment when threads join.

`replay`: the actions of the children are carried out again on their parent's world, in the order of spawning; a child
whose actions are answered otherwise than before is in conflict, and none of its actions is kept. `parent`: the parent's
world is kept as it is.
"""


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `id` names it for good within its environment.

    `data` is the adapter's own, in types that JSON has. It is part of the task's identity, so it holds no path of this
    machine.
    """

    id: str
    text: str = ""
    split: str = ""
    category: str = ""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Step:
    """The answer to an action. A task is solved if its rewards have reached 1 at the end of the episode.

    `view` shows the state of the environment to people, in a few lines of plain text. Displays show the newest one;
    threads never read it.
    """

    observation: str
    reward: float = 0.0
    done: bool = False
    view: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """An action, and the thread that takes it."""

    text: str
    """The action itself; it may have several lines where the prompt has a `fence`."""
    thread: str
    """Path of the thread that acts."""
    seconds: float | None = None
    """Time that the thread has left, after which the action is cancelled; None where there is no limit."""


class Environment(Protocol):
    """An adapter. Its constructor takes only keyword arguments, all optional, `seed` among them."""

    splits: ClassVar[Mapping[str, str]]
    """Name and one-line description of each set of tasks; the first is the default."""
    requires: ClassVar[Sequence[str]]
    """Import names of the packages that the adapter needs and the base install may lack."""
    extra: ClassVar[str | None]
    """The extra of this distribution that installs them; None for an adapter of another distribution."""
    graded: ClassVar[bool]
    """Whether episodes earn a reward, by actions, by `score` or by `marks`."""
    rules: ClassVar[Mapping[str, Any]]
    """Front matter for the plain-text prompt files written for this environment, which have none."""

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
class TakesActions(Protocol):
    """An environment that is told who acts and how much time there is. Its `act` is called in place of `step`."""

    async def act(self, action: Action) -> Step:
        """Carry out one action; raises as `step` does."""
        ...


@runtime_checkable
class Snapshots(Protocol):
    """An environment that can be rewound."""

    async def snapshot(self) -> object: ...

    async def restore(self, snapshot: object) -> None: ...


@runtime_checkable
class Scores(Protocol):
    """An environment that marks the main thread's result instead of rewarding actions."""

    def score(self, task: Task, answer: str) -> Mapping[str, float]:
        """Marks by name, each from 0 to 1. The first is the episode's reward, the others are recorded beside it."""
        ...


@runtime_checkable
class Marks(Protocol):
    """An environment that marks the state in which an episode ended, for example by running tests."""

    async def marks(self, task: Task, answer: str) -> Mapping[str, float]:
        """Marks by name, as `Scores.score` gives them. The call may take as long as the episode has time left.

        `answer` is the main thread's result; it is empty where the environment itself ended the episode.

        Raises:
            EnvironmentFailed: the environment broke.
        """
        ...


@runtime_checkable
class Teaches(Protocol):
    """An environment with an expert of its own."""

    def teacher(self, task: Task) -> Model:
        """An expert that plays `task`; it may know what a model must find out."""
        ...


@runtime_checkable
class Finds(Protocol):
    """An environment that has tasks by more names than its splits list, or whose splits take long to list."""

    def find(self, name: str) -> Task | None:
        """The task of that name; None where there is none."""
        ...


@runtime_checkable
class Concurrent(Protocol):
    """An environment that declares its concurrency. Any other one is exclusive, unless it is `Parallel`.

    A single child that its parent waits for acts on its parent's world, whatever the environment declares.
    """

    concurrency: ClassVar[Concurrency]


@runtime_checkable
class Joins(Protocol):
    """A forkable environment that declares which world is kept at a join; it is `replay` where nothing is declared."""

    at_join: ClassVar[AtJoin]


@runtime_checkable
class Parallel(Protocol):
    """An environment that is shared; an earlier way to declare `concurrency = "shared"`."""

    parallel: ClassVar[Literal[True]]


@runtime_checkable
class ReadsFiles(Protocol):
    """An environment that reads files or folders which users name by options.

    A path does not change a task's identity, the contents do: a task's text or data must depend on the contents.
    """

    paths: ClassVar[Sequence[str]]
    """The options that name files or folders."""


class Apart(Protocol):
    """A process beside the runner's. `thread_cli.environments.process.OwnProcess` is one."""

    seconds: float
    """Longest time that one call may take."""

    @property
    def pid(self) -> int | None:
        """The process id, which is also the id of its process group; None while there is no process."""
        ...


@runtime_checkable
class InOwnProcess(Protocol):
    """An environment that keeps a part of itself in a process of its own: a crash there does not end the runner."""

    process: Apart


@runtime_checkable
class Computes(Protocol):
    """An environment whose threads compute with data: their code runs in the analysis session."""

    def workspace(self, task: Task) -> Workspace:
        """The set-up, functions and files of the sessions of an episode of `task`."""
        ...


@runtime_checkable
class SetsUp(Protocol):
    """An environment with data to download: `thread envs setup NAME`."""

    @classmethod
    def setup(cls, tell: Callable[[str], None]) -> str:
        """Bring the data to where the environment looks for them, going on where an earlier try stopped.

        `tell` gets lines for people as it goes. Returns one line about the data that are there now.

        Raises:
            UserError: the data cannot be fetched or made.
        """
        ...
