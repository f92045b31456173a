"""The contract between the engine and a language model: text in, text out, and usage.

A model need know nothing of threads. It is given a prompt in three parts, whose concatenation grows only at its end
while a thread lives; the thread's path and its structure come with it, for code that stands in for a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from thread_cli.contracts.protocol import StopReason
from thread_cli.contracts.usage import Local, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from thread_cli.contracts.protocol import Aside, Move
    from thread_cli.contracts.writer import Turn

__all__ = [
    "Completion",
    "Conversation",
    "Local",
    "Message",
    "Model",
    "Opens",
    "Piece",
    "Profile",
    "Profiled",
    "Request",
    "Span",
    "StopReason",
    "Streams",
    "Usage",
]

Message = tuple[str, str]
"""Role and text."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt as a conversation, in two ways.

    `examples` ends with the thread's context; the thread's Y is the begun answer to it. `turns` holds Y too: each
    feedback in Y is a message of the user, and the last message is the user's.
    """

    examples: tuple[Message, ...]
    turns: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a prompt that has one origin."""

    origin: Literal["few-shot", "context", "written", "engine"]
    """`few-shot`: the prompt that all threads share. `context`: how a thread was opened. `written`: a completion.
    `engine`: the text that the engine appended after it, which begins with the stop string, as wire formats write it.
    """
    text: str
    tokens: Sequence[int] | None = None
    """The token numbers of a completion, if the model told them (`Completion.tokens`)."""


@dataclass(slots=True)  # a frozen class takes three times as long to make, and each call makes one
class Request:
    """One call of a model.

    The prompt is `q + c + y`; `thread_cli.protocols.spans` divides it by origin. All threads of a run share `q`; all
    calls of one thread share `q + c`, and each call's `y` begins with the `y` of the call before, the text generated
    then, and the stop string that ended it.
    """

    q: str
    c: str
    y: str
    stop: tuple[str, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    thread: str = "0"
    top_p: float | None = None
    """Probability mass of the tokens to draw from, at temperatures above 0; None for the model's own setting."""
    grammar: str | None = None
    """GBNF that the text has to follow, where the backend can see to it."""
    logprobs: bool = False
    """Whether the log-probability of each generated token is asked for."""
    max_reasoning: int = 0
    """Tokens of reasoning that may be written beside `max_tokens`, by a model that reasons."""
    max_together: int | None = None
    """Tokens of text and reasoning together, where a budget leaves less than both."""
    conversation: Conversation | None = None
    """The same prompt for servers that know chat alone; None where it is to be told as a text there, too."""
    until_circles: bool = False
    """Whether to stop, with `length`, as soon as the text goes round in circles (`circles.goes_round`)."""
    turn: Turn | None = field(default=None, repr=False)
    """The structure of the thread that is to go on; None where no thread asks, as in `thread serve`."""
    resumes: tuple[int, int] = (0, 0)
    """Characters and tokens at the end of Y that an earlier call wrote, which this call goes on with. A backend that
    samples from a seed may draw as though both were one call; others need not heed this."""

    @property
    def prompt(self) -> str:
        return self.q + self.c + self.y


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's text, without the stop string that ended it.

    `waited` is the time in seconds that the call spent queueing or backing off, `retries` how often it was repeated.
    """

    text: str
    stop: StopReason
    usage: Usage = field(default_factory=Usage)
    waited: float = 0.0
    retries: int = 0
    logprobs: Sequence[float] | None = None
    """Natural logarithm of the probability that the model gave to each token of the text, if they were asked for."""
    pieces: Sequence[str] | None = None
    """The text of each of these tokens; joined they are the text."""
    tokens: Sequence[int] | None = None
    """The numbers of the tokens of the text, if the backend has them. The last one may reach into the stop string."""
    stop_string: str | None = None
    """The stop string that ended the text, if one did and the backend knows which."""
    reasoning: str = ""
    """The model's reasoning before the text; no part of it."""
    move: Move | Aside | None = None
    """The thread's move, where its writer decided the move; None: the wire format reads the move in the text."""
    writer: str = ""
    """Name of the writer that wrote the text beside a model; empty: a model, or a writer that stands in for one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a completion, written since the piece before."""

    text: str = ""
    reasoning: str = ""
    tokens: int = 1
    """Tokens generated since then; where a backend does not count them, each piece counts as one."""
    anew: bool = False
    """Whether the completion begins anew with this piece: what was written before is lost, or was reasoning."""


@runtime_checkable
class Model(Protocol):
    """A language model. Several calls may be under way at once."""

    async def complete(self, request: Request) -> Completion:
        """Continue the request's prompt.

        Raises:
            ModelError: the model could not be reached or answered with an error, after all retries.
        """
        ...

    async def close(self) -> None:
        """Release what the model holds. May be called twice."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A model that passes on its text while it writes it."""

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """Continue the request's prompt: pieces, and at last the completion that `complete` would return.

        The texts of the pieces, from the last piece that is `anew` on, join to the completion's text. Where the task
        that iterates is cancelled, the stream still ends in a completion, with the text written until then, its usage
        and the stop `cut`. The task has to end then.

        Raises:
            ModelError: as `complete` does.
            asyncio.CancelledError: the call was cancelled before anything was spent.
        """
        ...


@runtime_checkable
class Opens(Protocol):
    """A model or an interpreter that takes long to be ready, and may be made so ahead of its first call."""

    async def open(self) -> None:
        """Make it ready.

        Raises:
            UserError: it cannot be.
        """
        ...


@dataclass(frozen=True, slots=True)
class Profile:
    """How many calls a model can do at once."""

    free: int
    """Calls that it has room for now, besides those under way; at least 1."""
    speeds: Mapping[int, float] = field(default_factory=dict[int, float])
    """Generated tokens per second of all calls together, by the number of calls; empty where that is not known."""


@runtime_checkable
class Profiled(Protocol):
    """A model that knows how many calls it can do at once."""

    async def profile(self) -> Profile:
        """What it can do now; the first call may measure it, which takes some seconds."""
        ...
