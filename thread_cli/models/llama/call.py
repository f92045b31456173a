"""One request on its way through a local model: its state, and all that belongs to it alone."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.model import Completion, Local, Usage
from thread_cli.protocols.circles import goes_round

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as Rows

    import numpy as np
    from numpy.typing import NDArray

    from thread_cli.contracts.model import Request, StopReason
    from thread_cli.models.llama.cache import PrefixTree, Sequence
    from thread_cli.models.llama.drafts import Draft, Drafts, Trail
    from thread_cli.models.llama.sampling import Sampler, Text
    from thread_cli.models.llama.transcript import TokenizedPrompt
    from thread_cli.models.llama.vocabulary import Vocabulary

__all__ = ["Call", "Description", "State"]

_CHECKED: Final = 16
"""Generated tokens after which a text is checked again for going round in circles."""


@dataclass(frozen=True, slots=True)
class Description:
    """Facts from a model's file, and the most tokens that a prompt and its continuation may have together."""

    template: str | None
    """The chat template, in Jinja."""
    begin: str
    """The name of the token that begins a text."""
    end: str
    begins: bool
    """True if every prompt begins with that token, written or not."""
    longest: int


class State(Enum):
    """Where a call stands. It goes down this list, but a call that steps back is queued again."""

    known = "known"
    """Submitted; its prompt is not tokenised yet."""
    queued = "queued"
    """Waits for KV cells, or for tokens that another call is about to evaluate; holds no sequence."""
    prefill = "prefill"
    """Holds a sequence, and has more than one token to evaluate before the next one can be drawn."""
    decode = "decode"
    """Holds a sequence, and has one token to evaluate before the next one can be drawn."""
    done = "done"
    """Answered; holds no sequence."""


_UNDER_WAY: Final = (State.prefill, State.decode)


