"""A tiny model of random weights that are all in one format, to see whether it runs."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

import gguf
import llama_cpp.llama_cpp as llama
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from thread_cli.models.llama.door import Kind

__all__ = ["specimen"]

_WIDTH: Final = 256
"""One block of the largest formats. llama.cpp repacks rows by 8, and multiplies by AMX what has 32 of them."""
_INNER: Final = 512
_HEADS: Final = 4
_KEY_HEADS: Final = 2
_HEAD: Final = _WIDTH // _HEADS
_EXPERTS: Final = 4
_TOKENS: Final = 288
_WINDOW: Final = 512


def specimen(path: Path, kind: Kind) -> None:
    """Write a model of one layer, and a vocabulary of bytes, in which every matrix is of this kind.

    Raises:
        ValueError: the format is not known to the package `gguf`.
    """
    writer = gguf.GGUFWriter(path, kind.architecture)
    writer.add_block_count(1)
    writer.add_context_length(2048)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KEY_HEADS)
    writer.add_key_length(_HEAD)
    writer.add_value_length(_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_HEAD)
    if kind.architecture == "gemma3":
        writer.add_sliding_window(_WINDOW)
    if kind.experts:
        writer.add_expert_count(_EXPERTS)
        writer.add_expert_used_count(2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([chr(0x100 + number) for number in range(_TOKENS)])
    writer.add_token_types([gguf.TokenType.NORMAL] * _TOKENS)
    writer.add_token_merges(["\u0100 \u0101"])
    writer.add_eos_token_id(_TOKENS - 1)
    writer.add_add_bos_token(False)
    type_ = _type(kind.format)
    draw = np.random.default_rng(0)
    for name, shape in _matrices(kind).items():
        values = draw.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        writer.add_tensor(name, _quantised(values, type_), raw_dtype=type_)
    for name, size in _vectors(kind).items():
        writer.add_tensor(name, np.ones(size, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _matrices(kind: Kind) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (_TOKENS, _WIDTH),
        "output": (_TOKENS, _WIDTH),
        "blk.0.attn_q": (_WIDTH, _WIDTH),
        "blk.0.attn_k": (_KEY_HEADS * _HEAD, _WIDTH),
        "blk.0.attn_v": (_KEY_HEADS * _HEAD, _WIDTH),
        "blk.0.attn_output": (_WIDTH, _WIDTH),
    }
    feeding = {"gate": (_INNER, _WIDTH), "up": (_INNER, _WIDTH), "down": (_WIDTH, _INNER)}
    if kind.experts:
        shapes |= {f"blk.0.ffn_{name}_exps": (_EXPERTS, *shape) for name, shape in feeding.items()}
    else:
        shapes |= {f"blk.0.ffn_{name}": shape for name, shape in feeding.items()}
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def _vectors(kind: Kind) -> dict[str, int | tuple[int, int]]:
    """Norms and biases, which are always in 32 bits."""
    sizes: dict[str, int | tuple[int, int]] = {"output_norm.weight": _WIDTH}
    sizes |= {f"blk.0.{name}.weight": _WIDTH for name in ("attn_norm", "ffn_norm")}
    if kind.experts:
        sizes["blk.0.ffn_gate_inp.weight"] = (_EXPERTS, _WIDTH)
    if kind.architecture == "qwen2":
        sizes |= {"blk.0.attn_q.bias": _WIDTH}
        sizes |= {f"blk.0.attn_{name}.bias": _KEY_HEADS * _HEAD for name in "kv"}
    if kind.architecture in {"qwen3", "gemma3"}:
        sizes |= {f"blk.0.attn_{name}_norm.weight": _HEAD for name in "qk"}
    if kind.architecture == "gemma3":
        sizes |= {f"blk.0.{name}.weight": _WIDTH for name in ("post_attention_norm", "post_ffw_norm")}
    return sizes


def _type(format_: str) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType[format_.upper()]


def _quantised(values: NDArray[np.float32], type_: gguf.GGMLQuantizationType) -> NDArray[np.uint8]:
    """Values in a format, as bytes, row by row; by llama.cpp's own quantiser, which knows all of them."""
    block, size = gguf.GGML_QUANT_SIZES[type_]
    rows, width = values.size // values.shape[-1], values.shape[-1]
    found = np.zeros((*values.shape[:-1], width // block * size), np.uint8)
    if type_ == gguf.GGMLQuantizationType.F32:
        return np.ascontiguousarray(values).view(np.uint8).reshape(found.shape)
    weights = np.ones(width, np.float32)
    ggml: Any = getattr(llama, "_lib")  # noqa: B009 -- not declared
    quantise = ggml.ggml_quantize_chunk
    quantise.restype = ctypes.c_size_t
    quantise.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    quantise(int(type_), values.ctypes.data, found.ctypes.data, 0, rows, width, weights.ctypes.data)
    return found
