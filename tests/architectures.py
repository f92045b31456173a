"""Tiny models of random weights, in F32, of the architectures that small models have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import gguf
import numpy as np
from weights import byte_tokens, write

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SHAPES", "Shape", "build"]


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; what an architecture has beside them follows from its name."""

    architecture: str
    width: int = 128
    inner: int = 256
    layers: int = 2
    heads: int = 4
    groups: int = 2
    """Heads of keys and values."""
    size: int = 64
    """Width of a head."""
    window: int = 0
    """Positions that layers with a sliding window see; in Gemma 3 all but every sixth, in Gemma 2 every other one."""
    stretched: bool = False
    """Whether a tensor has factors for the rotary angles, as in Llama 3.2."""


SHAPES: Final = {
    "llama": Shape("llama", stretched=True),
    "qwen2": Shape("qwen2", width=384, heads=6, groups=2),
    "qwen3": Shape("qwen3", size=128),
    "gemma3": Shape("gemma3", layers=6, groups=1, size=256, window=48),
    "gemma2": Shape("gemma2", layers=4, size=96, window=48),
}


def build(path: Path, shape: Shape | str, seed: int = 0, **changed: int) -> Path:
    """Write a model of that shape; every byte is a token, and so are `<|end|>` and some more up to 272."""
    shape = replace(SHAPES[shape] if isinstance(shape, str) else shape, **changed)
    writer = gguf.GGUFWriter(path, shape.architecture)
    tokens = [*byte_tokens(), "<|end|>", *(f"<|{number}|>" for number in range(15))]
    writer.add_block_count(shape.layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.groups)
    writer.add_key_length(shape.size)
    writer.add_value_length(shape.size)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(shape.size)
    writer.add_rope_freq_base(100_000.0)
    if shape.window:
        writer.add_sliding_window(shape.window)
    if shape.architecture == "gemma2":
        writer.add_attn_logit_softcapping(5.0)
        writer.add_final_logit_softcapping(30.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * 16)
    writer.add_token_merges(["Ċ Ċ"])
    writer.add_eos_token_id(256)
    writer.add_add_bos_token(False)
    draw = np.random.default_rng(seed)
    for name, dimensions in _tensors(shape, len(tokens)).items():
        wide = len(dimensions) == 2
        spread = 0.3 if name == "token_embd" else dimensions[-1] ** -0.5 if wide else 0.2
        middle = 0.0 if wide or name.endswith("bias") else 1.5 if name == "rope_freqs" else 1.0
        values = draw.normal(middle, spread, dimensions).astype(np.float32)
        writer.add_tensor(name if name.endswith("bias") else f"{name}.weight", np.abs(values) if middle else values)
    write(writer)
    return path


def _tensors(shape: Shape, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The dimensions of each tensor, by its name without `.weight`."""
    gemma = shape.architecture.startswith("gemma")
    queries, keys = shape.heads * shape.size, shape.groups * shape.size
    tensors: dict[str, tuple[int, ...]] = {"token_embd": (vocabulary, shape.width), "output_norm": (shape.width,)}
    if shape.stretched:
        tensors["rope_freqs"] = (shape.size // 2,)
    for layer in range(shape.layers):
        of_layer: dict[str, tuple[int, ...]] = {
            "attn_q": (queries, shape.width),
            "attn_k": (keys, shape.width),
            "attn_v": (keys, shape.width),
            "attn_output": (shape.width, queries),
            "ffn_gate": (shape.inner, shape.width),
            "ffn_up": (shape.inner, shape.width),
            "ffn_down": (shape.width, shape.inner),
        }
        for name in ("attn_norm", "ffn_norm", *(("post_attention_norm", "post_ffw_norm") if gemma else ())):
            of_layer[name] = (shape.width,)
        if shape.architecture in {"qwen3", "gemma3"}:
            of_layer["attn_q_norm"] = of_layer["attn_k_norm"] = (shape.size,)
        if shape.architecture == "qwen2":
            of_layer |= {"attn_q.bias": (queries,), "attn_k.bias": (keys,), "attn_v.bias": (keys,)}
        tensors |= {f"blk.{layer}.{name}": dimensions for name, dimensions in of_layer.items()}
    return tensors
