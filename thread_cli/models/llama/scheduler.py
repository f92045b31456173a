"""The loop of a local model, on the worker thread: in each step a batch is planned, evaluated, and its tokens drawn.

The passes of a step: cancelled calls are answered, greedy output is reused for queued calls, queued calls begin where
there is room for them, the planner makes the batch, and drafts that are likely to save time are added to it. Where KV
cells run short, no drafts are made, the cache drops sequences at rest, and then calls of the lowest priority step back
and are evaluated again later.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import LimitReached, ModelError
from thread_cli.contracts.model import Local
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.cache import CacheFull, PrefixTree
from thread_cli.models.llama.ceilings import Ceilings
from thread_cli.models.llama.drafts import PHRASES, Drafts, read_phrases
from thread_cli.models.llama.grammar import Grammar
from thread_cli.models.llama.planner import (
    Part,
    draft_room,
    has_room,
    last,
    needed_cells,
    next_batch,
    waits_for,
    with_drafts,
)
from thread_cli.models.llama.reuse import Reuse
from thread_cli.models.llama.sampling import Sampler, Text
from thread_cli.models.llama.speculation import MOST, Speculation
from thread_cli.models.llama.transcript import Transcripts
from thread_cli.models.llama.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from thread_cli.contracts.model import StopReason
    from thread_cli.models.llama.call import Call

__all__ = ["Scheduler"]


class Scheduler:
    """Runs calls on a backend, a step at a time.

    Args:
        backend: the model.
        sequences: most sequences that are kept.
        top_p: probability mass to draw from, for requests that do not say.
        speculate: whether to make drafts.
        work: the sums that each step is added to.
        ceilings: the machine's best speeds, to compare with.
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
        self.tree = PrefixTree(backend, sequences=sequences, cells=backend.context, recurrent=backend.recurrent)
        self.speculation = Speculation(on=speculate and backend.policy.drafts)
        self.work = work or Work()
        self._drafts = Drafts()
        for lead, phrase in read_phrases(backend.metadata(PHRASES)) if self.speculation.on else ():
            tokens = [backend.vocabulary.tokenize(text.encode(), first=False, special=False) for text in (lead, phrase)]
            self._drafts.follow(tokens[0] + tokens[1], 0)
        self._backend = backend
        self._policy = backend.policy
        self._ceilings = ceilings or Ceilings()
        self._vocabulary = backend.vocabulary
        self._reuse = Reuse(self.tree, backend.vocabulary, self.work)
        self._transcripts = Transcripts(backend.vocabulary)
        self._top_p = top_p
        self._longest = min(backend.context, backend.trained or backend.context)
        self._calls: list[Call] = []
        """Calls that are queued or under way, by priority."""
        self._arrivals = 0

    @property
    def idle(self) -> bool:
        return not self._calls

    def submit(self, call: Call) -> None:
        """Queue a call; one whose prompt is too long is answered at once.

        Raises:
            UserError: the request's grammar cannot be read.
        """
        request = call.request
        prompt = self._transcripts.encode(request.q, request.c, request.y)
        if len(prompt.tokens) >= self._longest:
            message = f"the thread's {len(prompt.tokens)} tokens do not fit the model's context of {self._longest}"
            used = len(prompt.tokens)
            call.fail(LimitReached("context", message, used=used, cap=self._longest, owner="model"))
            return
        if not prompt.tokens:
            call.fail(ModelError("the prompt is empty, and the model has no token to begin a text with"))
            return
        self._arrivals += 1
        sampler = Sampler.of(request, self._top_p, partial(Grammar, self._vocabulary.handle))
        reuses = self._policy.reuses(request)
        call.queue(prompt, Text(request.stop), sampler, reuses=reuses, arrival=self._arrivals, longest=self._longest)
        if request.max_tokens <= 0:
            self._finish(call, "length")
        else:
            insort(self._calls, call, key=lambda other: other.priority)

    def run_batch(self) -> None:
        """Evaluate one batch and draw a token for every call that is ready for one.

        Raises:
            ModelError: llama.cpp failed. All calls have been answered with it, and the cache is empty.
        """
        try:
            self._run_batch()
        except ModelError as error:
            self.fail(error)
            raise

    def _run_batch(self) -> None:
        for call in [call for call in self._calls if call.cancelled]:
            self._finish(call, "cut")
        for call in self._queued():
            stop = self._reuse.extend(call)
            if stop is not None:
                self._finish(call, stop, reused=True)
        self._admit()
        parts = self._fitting(next_batch(self._calls, self._policy))
        if not parts:
            return
        parts = self._with_drafts(parts)
        began = monotonic()
        logits = self._evaluate(parts)
        if logits is None:
            return
        seconds = monotonic() - began
        self.speculation.cost.learn(sum(part.size for part in parts), seconds)
        for part, local, rows in zip(parts, self._account(parts, seconds), logits, strict=True):
            self._advance(part, local, rows)

    def fail(self, error: Exception) -> None:
        """Answer all calls with an error and empty the cache."""
        for call in self._calls:
            call.fail(error)
        self._calls.clear()
        self.tree.clear()

    def _queued(self) -> list[Call]:
        return [call for call in self._calls if not call.under_way]

    def _admit(self) -> None:
        """Begin queued calls while there is room for them, and no call under way prepares tokens to share."""
        under_way = [call for call in self._calls if call.under_way]
        for call in self._queued():
            if not has_room(under_way, self._policy):
                return
            cached = self.tree.match(call.tokens).length
            if any(waits_for(call, other, cached) for other in under_way):
                continue
            if under_way and needed_cells(call, under_way, cached) > self.tree.available():
                return
            try:
                call.admit(self.tree, self._drafts)
            except CacheFull:
                return
            under_way.append(call)

    def _fitting(self, parts: list[Part]) -> list[Part]:
        """Make room in the cache for a batch; calls of the lowest priority step back if there is none."""
        while True:
            try:
                self.tree.make_room(sum(part.size for part in parts))
            except CacheFull:
                back = self._step_back()
                parts = [part for part in parts if part.call is not back]
            else:
                return parts

    def _step_back(self) -> Call:
        if sum(call.under_way for call in self._calls) < 2:
            raise ModelError("the context has no room left for a single thread; choose a larger one")
        back = last(self._calls)
        back.step_back()
        return back

    def _with_drafts(self, parts: list[Part]) -> list[Part]:
        room = draft_room(parts, self._policy, self.tree.free)
        if room <= 0 or not self.speculation.on:
            return parts
        for part in parts:
            if part.draws:
                part.call.draft = self._drafts.guess(part.call.tokens, min(MOST, part.call.left - 1))
        return with_drafts(parts, self.speculation, room)

    def _evaluate(self, parts: Sequence[Part]) -> list[list[NDArray[np.float32]]] | None:
        logits = self._backend.evaluate([_slice(part) for part in parts])
        if logits is None:
            # Fewer cells than counted: give up one sequence, or one call, and try again at the next step.
            try:
                self.tree.make_room(self.tree.free + 1)
            except CacheFull:
                self._step_back()
        return logits

    def _account(self, parts: Sequence[Part], seconds: float) -> list[Local]:
        """Note a step; returns each call's share of it, in which each token counts for the same time."""
        tokens = sum(part.size for part in parts)
        each, least = seconds / tokens, self._ceilings.of_step(tokens) / tokens
        drawing = sum(part.draws for part in parts)
        prefill = [part.prefill for part in parts]
        self.work.add(sum(prefill), tokens - sum(prefill), drawing, seconds)
        return [
            Local(
                drafted=part.drafted,
                steps=int(part.draws),
                batch_sizes=drawing if part.draws else 0,
                prefill_seconds=each * read,
                decode_seconds=each * (part.size - read),
                prefill_floor=least * read,
                decode_floor=least * (part.size - read),
            )
            for part, read in zip(parts, prefill, strict=True)
        ]

    def _advance(self, part: Part, local: Local, rows: list[NDArray[np.float32]]) -> None:
        """Draw a token, and one more for each accepted drafted token; keep the KV cells of the accepted ones."""
        call, sequence, drafted = part.call, part.call.sequence, part.draft
        if sequence is None:
            raise AssertionError
        tokens = part.tokens
        drawn, stop = call.sample(rows, drafted, self._vocabulary)
        accepted = max(0, len(drawn) - 1)
        if call.draft is not None and drafted:
            self.speculation.learn(call.draft, len(drafted), accepted)
        kept = part.count + accepted
        repeated = call.advance(tokens[:kept], replace(local, accepted=accepted) if accepted else local)
        self._reuse.note(call, sequence, drawn)
        if kept < len(tokens):
            self._backend.clear(sequence.id, part.start + kept)
        self.work.generated += len(drawn)
        self.work.repeated += repeated
        self.work.drafted += len(drafted)
        self.work.accepted += accepted
        if stop is not None:
            self._finish(call, stop)

    def _finish(self, call: Call, stop: StopReason, *, reused: bool = False) -> None:
        """Answer a call, and keep the tokens that it has generated for the prompts that continue it."""
        self._transcripts.record(call.prompt, call.text.pieces, call.text.known)
        if call in self._calls:
            self._calls.remove(call)
        call.finish(stop, reused=reused)


def _slice(part: Part) -> Slice:
    sequence = part.call.sequence
    if sequence is None:
        raise AssertionError
    return Slice(sequence.id, part.start, part.tokens, part.logits)
