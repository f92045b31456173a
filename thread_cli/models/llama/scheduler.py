"""Who is evaluated next: continuous batching over the calls under way, on the worker thread.

Every step is one batch. Calls that are decoding give one token each; what room is left goes to prompts, deepest thread
first. A prompt whose beginning another call is just evaluating waits for it and then shares it; where the most probable
tokens are drawn, so is what another call has drawn after the same text. A call that is about to draw a token has drafts
of the next ones verified with it, where that pays. Where cells run short, no drafts are made, the cache drops sequences
at rest, and then calls of the lowest priority step back and are rebuilt later.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import LimitReached, ModelError
from thread_cli.contracts.model import Completion, Local, StopReason, Usage
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.cache import CacheFull, PrefixTree, Sequence, common_prefix
from thread_cli.models.llama.ceilings import Ceilings
from thread_cli.models.llama.drafts import PHRASES, Drafts, read_phrases
from thread_cli.models.llama.grammar import Grammar
from thread_cli.models.llama.policy import Policy
from thread_cli.models.llama.sampling import Sampler, Text
from thread_cli.models.llama.speculation import MOST, Speculation
from thread_cli.models.llama.transcript import Prompt, Transcripts
from thread_cli.models.llama.work import Work
from thread_cli.protocols.circles import goes_round

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from thread_cli.models.llama.call import Call
    from thread_cli.models.llama.drafts import Draft, Trail

__all__ = ["Scheduler"]

_LOOKED_AT: Final = 16  # tokens, after which it is looked again whether a text goes round in circles


@dataclass(eq=False, slots=True)
class _Live:
    """A call on its way through the model: `tokens` are its prompt and what it has generated."""

    call: Call
    prompt: Prompt
    tokens: array[int]
    text: Text
    sampler: Sampler
    priority: tuple[int, int]
    sequence: Sequence | None = None
    trail: Trail | None = None
    waited: float | None = None
    cached: int = 0
    repeated: int = 0
    generated: int = 0
    local: Local = field(default_factory=Local)

    @property
    def greedy(self) -> bool:
        """Whether the text depends on nothing but the prompt."""
        return Policy.reuses(self.call.request)

    @property
    def evaluated(self) -> int:
        return 0 if self.sequence is None else self.sequence.length

    @property
    def pending(self) -> int:
        """Tokens to evaluate before the next one can be drawn."""
        return len(self.tokens) - self.evaluated


class Scheduler:
    """Runs calls on a backend, a step at a time.

    Args:
        backend: the model.
        sequences: most sequences that are kept.
        top_p: probability mass to draw from, for requests that do not say.
        speculate: whether to make drafts.
        work: gets what is done added.
        ceilings: what the machine can do, to compare with.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        sequences: int,
        top_p: float = 1.0,
        speculate: bool = True,
        work: Work | None = None,
        ceilings: Ceilings | None = None,
    ) -> None:
        sequences = min(sequences, backend.sequences)
        self.tree = PrefixTree(backend, sequences=sequences, cells=backend.context, whole=backend.whole)
        self.speculation = Speculation(on=speculate and backend.policy.drafts)
        self.work = work or Work()
        self._drafts = Drafts()
        for lead, phrase in read_phrases(backend.told(PHRASES)) if self.speculation.on else ():
            tokens = [backend.vocabulary.tokenize(text.encode(), first=False, special=False) for text in (lead, phrase)]
            self._drafts.follow(tokens[0] + tokens[1], 0)
        self._backend = backend
        self._ceilings = ceilings or Ceilings()
        self._vocabulary = backend.vocabulary
        self._transcripts = Transcripts(backend.vocabulary)
        self._size = backend.policy.mixed
        self._top_p = top_p
        self._longest = min(backend.context, backend.trained or backend.context)
        self._waiting: list[_Live] = []
        self._live: list[_Live] = []
        self._arrivals = 0

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._live)

    def submit(self, call: Call) -> None:
        """Queue a call; one whose prompt is too long is answered at once."""
        request = call.request
        prompt = self._transcripts.encode(request.q, request.c, request.y)
        if len(prompt.tokens) >= self._longest:
            message = f"the thread's {len(prompt.tokens)} tokens do not fit the model's context of {self._longest}"
            used = len(prompt.tokens)
            call.done(LimitReached("context", message, used=used, cap=self._longest, owner="model"))
            return
        if not prompt.tokens:
            call.done(ModelError("the prompt is empty, and the model has no token to begin a text with"))
            return
        self._arrivals += 1
        sampler = Sampler.of(request, self._top_p, partial(Grammar, self._vocabulary.handle))
        priority = (-request.thread.count("."), self._arrivals)
        live = _Live(call, prompt, array("i", prompt.tokens), Text(request.stop), sampler, priority)
        if request.max_tokens <= 0:
            self._finish(live, "length")
            return
        self._queue(live)

    def step(self) -> None:
        """Evaluate one batch and draw a token for every call that is ready for one.

        Raises:
            ModelError: llama.cpp failed. All calls have been answered with it, and the cache is empty.
        """
        try:
            self._step()
        except ModelError as error:
            self.fail(error)
            raise

    def _step(self) -> None:
        self._drop_cancelled()
        self._admit()
        slices = self._plan()
        if not slices:
            return
        drafts = self._speculate(slices)
        began = monotonic()
        logits = self._evaluate(slices)
        if logits is None:
            return
        seconds = monotonic() - began
        self.speculation.cost.learn(sum(len(part.tokens) for part in slices.values()), seconds)
        self._account(slices, seconds)
        for (live, part), rows in zip(slices.items(), logits, strict=True):
            self._advance(live, part, rows, drafts.get(live))

    def fail(self, error: Exception) -> None:
        """Answer all calls with an error and empty the cache."""
        for live in [*self._live, *self._waiting]:
            live.call.done(error)
        self._live.clear()
        self._waiting.clear()
        self.tree.clear()

    def _queue(self, live: _Live) -> None:
        self._waiting.append(live)
        self._waiting.sort(key=lambda other: other.priority)

    def _drop_cancelled(self) -> None:
        for live in [live for live in (*self._waiting, *self._live) if live.call.cancelled]:
            if live in self._waiting:
                self._waiting.remove(live)
            self._finish(live, "cut")

    def _admit(self) -> None:
        """Begin calls while there is room for them, and no other is evaluating what they could share."""
        for live in [live for live in self._waiting if not self._take_over(live)]:
            room = self._size - sum(min(other.pending, self._size) for other in self._live)
            if self._live and room <= 0:
                return
            match = self.tree.match(live.tokens)
            if any(_prepares(other, live, match.length) for other in self._live):
                continue
            needed = len(live.tokens) - match.length
            if self._live and needed > self.tree.available() - sum(other.pending for other in self._live):
                return
            try:
                live.sequence = self.tree.take(live.tokens)
            except CacheFull:
                return
            if live.waited is None:
                self._begin(live, match.length)
                live.trail = self._drafts.follow(live.tokens, match.length)
            self._waiting.remove(live)
            self._live.append(live)
            self._live.sort(key=lambda other: other.priority)

    def _take_over(self, live: _Live) -> bool:
        """Draw what is known to follow, without evaluating anything; returns whether the call is done with that."""
        for token in self.tree.known(live.tokens) if live.greedy else ():
            self.work.known += 1
            stop = self._draw(live, token)
            if stop is not None:
                self._waiting.remove(live)
                if live.waited is None:
                    self._begin(live, len(live.tokens))
                self._finish(live, stop)
                return True
        return False

    def _begin(self, live: _Live, known: int) -> None:
        """Note how long a call has waited, and how much of its prompt is known already."""
        live.waited = monotonic() - live.call.submitted
        live.cached = min(known, len(live.prompt.tokens))

    def _plan(self) -> dict[_Live, Slice]:
        """The next batch: a large piece of a few-shot prompt by itself, else decoding calls first, then prompts.

        Where large batches are rounded in another way, all of them are pieces of few-shot prompts, always cut alike.
        """
        slices: dict[_Live, Slice] = {}
        for live in self._live:
            count = self._backend.policy.piece(min(live.prompt.shared, len(live.tokens) - 1) - live.evaluated)
            if count and live.sequence is not None:
                start = live.evaluated
                slices[live] = Slice(live.sequence.id, start, live.tokens[start : start + count], wanted=0)
                return self._fit(slices)
        room = self._size
        for live in sorted(self._live, key=lambda other: (other.pending > 1, other.priority)):
            sequence = live.sequence
            if room == 0 or sequence is None:
                continue
            count = min(room, live.pending)
            start = sequence.length
            part = live.tokens[start : start + count]
            slices[live] = Slice(sequence.id, start, part, wanted=int(count == live.pending))
            room -= count
        return self._fit(slices)

    def _fit(self, slices: dict[_Live, Slice]) -> dict[_Live, Slice]:
        """Make room in the cache for a batch; calls of the lowest priority step back if there is none."""
        while True:
            try:
                self.tree.make_room(sum(len(part.tokens) for part in slices.values()))
            except CacheFull:
                self._step_back(slices)
            else:
                return slices

    def _step_back(self, slices: dict[_Live, Slice]) -> None:
        if len(self._live) < 2:
            raise ModelError("the context has no room left for a single thread; choose a larger one")
        last = max(self._live, key=lambda live: live.priority)
        slices.pop(last, None)
        self._rest(last, waiting=True)
        self._queue(last)

    def _speculate(self, slices: dict[_Live, Slice]) -> dict[_Live, Draft]:
        """Lengthen the slices of calls that are about to draw a token by those that they will probably draw."""
        tokens = sum(len(part.tokens) for part in slices.values())
        room = min(self._size, self.tree.free) - tokens
        if room <= 0 or not self.speculation.on:
            return {}
        drawing = [live for live, part in slices.items() if part.wanted]
        drafts = [self._drafts.guess(live.tokens, min(MOST, self._left(live) - 1)) for live in drawing]
        lengths = self.speculation.lengths(drafts, tokens, room)
        made: dict[_Live, Draft] = {}
        for live, draft, length in zip(drawing, drafts, lengths, strict=True):
            if draft is not None and length:
                part = slices[live]
                guessed = draft.tokens[:length]
                slices[live] = Slice(part.sequence, part.start, part.tokens + guessed, 1 + length)
                made[live] = draft
        return made

    def _left(self, live: _Live) -> int:
        """How many tokens a call may still draw."""
        return min(live.call.request.max_tokens - live.generated, self._longest - len(live.tokens))

    def _evaluate(self, slices: dict[_Live, Slice]) -> list[list[NDArray[np.float32]]] | None:
        logits = self._backend.evaluate(list(slices.values()))
        if logits is None:
            # Fewer cells than counted: give up one sequence, or one call, and try again at the next step.
            try:
                self.tree.make_room(self.tree.free + 1)
            except CacheFull:
                self._step_back(slices)
        return logits

    def _account(self, slices: dict[_Live, Slice], seconds: float) -> None:
        """Note what a step was made of; each token in it counts for the same time."""
        tokens = sum(len(part.tokens) for part in slices.values())
        each, least = seconds / tokens, self._ceilings.of_step(tokens) / tokens
        drawing = sum(part.wanted > 0 for part in slices.values())
        prompt = decoding = 0
        for live, part in slices.items():
            draws = part.wanted > 0
            drafted = max(0, part.wanted - 1)
            read = len(part.tokens) - drafted
            if live.generated > 0 and read == 1:
                read = 0
            written = len(part.tokens) - read
            prompt, decoding = prompt + read, decoding + written
            live.local += Local(
                steps=int(draws),
                company=drawing if draws else 0,
                reading=each * read,
                writing=each * written,
                least_reading=least * read,
                least_writing=least * written,
            )
        self.work.add(prompt, decoding, drawing, seconds)

    def _advance(self, live: _Live, part: Slice, rows: list[NDArray[np.float32]], draft: Draft | None) -> None:
        """Draw a token, and one more for each drafted token that was the one drawn; keep what was evaluated of them."""
        guessed = part.tokens[len(part.tokens) - len(rows) + 1 :] if rows else array("i")
        drawn = array("i")
        accepted = 0
        stop: StopReason | None = None
        for row in rows:
            drawn.append(live.sampler.choose(row))
            stop = self._draw(live, drawn[-1])
            if stop is not None or accepted == len(guessed) or drawn[-1] != guessed[accepted]:
                break
            accepted += 1
        right = len(part.tokens) - len(guessed) + accepted
        if live.sequence is not None:
            repeated = self.tree.extend(live.sequence, part.tokens[:right])
            live.repeated += repeated
            self.work.repeated += repeated
            if live.greedy:
                self.tree.note(live.sequence, drawn)
            if right < len(part.tokens):
                self._backend.clear(live.sequence.id, part.start + right)
        if draft is not None:
            self.speculation.learn(draft, len(guessed), accepted)
            live.local += Local(drafted=len(guessed), accepted=accepted)
            self.work.drafted += len(guessed)
            self.work.accepted += accepted
        if stop is not None:
            self._finish(live, stop)

    def _draw(self, live: _Live, token: int) -> StopReason | None:
        """Let a token be the next one; returns why the text ends with it, if it does."""
        live.generated += 1
        self.work.generated += 1
        if self._vocabulary.is_end(token):
            return "end"
        drawn = array("i", [token])
        live.tokens += drawn
        if live.trail is not None:
            live.trail.add(drawn)
        stopped = live.text.add(token, self._vocabulary.piece(token))
        if live.call.told is not None:
            live.call.told(live.text.news())
        if stopped:
            return "listen" if live.text.stopped_by == 0 else "end"
        if live.call.request.until_circles and live.generated % _LOOKED_AT == 0 and goes_round(str(live.text)):
            return "length"
        return None if self._left(live) > 0 else "length"

    def _finish(self, live: _Live, stop: StopReason) -> None:
        self._transcripts.record(live.prompt, live.text.pieces, live.text.known)
        known = len(live.prompt.tokens)
        if not live.generated and stop == "cut":
            known = max(live.cached, min(known, live.evaluated))  # a prompt that was not evaluated costs nothing
        usage = Usage(
            known,
            live.cached,
            live.generated,
            live.repeated,
            local=live.local,
        )
        self._rest(live, waiting=stop not in {"end", "cut"})
        pieces = None if live.sampler.logprobs is None else live.text.parts()
        logprobs = None if pieces is None else (live.sampler.logprobs or [])[: len(pieces)]
        live.call.done(
            Completion(str(live.text), stop, usage, waited=live.waited or 0.0, logprobs=logprobs, pieces=pieces)
        )

    def _rest(self, live: _Live, *, waiting: bool) -> None:
        if live.sequence is not None:
            self.tree.release(live.sequence, waiting=waiting)
        live.sequence = None
        if live in self._live:
            self._live.remove(live)


def _prepares(other: _Live, live: _Live, known: int) -> bool:
    """Whether a call is evaluating what another, `known` tokens of which are, could share, or drawing what it could."""
    shared = common_prefix(other.tokens, live.tokens)
    if other.pending > 1:
        return min(shared, len(live.tokens) - 1) > known
    return shared == len(live.tokens) > other.evaluated and live.greedy and other.greedy
