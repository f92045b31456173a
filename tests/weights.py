"""LoRA adapters made for tests, and what models make of some tokens."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np

from thread_cli.models.llama.backend import Backend, Slice

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 576
"""Of SmolLM2."""
TOKENS = array("i", range(1000, 1024))


def adapter(path: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]], *, alpha: float = 4.0, **fields: Any) -> Path:
    """A LoRA adapter in GGUF: A and B by the names of the weights they change."""
    writer = gguf.GGUFWriter(path, fields.get("architecture", "llama"))
    writer.add_type(fields.get("type", "adapter"))
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, (a, b) in pairs.items():
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    write(writer)
    return path


def write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def matrices(out: int, rank: int, into: int = WIDTH, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = ((rank, into), (out, rank))
    a, b = (draw.normal(0, 0.05, shape).astype(np.float32) for shape in shapes)
    return a, b


def logits(path: Path, adapters: Sequence[Path] = (), **options: Any) -> np.ndarray:
    """The logits after each of some tokens."""
    backend = Backend(path, context=256, sequences=2, batch=64, threads=2, adapters=adapters, **options)
    try:
        found = backend.evaluate([Slice(0, 0, TOKENS, len(TOKENS))])
        assert found is not None
        return np.stack([np.array(each) for each in found[0]])
    finally:
        backend.close()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """How far two sets of logits are apart, in standard deviations of the first."""
    return float(np.sqrt(np.mean((one - other) ** 2)) / one.std())
