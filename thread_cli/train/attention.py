"""Attention in a pack: each run of a trie attends to its ancestors and to itself; nothing is masked but the future.

A mask over the whole pack says the same, but computes much that it throws away, and sums a token's attention in an
order that depends on the other sequences in the pack. Run by run, the sum is over the tokens of its own sequence alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations import sdpa_attention

if TYPE_CHECKING:
    from thread_cli.train.packing import Pack

__all__ = ["RUNS", "Run", "runs_of"]

RUNS: Final = "thread_runs"
"""The name under which a transformers model finds this attention: its forward pass takes `runs`; without them attention
is plain causal attention.
"""


# Their declared types are incomplete.
_plain: Final = cast("Any", sdpa_attention).sdpa_attention_forward
_attentions: Final = cast("Any", AttentionInterface)


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens that follow one another in a pack, each the child of the one before it."""

    start: int
    stop: int
    ancestors: torch.Tensor
    """Places of the tokens before the run in its sequences; empty where the run begins them."""
    seen: torch.Tensor | None
    """The mask of each token over ancestors and run; None where it is the causal mask."""


def runs_of(pack: Pack, device: Any = None) -> list[Run]:
    """The runs of a pack, in order; together they have all its tokens."""
    count = len(pack)
    starts = [place for place, parent in enumerate(pack.parents) if parent != place - 1 or parent < 0]
    runs: list[Run] = []
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        path: list[int] = []
        place = pack.parents[start]
        while place >= 0:
            path.append(place)
            place = pack.parents[place]
        size = stop - start
        seen = torch.ones(size, len(path) + size, dtype=torch.bool, device=device).tril(len(path)) if path else None
        runs.append(Run(start, stop, torch.tensor(path[::-1], dtype=torch.long, device=device), seen))
    return runs


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    runs: list[Run] | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with transformers' signature: queries, keys and values are 1 x heads x tokens x width."""
    if runs is None:
        return _plain(module, query, key, value, attention_mask, scaling=scaling, **others)
    found: list[torch.Tensor] = []
    for run in runs:
        own = slice(run.start, run.stop)
        keys, values = key[:, :, own], value[:, :, own]
        if run.seen is not None:
            keys = torch.cat([key.index_select(2, run.ancestors), keys], dim=2)
            values = torch.cat([value.index_select(2, run.ancestors), values], dim=2)
        found.append(
            scaled_dot_product_attention(
                query[:, :, own],
                keys,
                values,
                attn_mask=run.seen,
                is_causal=run.seen is None,
                scale=scaling,
                enable_gqa=True,
            )
        )
    return torch.cat(found, dim=2).transpose(1, 2).contiguous(), None


_attentions.register(RUNS, _attention)
