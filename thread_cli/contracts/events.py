"""The single stream of events, from which display, log and metrics are made.

Every text is told once, where it came to be: a thread's context when it starts, generated text when it was generated,
what the engine appended when it was appended (only a ϕ that hands a parent's whole Y to its child repeats that Y in the
child's context). A thread's token sequence Y is the concatenation of its `Generated.text`
and of the `text` of its `Observed`, `Joined`, `Spawned` and `Corrected` events, in order; a `Removed` event cuts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from thread_cli.contracts.errors import Boundary, Ending, Status
from thread_cli.contracts.model import Local, StopReason
from thread_cli.contracts.protocol import Which

__all__ = [
    "Acted",
    "Awaiting",
    "CodeRan",
    "Conflicted",
    "Corrected",
    "EpisodeEnded",
    "EpisodeStarted",
    "Event",
    "Failed",
    "Generated",
    "Generating",
    "Joined",
    "Observed",
    "Recorded",
    "Removed",
    "Repaired",
    "Sink",
    "Spawned",
    "ThreadEnded",
    "ThreadStarted",
    "Totals",
]


class Totals(BaseModel):
    """Sums over an episode. Tokens are tokens, times seconds, `cost` US dollars (None where a price is unknown)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int = 0
    calls: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    repeated_tokens: int = 0
    generated_tokens: int = 0
    reasoning_tokens: int = 0
    """Those of the generated tokens that were reasoning."""
    actions: int = 0
    repairs: int = 0
    depth: int = 0
    """Depth of the deepest thread; the main thread has depth 0."""
    token_latency: int = 0
    """Generated tokens on the critical path: sequential ones plus the longest child of each fork, recursively."""
    context_window: int = 0
    """Prompt and generated tokens of the longest call. 0 in logs of earlier versions, like the next four fields."""
    forks: int = 0
    """Spawns that started at least one child."""
    parallel_forks: int = 0
    """Those of the forks that started several children at once, or at least one in the background."""
    model_seconds: float = 0.0
    """Seconds of all model calls that ended in a completion, without queueing and backing off; 0 where no fork was
    parallel: sums of runs that differ in their times alone are the same then."""
    seconds: float = 0.0
    """Wall time, from the first event to the newest; 0 where no fork was parallel."""
    cost: float | None = None
    local: Local | None = None
    """Work of models on this machine."""
    estimated: bool = False
    """Whether some of the tokens are estimates."""
    cached_known: bool = True
    """Whether all models reported their cached tokens."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    episode: str
    n: int
    """Place in the episode's stream, from 0."""
    thread: str
    """Path of the thread: `0` is the main thread, `0.2` its third child."""
    parent: str | None = Field(default_factory=lambda read: read["thread"].rpartition(".")[0] or None)
    """Path of its parent, None for the main thread."""
    cause: int | None
    """`n` of the event that led to this one."""
    time: float
    """Seconds since the episode began."""


class EpisodeStarted(_Event):
    """An episode begins."""

    kind: Literal["episode_started"] = "episode_started"
    environment: str
    task: str
    category: str = ""
    at: str
    """Wall-clock time, ISO 8601, UTC."""
    policy: str = ""
    """Version of the model that writes the threads: the name that the user gives it, else the model's spec."""
    protocol: str = "thread"
    """The wire format that the prompt is written in, with its options."""


class ThreadStarted(_Event):
    """A thread begins: its depth in the tree, and its context c."""

    kind: Literal["thread_started"] = "thread_started"
    depth: int
    context: str
    inherits: bool = False
    """Whether the thread's prompt continues the text that its parent had when it spawned the thread."""
    opening: str | None = None
    """The text between the inherited text and the thread's Y; None: as its wire format opens a context."""


class Generating(_Event):
    """A model call begins."""

    kind: Literal["generating"] = "generating"


class Generated(_Event):
    """A model call has ended: its text without the stop string, and its usage. Times in seconds, cost in dollars."""

    kind: Literal["generated"] = "generated"
    text: str
    stop: StopReason
    prompt_tokens: int
    cached_tokens: int
    repeated_tokens: int
    generated_tokens: int
    cost: float | None
    seconds: float
    waited: float
    retries: int
    estimated: bool = False
    """Whether the tokens are estimates."""
    cached_known: bool = True
    """Whether the model reported its cached tokens."""
    local: Local | None = None
    reasoning: str = ""
    """The model's reasoning before the text; no part of Y."""
    reasoning_tokens: int = 0
    """Those of the generated tokens that were reasoning."""
    note: str = ""
    """The reading of a server's contradictory numbers, or the reason for which they are unknown."""
    writer: str = ""
    """Name of the writer that wrote the text beside a model; empty: a model, or a writer that stands in for one."""
    tokens: tuple[tuple[str, float], ...] = ()
    """The tokens of the text, each with the natural logarithm of its probability, where they were asked for."""


class CodeRan(_Event):
    """Lines of the generated text were run as Python. `bound` are the names that they bound."""

    kind: Literal["code_ran"] = "code_ran"
    code: str
    bound: tuple[str, ...]
    printed: str | None
    error: str | None


