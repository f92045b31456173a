"""The model to train: its weights in torch, its LoRA adapter as GGUF.

The base comes from a GGUF file of llama's architecture, of any format, or from a Hugging Face folder. llama.cpp orders
the rows of query and key weights differently for its rotary embedding: `_to_gguf` and `_to_torch` convert the base's
weights and the adapter's.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.gguf_files import field, opened
from thread_cli.models.llama.prepare import packaged
from thread_cli.models.llama.steps import written
from thread_cli.train.attention import RUNS
from thread_cli.train.vocabulary import unloadable, vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from thread_cli.train.vocabulary import Vocabulary

__all__ = ["LINEAR", "Base", "adapted", "export", "import_", "load", "restore", "save"]

_ARCHITECTURE: Final = "llama"
_NAMES: Final = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""A layer's weights, as Hugging Face and as GGUF name them."""
_EMBEDDING: Final = "token_embd.weight"
_OTHERS: Final = {
    "model.embed_tokens.weight": _EMBEDDING,
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LINEAR: Final = tuple(name.rpartition(".")[2] for name in _NAMES if name.endswith("_proj"))
"""The linear layers that an adapter changes by default."""
_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(.+)\.weight$")
_ADAPTER: Final = "default"


@dataclass(frozen=True)
class Base:
    """A model to be trained, in 32 bits."""

    model: Any
    """A `LlamaForCausalLM`; `thread_cli.train.attention` is its attention."""
    vocabulary: Vocabulary

    @property
    def config(self) -> Any:
        """Its sizes, a `LlamaConfig`."""
        return self.model.config


def load(source: Path | None = None) -> Base:
    """The model of a GGUF file or of a Hugging Face folder; None is the embedded one.

    Raises:
        UserError: it cannot be read, or is of another architecture than llama's.
    """
    path = packaged() if source is None else source
    return _from_folder(path) if path.is_dir() else _from_file(path)


def adapted(base: Base, *, rank: int, alpha: float, targets: Sequence[str] = LINEAR, seed: int = 0) -> Any:
    """A `PeftModel` of the base with a new LoRA adapter that changes nothing yet, of scale alpha / rank.

    It wraps the base's own modules. Only the adapter's weights get gradients.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM")  # pyright: ignore[reportArgumentType]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # pyright: ignore[reportUnknownMemberType]
        # peft calls a deprecated function of transformers.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        return get_peft_model(base.model, config)


def save(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the adapter's weights."""
    return {name: weight.detach().to("cpu", torch.float32, copy=True) for name, weight in _trained(model)}


def restore(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Set the adapter's weights to a copy made by `save`.

    Raises:
        UserError: they are of another adapter.
    """
    mine = dict(_trained(model))
    if {name: weight.shape for name, weight in mine.items()} != {name: each.shape for name, each in weights.items()}:
        raise UserError("the saved weights are of an adapter of another rank, of other layers or for another model")
    with torch.no_grad():
        for name, weight in mine.items():
            weight.copy_(weights[name])


def export(model: Any, target: Path, about: Mapping[str, str] | None = None) -> None:
    """Write the adapter as GGUF, in 16 bits, with texts `about` it by their keys.

    Raises:
        OSError: the file cannot be written.
    """
    with written(target) as part:
        writer = gguf.GGUFWriter(part, arch=_ARCHITECTURE)
        try:
            writer.add_type("adapter")
            writer.add_string("adapter.type", "lora")
            writer.add_float32("adapter.lora.alpha", float(model.peft_config[_ADAPTER].lora_alpha))
            for key, text in (about or {}).items():
                writer.add_string(key, text)
            for name, heads, a, b in _pairs(model):
                writer.add_tensor(f"{name}.lora_a", _half(name, a))
                writer.add_tensor(f"{name}.lora_b", _half(name, b, heads))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def import_(path: Path, model: Any) -> None:
    """Set the adapter's weights to those of a GGUF file.

    Raises:
        UserError: it cannot be read, or is of another rank, scale or model, or changes other layers.
    """
    reader = opened(path, "adapter")
    if field(reader, "adapter.type") != "lora":
        raise UserError(f"{str(path)!r} is not a LoRA adapter")
    alpha, mine = field(reader, "adapter.lora.alpha"), model.peft_config[_ADAPTER].lora_alpha
    if alpha != np.float32(mine):
        raise UserError(f"adapter {str(path)!r} has alpha {alpha}, not {mine}")
    found = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    wanted = {f"{name}.lora_{each}": weight for name, _, a, b in _pairs(model) for each, weight in (("a", a), ("b", b))}
    if {name: each.shape for name, each in found.items()} != {name: tuple(each.shape) for name, each in wanted.items()}:
        raise UserError(f"adapter {str(path)!r} is of another rank, changes other layers or is for another model")
    with torch.no_grad():
        for name, heads, a, b in _pairs(model):
            a.copy_(torch.tensor(found[f"{name}.lora_a"]))
            b.copy_(torch.tensor(_to_torch(found[f"{name}.lora_b"], heads)))


# The base


def _from_folder(path: Path) -> Base:
    configs = cast("Any", AutoConfig)  # its declared types are incomplete
    try:
        _check_architecture(path, configs.from_pretrained(path, local_files_only=True).model_type)
        model = _model(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise unloadable(path, error) from None
    return Base(model, vocabulary(path))


def _from_file(path: Path) -> Base:
    known = vocabulary(path)
    reader = opened(path, "model")
    _check_architecture(path, field(reader, "general.architecture"))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    try:
        config = _config(reader, tensors)
        with torch.device("meta"):
            shapes = {name: tuple(weight.shape) for name, weight in LlamaForCausalLM(config).state_dict().items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{str(path)!r} does not describe a whole model: {_line(error)}") from None
    if config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    names = {_gguf_name(name): name for name in shapes}
    for place in sorted(names.keys() ^ tensors.keys()):
        wrong = "lacks" if place in names else "has more than llama's architecture, such as"
        raise UserError(f"{str(path)!r} {wrong} {place!r}")
    if field(reader, "llama.rope.scaling.type", "none") != "none":
        raise UserError(f"{str(path)!r} stretches its positions: give the model's Hugging Face folder")
    weights: dict[str, torch.Tensor] = {}
    for place, name in names.items():
        found, shape = tensors[place], tuple(int(size) for size in reversed(tensors[place].shape))
        if shape != shapes[name]:
            raise UserError(f"{str(path)!r} has {place!r} of shape {shape}, not {shapes[name]}")
        try:
            values = dequantize(found.data, found.tensor_type)
        except NotImplementedError:
            raise UserError(f"{str(path)!r} has {place!r} in {found.tensor_type.name}: use a file in f16") from None
        weights[name] = torch.tensor(_to_torch(values, _heads(name, config)))
    return Base(_model(None, config=config, state_dict=weights), known)


def _model(source: Path | None, **options: Any) -> Any:
    """The model of a Hugging Face folder, or of a configuration and weights."""
    models = cast("Any", LlamaForCausalLM)  # its declared types are incomplete
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return models.from_pretrained(
            source, local_files_only=True, dtype=torch.float32, attn_implementation=RUNS, **options
        ).eval()
    finally:
        if shown:
            logging.enable_progress_bar()


def _config(reader: gguf.GGUFReader, tensors: Mapping[str, gguf.ReaderTensor]) -> LlamaConfig:
    heads = int(field(reader, "llama.attention.head_count"))
    width, size = map(int, tensors[_EMBEDDING].shape)
    return LlamaConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=int(field(reader, "llama.feed_forward_length")),
        num_hidden_layers=int(field(reader, "llama.block_count")),
        num_attention_heads=heads,
        num_key_value_heads=int(field(reader, "llama.attention.head_count_kv", heads)),
        head_dim=int(tensors["blk.0.attn_q.weight"].shape[1]) // heads,
        max_position_embeddings=int(field(reader, "llama.context_length")),
        rms_norm_eps=float(field(reader, "llama.attention.layer_norm_rms_epsilon")),
        rope_theta=float(field(reader, "llama.rope.freq_base", 10_000.0)),  # pyright: ignore[reportCallIssue]
        tie_word_embeddings="output.weight" not in tensors,
    )


def _check_architecture(path: Path, found: str) -> None:
    if found != _ARCHITECTURE:
        raise UserError(f"{str(path)!r} is of the architecture {found!r}; only llama's can be trained")


# Names and shapes


def _trained(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, weight) for name, weight in model.named_parameters() if ".lora_" in name)


def _pairs(model: Any) -> Iterator[tuple[str, int, torch.Tensor, torch.Tensor]]:
    """For every weight that the adapter changes: its name in GGUF, the number of heads in its rows (or 0), A and B."""
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            a, b = module.lora_A[_ADAPTER].weight, module.lora_B[_ADAPTER].weight
            yield _gguf_name(f"{name}.weight"), _heads(name, model.config), a, b


def _gguf_name(name: str) -> str:
    """The name in GGUF of a weight, from Hugging Face's."""
    if name in _OTHERS:
        return _OTHERS[name]
    found = _LAYER.search(name)
    if found is None:
        raise UserError(f"GGUF has no name for the weight {name!r}")
    return f"blk.{found[1]}.{_NAMES[found[2]]}.weight"


def _heads(name: str, config: Any) -> int:
    """Number of heads in the rows of a query's or key's weight; 0 for other weights."""
    if ".q_proj" in name:
        return int(config.num_attention_heads)
    return int(config.num_key_value_heads) if ".k_proj" in name else 0


def _to_gguf(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """In llama.cpp's order of a head's rows, the two numbers that are rotated as a pair are adjacent."""
    return _swapped(rows, (heads, 2, -1)) if heads else rows


def _to_torch(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    return _swapped(rows, (heads, len(rows) // heads // 2, 2)) if heads else rows


def _swapped(rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return rows.reshape(*shape, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def _half(name: str, weight: torch.Tensor, heads: int = 0) -> NDArray[Any]:
    values = _to_gguf(weight.detach().to("cpu", torch.float32).numpy(), heads)
    if not np.abs(values).max() < np.finfo(np.float16).max:
        raise UserError(f"the adapter's numbers for {name!r} do not fit 16 bits: the training has diverged")
    return np.ascontiguousarray(values, np.float16)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
