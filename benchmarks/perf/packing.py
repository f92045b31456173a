"""Trie packing against threads one by one: the same logits and gradients, for how many tokens less and in what time.

    python benchmarks/perf/packing.py threads.jsonl [--threads 24] [--base FILE] [--adapter FILE]

A file of `thread data --examples` shows what packing is made for: every thread begins with the same few-shot prompt.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from thread_cli.train.packing import Example, Pack, examples_of, packed, packs_of
from thread_cli.train.sft import logits_of, loss_of
from thread_cli.train.trajectories import read
from thread_cli.train.weights import adapted, import_, load

if TYPE_CHECKING:
    from collections.abc import Sequence

_RANK = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=24)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--adapter", type=Path, help="of rank 8, as `thread train sft` writes it; else one of noise")
    parser.add_argument("--length", type=int, default=512)
    arguments = parser.parse_args()
    base = load(arguments.base)
    examples, _ = examples_of(read(arguments.file)[: arguments.threads], base.vocabulary, 4096)
    model = adapted(base, rank=_RANK, alpha=2.0 * _RANK)
    if arguments.adapter is not None:
        import_(arguments.adapter, model)
    else:
        _disturb(model)
    longest = max(len(example.tokens) for example in examples)
    packs = packs_of(examples, max(arguments.length, longest))
    alone, together = sum(len(example.tokens) for example in examples), sum(map(len, packs))
    print(
        f"{len(examples)} threads: {alone:,} tokens one by one, {together:,} packed ({1 - together / alone:.1%} spared)"
    )
    print(f"largest difference of a logit: {_logits(model, examples, packs):.2e}")
    one_by_one, seconds = _gradients(model, [packed([example]) for example in examples])
    in_packs, less = _gradients(model, packs)
    most = max(float(gradient.abs().max()) for gradient in one_by_one)
    difference = max(float((one - other).abs().max()) for one, other in zip(one_by_one, in_packs, strict=True))
    print(f"largest difference of a gradient: {difference:.2e} (largest gradient {most:.2e}), of the mean loss")
    print(f"seconds: {seconds:.1f} one by one, {less:.1f} packed ({seconds / less:.2f}x)")


def _disturb(model: Any) -> None:
    """Let a new adapter change something: one that changes nothing has no gradient to speak of."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02, generator=torch.Generator().manual_seed(len(name)))


def _logits(model: Any, examples: Sequence[Example], packs: Sequence[Pack]) -> float:
    """The largest difference between a thread's logits in its pack and in a plain causal pass over it alone."""
    largest = 0.0
    with torch.no_grad():
        for example in examples:
            plain = model(input_ids=torch.tensor([example.tokens]), use_cache=False).logits[0]
            pack, places = _place(example, packs)
            largest = max(largest, float((logits_of(model, pack, places) - plain).abs().max()))
    return largest


def _place(example: Example, packs: Sequence[Pack]) -> tuple[Pack, list[int]]:
    for pack in packs:
        with suppress(KeyError):  # it is in another
            return pack, pack.places(example.tokens)
    raise AssertionError("a thread is in none of the packs")


def _gradients(model: Any, packs: Sequence[Pack]) -> tuple[list[torch.Tensor], float]:
    """Gradients of the mean loss of a learned token, and the seconds that they took."""
    total = sum(pack.learned for pack in packs)
    model.zero_grad(set_to_none=True)
    started = time.monotonic()
    for pack in packs:
        (loss_of(model, pack) / total).backward()
    seconds = time.monotonic() - started
    return [weight.grad.clone() for weight in model.parameters() if weight.requires_grad], seconds


if __name__ == "__main__":
    main()