class Acted(_Event):
    """A thread sends an action to the environment, with the values of its variables put in."""

    kind: Literal["acted"] = "acted"
    action: str


class Observed(_Event):
    """The environment's answer, and the text that it became in the thread's Y."""

    kind: Literal["observed"] = "observed"
    observation: str
    text: str
    reward: float
    done: bool
    seconds: float
    view: str = ""
    """The environment's own rendering of its state, for people."""


class Spawned(_Event):
    """The thread spawned children; `children` are the paths of those that could be born."""

    kind: Literal["spawned"] = "spawned"
    children: tuple[str, ...]
    waits: bool = True
    """False: the thread goes on at once, and has read `text`."""
    text: str = ""
    """What was appended to Y at once: the handles of children in the background."""


class Awaiting(_Event):
    """The thread waits for children in the background, until some of them join or until it ends after all of them.

    The `joined` event names the children that joined.
    A child that could not be born has a handle too, and is named.
    """

    kind: Literal["awaiting"] = "awaiting"
    children: tuple[str, ...]
    """Paths of these children; empty where the thread waits for any one of all that it has not awaited yet."""
    which: Which


class Joined(_Event):
    """The children ended, and their results were appended to the thread's Y as `text`."""

    kind: Literal["joined"] = "joined"
    children: tuple[str, ...]
    text: str
    segments: tuple[tuple[str, int], ...] = ()
    """The writers of the text, if the wire format names them: path of the child (empty for the wire format itself) and
    number of characters.
    """


class Conflicted(_Event):
    """At a join, an action of a child was answered otherwise on the thread's world than on the child's snapshot.

    None of the child's actions was kept.
    """

    kind: Literal["conflicted"] = "conflicted"
    child: str
    """Path of the child."""
    action: str
    """The first action with another answer."""
    seen: str
    """The observation that the child had."""
    now: str
    """The observation at the join. It may be the same, where the reward or the end of the episode differs."""
    actions: int
    """Number of the child's actions, none of which was kept."""


class Corrected(_Event):
    """Instead of carrying a line out, the engine answered it with an error, appended to the thread's Y as `text`."""

    kind: Literal["corrected"] = "corrected"
    text: str


class Repaired(_Event):
    """The thread's text was not quite in the protocol, but its intent was plain, and was carried out."""

    kind: Literal["repaired"] = "repaired"
    repair: str = ""
    """Name of the repair, where the wire format knows several."""


class Removed(_Event):
    """The end of the thread's Y was removed. The results that join next stand in its place."""

    kind: Literal["removed"] = "removed"
    kept: int
    """Characters of Y that stay."""


class Failed(_Event):
    """A thread has failed, or one of its model calls. Its boundary decides how the failure is handled."""

    kind: Literal["failed"] = "failed"
    boundary: Boundary
    failure: str
    """The failure's name, as `ThreadFailure.kind`."""
    message: str
    prompt_tokens: int = 0
    """Tokens of the lost answers of a model call that failed."""
    generated_tokens: int = 0
    cost: float | None = None
    limit: str | None = None
    """The limit that was reached, as in `LimitReached`; None for any other failure."""
    used: float | None = None
    cap: float | None = None
    owner: str | None = None


class ThreadEnded(_Event):
    """A thread has ended."""

    kind: Literal["thread_ended"] = "thread_ended"
    result: str | None
    """The text for the parent; None for a thread that failed without a partial result."""
    failed: bool
    how: Ending | None = None
    """None in logs of earlier versions. A thread that was `stopped` counts as `failed` too if an error ended the
    episode.
    """
    reason: str = ""
    """Why a watcher pruned it, or why it was stopped where its parent ended first."""


class EpisodeEnded(_Event):
    """The episode has ended: verdict, reward and sums."""

    kind: Literal["episode_ended"] = "episode_ended"
    status: Status
    reward: float | None
    """None where the environment gives no reward."""
    marks: dict[str, float] = Field(default_factory=dict[str, float])
    """All marks of an answer by name, where the environment gives marks; the reward is the first."""
    message: str
    totals: Totals
    reason: str = ""
    """Why a watcher ended the episode."""
    answer: str | None = None
    """The answer that this watcher gave the episode; None where it gave no answer, or no watcher ended the episode."""


Event = Annotated[
    EpisodeStarted
    | ThreadStarted
    | Generating
    | Generated
    | CodeRan
    | Acted
    | Observed
    | Spawned
    | Awaiting
    | Joined
    | Conflicted
    | Corrected
    | Repaired
    | Removed
    | Failed
    | ThreadEnded
    | EpisodeEnded,
    Field(discriminator="kind"),
]
"""Any event; `kind` says which."""

Sink = Callable[[Event], None]
"""A consumer of the stream. It is called in order, on the engine's event loop, and must return quickly."""


@runtime_checkable
class Recorded(Protocol):
    """A model that repeats a recorded episode. The episode in which it does so is led along the recording."""

    policy: str
    """The recorded version of the model, if the recording tells it."""
    recording: Sequence[Event]
    """The events of that episode, in order."""
