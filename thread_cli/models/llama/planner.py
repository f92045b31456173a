"""The next batch, from the states of the calls and the policy: continuous batching, without side effects.

Calls that decode give one token each. The rest of the batch goes to calls in prefill, by priority. A large piece of a
few-shot prompt is a batch of its own. A queued call begins while a batch has tokens to spare, and waits for a call that
is about to evaluate tokens, or to generate output, that it can use.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from thread_cli.models.llama.cache import common_prefix
from thread_cli.models.llama.call import State
from thread_cli.models.llama.reuse import can_reuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from thread_cli.models.llama.call import Call
    from thread_cli.models.llama.policy import Policy
    from thread_cli.models.llama.speculation import Speculation

__all__ = ["Part", "draft_room", "has_room", "last", "needed_cells", "next_batch", "waits_for", "with_drafts"]


@dataclass(frozen=True, slots=True)
class Part:
    """A call's part of a batch: `count` of its tokens from position `start` on, and `drafted` ones of its draft."""

    call: Call
    start: int
    count: int
    draws: bool
    """True if these are the last of the call's tokens, so that it draws the next one."""
    drafted: int = 0

    @property
    def size(self) -> int:
        """Tokens in the batch."""
        return self.count + self.drafted

    @property
    def prefill(self) -> int:
        """Tokens of the prompt, or of a text that is evaluated again; a token that was just drawn is none."""
        return 0 if self.call.generated and self.count == 1 else self.count

    @property
    def draft(self) -> array[int]:
        """The drafted tokens."""
        return array("i") if self.call.draft is None else self.call.draft.tokens[: self.drafted]

    @property
    def tokens(self) -> array[int]:
        """The tokens to evaluate."""
        return self.call.tokens[self.start : self.start + self.count] + self.draft

    @property
    def logits(self) -> int:
        """Number of last tokens whose logits are needed: the call's own last token, and the drafted tokens."""
        return 1 + self.drafted if self.draws else 0


def next_batch(calls: Iterable[Call], policy: Policy) -> list[Part]:
    """The parts of the next batch, without drafts; none if no call is under way."""
    under_way = sorted((call for call in calls if call.under_way), key=lambda call: call.priority)
    for call in under_way:
        piece = policy.piece(call.few_shot)
        if piece:
            return [Part(call, call.evaluated, piece, draws=False)]
    parts: list[Part] = []
    room = policy.mixed
    for call in sorted(under_way, key=lambda call: call.state is State.prefill):
        if room == 0:
            break
        count = min(room, call.pending)
        parts.append(Part(call, call.evaluated, count, draws=count == call.pending))
        room -= count
    return parts


def draft_room(parts: Sequence[Part], policy: Policy, free: int) -> int:
    """Drafted tokens that may be added to a batch while `free` KV cells hold nothing. No cell is freed for a draft."""
    return min(policy.mixed, free) - sum(part.size for part in parts)


def with_drafts(parts: Sequence[Part], speculation: Speculation, room: int) -> list[Part]:
    """The batch with at most `room` tokens of the calls' drafts added: as many as are likely to save time."""
    drawing = [part for part in parts if part.draws]
    lengths = speculation.lengths([part.call.draft for part in drawing], sum(part.size for part in parts), room)
    drafted = {id(part): length for part, length in zip(drawing, lengths, strict=True)}
    return [replace(part, drafted=drafted.get(id(part), 0)) for part in parts]


def has_room(under_way: Sequence[Call], policy: Policy) -> bool:
    """True if a batch has tokens to spare for one more call. The first call always has room."""
    return not under_way or sum(min(call.pending, policy.mixed) for call in under_way) < policy.mixed


def needed_cells(call: Call, under_way: Iterable[Call], cached: int) -> int:
    """KV cells that a queued call, and the prompts of the calls under way, are still to take.

    `cached` of its tokens are in the cache.
    """
    return len(call.tokens) - cached + sum(other.pending for other in under_way)


def waits_for(call: Call, other: Call, cached: int) -> bool:
    """True if waiting for `other`, which is under way, lets a queued call use more than its `cached` tokens.

    These are tokens that both begin with and that `other` is evaluating, or greedy output of `other`.
    """
    shared = common_prefix(other.tokens, call.tokens)
    if other.state is State.prefill:
        return min(shared, len(call.tokens) - 1) > cached
    return shared == len(call.tokens) > other.evaluated and can_reuse(call, other)


def last(calls: Iterable[Call]) -> Call:
    """The call under way that steps back where KV cells run short: the one of the lowest priority."""
    return max((call for call in calls if call.under_way), key=lambda call: call.priority)
