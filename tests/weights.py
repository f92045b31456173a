"""LoRA adapters and a tiny model made for tests, and what models make of some tokens."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np

from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.drafts import PHRASES

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
    if "phrases" in fields:
        writer.add_string(PHRASES, fields["phrases"])
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


def byte_tokens() -> list[str]:
    """How vocabularies of GPT-2's kind write the 256 bytes: those that do not print as letters further on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte if byte in plain else 256 + sum(b not in plain for b in range(byte))) for byte in range(256)]


def tiny(path: Path, *, width: int = 64, layers: int = 2, **fields: Any) -> Path:
    """A llama of random weights, in F32: every byte is a token, as are two line breaks and `<|end|>`, its end.

    It has two query heads for each key's, and learns some lines by heart in seconds.
    """
    tokens = [*byte_tokens(), "ĊĊ", "<|end|>"]
    writer = gguf.GGUFWriter(path, fields.get("architecture", "llama"))
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 4)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["Ċ Ċ"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    draw = np.random.default_rng(fields.get("seed", 0))
    tensors = {"token_embd.weight": draw.normal(0, 0.5, (len(tokens), width)), "output_norm.weight": np.ones(width)}
    shapes = {
        "attn_q": (width, width),
        "attn_k": (width // 2, width),
        "attn_v": (width // 2, width),
        "attn_output": (width, width),
        "ffn_gate": (2 * width, width),
        "ffn_up": (2 * width, width),
        "ffn_down": (width, 2 * width),
    }
    for layer in range(layers):
        for name, shape in shapes.items():
            tensors[f"blk.{layer}.{name}.weight"] = draw.normal(0, shape[1] ** -0.5, shape)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(width)
        for name in ("attn_q_norm", "attn_k_norm") if fields.get("architecture") == "qwen3" else ():
            tensors[f"blk.{layer}.{name}.weight"] = draw.normal(1, 0.2, width // 4)
    if "extra" in fields:
        tensors[fields["extra"]] = np.ones(width)
    for name, values in tensors.items():
        if name != fields.get("left_out"):
            writer.add_tensor(name, values.astype(np.float32))
    write(writer)
    return path


def matrices(out: int, rank: int, into: int = WIDTH, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = ((rank, into), (out, rank))
    a, b = (draw.normal(0, 0.05, shape).astype(np.float32) for shape in shapes)
    return a, b


def logits(
    path: Path,
    adapters: Sequence[Path] = (),
    tokens: Sequence[int] = TOKENS,
    *,
    last: int | None = None,
    **options: Any,
) -> np.ndarray:
    """The logits after each of some tokens, or after the last ones: where the vocabulary is large, they take longest."""
    backend = Backend(path, context=256, sequences=2, batch=256, threads=1, adapters=adapters, **options)
    try:
        found = backend.evaluate([Slice(0, 0, array("i", tokens), last or len(tokens))])
        assert found is not None
        return np.stack([np.array(each) for each in found[0]])
    finally:
        backend.close()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """How far two sets of logits are apart, in standard deviations of the first."""
    return float(np.sqrt(np.mean((one - other) ** 2)) / one.std())