@dataclass(eq=False, repr=False, slots=True)
class Call:
    """One request, from its submission to its answer.

    The call owns its prompt, its tokens and text, its draft and its usage, and while it is under way a sequence of KV
    cells. Its methods are the only transitions between its states. Each raises RuntimeError in a state that it cannot
    leave.
    """

    request: Request
    on_done: Callable[[Completion | Exception], None]
    """Called once, on the worker thread, with a completion or an exception."""
    on_text: Callable[[str], None] | None = None
    """Called on that thread for each token, with the text that has become certain, which may be empty."""
    cancelled: bool = False
    """Any thread may set it; soon after, the call ends in a completion of the text generated until then."""
    submitted: float = field(default_factory=monotonic)
    state: State = field(default=State.known, init=False)

    prompt: TokenizedPrompt = field(init=False)
    """Set when the call is queued, as the next four are."""
    tokens: array[int] = field(init=False)
    """The prompt, and the tokens generated so far."""
    text: Text = field(init=False)
    sampler: Sampler = field(init=False)
    longest: int = field(init=False)
    """Most tokens of the prompt and its continuation together."""
    reuses: bool = field(default=False, init=False)
    """True if output that was generated for the same tokens may be reused."""
    priority: tuple[int, int] = field(default=(0, 0), init=False)
    """Calls with lower values go first: those of deeper threads, then those that arrived earlier."""
    sequence: Sequence | None = field(default=None, init=False)
    """The KV cells of its first `evaluated` tokens, while it is under way."""
    draft: Draft | None = field(default=None, init=False)
    """Tokens that may follow, of which the next batch verifies some."""

    waited: float | None = field(default=None, init=False)
    """Seconds before the first of its tokens was evaluated or reused; None until then."""
    cached: int = field(default=0, init=False)
    repeated: int = field(default=0, init=False)
    generated: int = field(default=0, init=False)
    local: Local = field(default_factory=Local, init=False)

    _tree: PrefixTree | None = field(default=None, init=False)
    _trail: Trail | None = field(default=None, init=False)

    @property
    def under_way(self) -> bool:
        """True if it holds a sequence."""
        return self.state in _UNDER_WAY

    @property
    def evaluated(self) -> int:
        """Tokens whose KV cells it holds."""
        return 0 if self.sequence is None else self.sequence.length

    @property
    def pending(self) -> int:
        """Tokens to evaluate before the next one can be drawn."""
        return len(self.tokens) - self.evaluated

    @property
    def few_shot(self) -> int:
        """Tokens of the few-shot prompt that are still to be evaluated, the call's last token left out."""
        return min(self.prompt.shared, len(self.tokens) - 1) - self.evaluated

    @property
    def left(self) -> int:
        """Tokens that it may still generate."""
        return min(self.request.max_tokens - self.generated, self.longest - len(self.tokens))

    def queue(
        self, prompt: TokenizedPrompt, text: Text, sampler: Sampler, *, reuses: bool, arrival: int, longest: int
    ) -> None:
        """Take the tokenised prompt: from `known` to `queued`."""
        self._leave(State.known)
        self.prompt, self.tokens, self.text, self.sampler = prompt, array("i", prompt.tokens), text, sampler
        self.reuses, self.longest = reuses, longest
        self.priority = (-self.request.thread.count("."), arrival)
        self.state = State.queued

    def admit(self, tree: PrefixTree, drafts: Drafts) -> None:
        """Take a sequence from the tree, and note the prompt for drafts: from `queued` to `prefill` or `decode`.

        Raises:
            CacheFull: all sequences are busy. The call is still queued.
        """
        self._leave(State.queued)
        self.sequence, self._tree = tree.take(self.tokens), tree
        if self.waited is None:
            self._begin(self.evaluated)
            self._trail = drafts.follow(self.tokens, self.evaluated)
        self._settle()

    def draw(self, token: int, vocabulary: Vocabulary) -> StopReason | None:
        """Append a token to the text; returns why the text ends with it, if it does.

        A queued call draws tokens that are reused, a call under way those that it samples.
        """
        self._leave(State.queued, *_UNDER_WAY)
        self.generated += 1
        if vocabulary.is_end(token):
            return "end"
        drawn = array("i", [token])
        self.tokens += drawn
        if self._trail is not None:
            self._trail.add(drawn)
        stopped = self.text.add(token, vocabulary.piece(token))
        if self.on_text is not None:
            self.on_text(self.text.news())
        if stopped:
            return "listen" if self.text.stopped_by == 0 else "end"
        if self.request.until_circles and self.generated % _CHECKED == 0 and goes_round(str(self.text)):
            return "length"
        return None if self.left > 0 else "length"

    def sample(
        self, logits: Rows[NDArray[np.float32]], drafted: array[int], vocabulary: Vocabulary
    ) -> tuple[array[int], StopReason | None]:
        """Draw a token from each row of logits in turn, until one differs from the draft or ends the text.

        Row i follows the first i tokens of `drafted`. Returns the tokens drawn, and why the text ends, if it does.
        """
        drawn = array("i")
        stop: StopReason | None = None
        for place, row in enumerate(logits):
            drawn.append(self.sampler.choose(row))
            stop = self.draw(drawn[-1], vocabulary)
            if stop is not None or place == len(drafted) or drawn[-1] != drafted[place]:
                break
        return drawn, stop

    def advance(self, evaluated: array[int], local: Local) -> int:
        """Note that tokens were evaluated at the end of its sequence, and its part in the batch.

        To `decode` where one token is left to evaluate. Returns how many tokens had been evaluated before.
        """
        self._leave(*_UNDER_WAY)
        tree, sequence = self._held()
        repeated = tree.extend(sequence, evaluated)
        self.repeated += repeated
        self.local += local
        self.draft = None
        self._settle()
        return repeated

    def step_back(self) -> None:
        """Give up its sequence, the cells of which stay cached while there is room: back to `queued`."""
        self._leave(*_UNDER_WAY)
        self._rest(waiting=True)
        self.state = State.queued

    def finish(self, stop: StopReason, *, reused: bool = False) -> None:
        """Answer with the text generated so far, and give up the sequence, if it holds one: to `done`.

        `reused`: the rest of its text was reused, so that none of its prompt is evaluated any more.
        """
        self._leave(State.queued, *_UNDER_WAY)
        if reused and self.waited is None:
            self._begin(len(self.tokens))
        completion = self._completion(stop)
        if self.under_way:
            self._rest(waiting=stop not in {"end", "cut"})
        self.state = State.done
        self.on_done(completion)

    def fail(self, error: Exception) -> None:
        """Answer with an error: to `done`. A sequence that it holds is left to whoever clears the tree."""
        self._leave(State.known, State.queued, *_UNDER_WAY)
        self.sequence = self._tree = None
        self.state = State.done
        self.on_done(error)

    def _leave(self, *states: State) -> None:
        if self.state not in states:
            raise RuntimeError(f"a call that is {self.state.name} is not {' or '.join(state.name for state in states)}")

    def _settle(self) -> None:
        self.state = State.prefill if self.pending > 1 else State.decode

    def _begin(self, known: int) -> None:
        """Note how long it has waited, and how many of its tokens a cache spares."""
        self.waited = monotonic() - self.submitted
        self.cached = min(known, len(self.prompt.tokens))

    def _held(self) -> tuple[PrefixTree, Sequence]:
        if self._tree is None or self.sequence is None:
            raise RuntimeError("a call under way holds no sequence")
        return self._tree, self.sequence

    def _rest(self, *, waiting: bool) -> None:
        tree, sequence = self._held()
        tree.release(sequence, waiting=waiting)
        self.sequence = self._tree = self.draft = None

    def _completion(self, stop: StopReason) -> Completion:
        prompt = len(self.prompt.tokens)
        if not self.generated and stop == "cut":
            # A prompt that was not evaluated costs nothing.
            prompt = max(self.cached, min(prompt, self.evaluated))
        usage = Usage(prompt, self.cached, self.generated, self.repeated, local=self.local)
        pieces = None if self.sampler.logprobs is None else self.text.parts()
        logprobs = None if pieces is None else (self.sampler.logprobs or [])[: len(pieces)]
        ended_by = None if stop == "cut" else self.text.stopped_by
        return Completion(
            str(self.text),
            stop,
            usage,
            waited=self.waited or 0.0,
            logprobs=logprobs,
            pieces=pieces,
            tokens=self.text.tokens(),
            stop_string=None if ended_by is None else self.request.stop[ended_by],
        )
