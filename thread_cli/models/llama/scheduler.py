"""Who is evaluated next: continuous batching over the calls under way, on the worker thread.

Every step is one batch. Calls that are decoding give one token each; what room is left goes to prompts, deepest thread
first. A prompt whose beginning another call is just evaluating waits for it and then shares it. Where cells run short,
the cache drops sequences at rest, and then calls of the lowest priority step back and are rebuilt later.
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from thread_cli.engine.errors import LimitReached, ModelError
from thread_cli.models import Completion, StopReason, Usage
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.cache import CacheFull, PrefixTree, Sequence, common_prefix
from thread_cli.models.llama.sampling import Sampler, Text
from thread_cli.models.llama.transcript import Prompt, Transcripts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from thread_cli.models.llama.call import Call

__all__ = ["Scheduler"]


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
    waited: float | None = None
    cached: int = 0
    repeated: int = 0
    generated: int = 0

    @property
    def evaluated(self) -> int:
        return 0 if self.sequence is None else self.sequence.length

    @property
    def pending(self) -> int:
        """Tokens to evaluate before the next one can be drawn."""
        return len(self.tokens) - self.evaluated


class Scheduler:
    """Runs calls on a backend, a step at a time. `batch` is the most tokens that one step evaluates."""

    def __init__(self, backend: Backend, *, sequences: int, batch: int, top_p: float = 1.0) -> None:
        self.tree = PrefixTree(backend, sequences=sequences, cells=backend.context, whole=backend.whole)
        self._backend = backend
        self._transcripts = Transcripts(backend)
        self._size = batch
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
            call.done(LimitReached("context", message))
            return
        if not prompt.tokens:
            call.done(ModelError("the prompt is empty, and the model has no token to begin a text with"))
            return
        self._arrivals += 1
        sampler = Sampler(
            request.temperature, self._top_p, request.seed, zlib.crc32(request.prompt.encode("utf-8", "replace"))
        )
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
        self._drop_cancelled()
        self._admit()
        try:
            slices = self._plan()
            if not slices:
                return
            logits = self._evaluate(slices)
        except ModelError as error:
            self.fail(error)
            raise
        if logits is None:
            return
        for live, part in slices.items():
            if live.sequence is not None:
                live.repeated += self.tree.extend(live.sequence, part.tokens)
        for live, row in zip(slices, logits, strict=True):
            if row is not None:
                self._draw(live, row)

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
        self._waiting = [live for live in self._waiting if not live.call.cancelled]
        for live in [live for live in self._live if live.call.cancelled]:
            self._rest(live, waiting=False)

    def _admit(self) -> None:
        """Begin calls while there is room for them, and no other is evaluating what they could share."""
        for live in list(self._waiting):
            room = self._size - sum(min(other.pending, self._size) for other in self._live)
            if self._live and room <= 0:
                return
            match = self.tree.match(live.tokens)
            if any(
                other.pending > 1 and common_prefix(other.tokens, live.tokens[:-1]) > match.length
                for other in self._live
            ):
                continue
            needed = len(live.tokens) - match.length
            if self._live and needed > self.tree.available() - sum(other.pending for other in self._live):
                return
            try:
                live.sequence = self.tree.take(live.tokens)
            except CacheFull:
                return
            if live.waited is None:
                live.waited = monotonic() - live.call.submitted
                live.cached = match.length
            self._waiting.remove(live)
            self._live.append(live)
            self._live.sort(key=lambda other: other.priority)

    def _plan(self) -> dict[_Live, Slice]:
        """The next batch: decoding calls first, then prompts, each in order of priority."""
        slices: dict[_Live, Slice] = {}
        room = self._size
        for live in sorted(self._live, key=lambda other: (other.pending > 1, other.priority)):
            sequence = live.sequence
            if room == 0 or sequence is None:
                continue
            count = min(room, live.pending)
            start = sequence.length
            part = live.tokens[start : start + count]
            slices[live] = Slice(sequence.id, start, part, logits=count == live.pending)
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

    def _evaluate(self, slices: dict[_Live, Slice]) -> list[NDArray[np.float32] | None] | None:
        logits = self._backend.evaluate(list(slices.values()))
        if logits is None:
            # Fewer cells than counted: give up one sequence, or one call, and try again at the next step.
            try:
                self.tree.make_room(self.tree.free + 1)
            except CacheFull:
                self._step_back(slices)
        return logits

    def _draw(self, live: _Live, logits: NDArray[np.float32]) -> None:
        token = live.sampler.choose(logits)
        live.generated += 1
        if self._backend.is_end(token):
            self._finish(live, "end")
            return
        live.tokens.append(token)
        if live.text.add(token, self._backend.piece(token)):
            self._finish(live, "listen" if live.text.stopped_by == 0 else "end")
        elif live.generated >= live.call.request.max_tokens or len(live.tokens) >= self._longest:
            self._finish(live, "length")

    def _finish(self, live: _Live, stop: StopReason) -> None:
        self._transcripts.record(live.prompt, live.text.pieces, live.text.known)
        usage = Usage(len(live.prompt.tokens), live.cached, live.generated, live.repeated)
        self._rest(live, waiting=stop != "end")
        live.call.done(Completion(str(live.text), stop, usage, waited=live.waited or 0.0))

    def _rest(self, live: _Live, *, waiting: bool) -> None:
        if live.sequence is not None:
            self.tree.release(live.sequence, waiting=waiting)
        live.sequence = None
        if live in self._live:
            self._live.remove(live)
