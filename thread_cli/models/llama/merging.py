"""LoRA adapters added to the weights of a model, so that they cost nothing as it runs.

A weight W becomes W + (alpha / rank) B A, which is what llama.cpp computes at run time with scale 1. All other tensors
are copied as they are. Weights are read from the mapped file and written one after another: no more than one of them
is in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.drafts import PHRASES
from thread_cli.models.llama.gguf_files import field, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Merge"]

_Factors = tuple["NDArray[np.float32]", "NDArray[np.float32]"]
_Type = gguf.GGMLQuantizationType
_ROWS: Final = 256
"""Rows of a weight that are computed at once."""
_EMBEDDING: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"


class Merge:
    """A model and the adapters to merge into it, looked through and found to fit.

    Raises:
        UserError: a file cannot be read, is no LoRA adapter, or does not fit the model; the message names the tensor.
    """

    def __init__(self, model: Path, adapters: Sequence[Path]) -> None:
        self._model = opened(model, "model")
        self._weights = {tensor.name: tensor for tensor in self._model.tensors}
        self._changes: dict[str, list[_Factors]] = {}
        self._phrases = ""
        for path in adapters:
            for name, factors in self._adapter(path):
                self._changes.setdefault(name, []).append(factors)

    def write(self, target: Path, done: Callable[[float], None]) -> None:
        """Write the merged model; `done` is told the share that is written.

        Changed weights stay what they are in F32 and BF16, and become F16 in all other formats.

        Raises:
            UserError: a weight's format cannot be read.
            OSError: the file cannot be written.
        """
        kinds = {
            tensor.name: _merged_type(tensor.tensor_type) if tensor.name in self._changes else tensor.tensor_type
            for tensor in self._model.tensors
        }
        sizes = {name: _bytes(self._weights[name], kind) for name, kind in kinds.items()}
        writer = gguf.GGUFWriter(target, arch=field(self._model, "general.architecture", ""))
        try:
            writer.data_alignment = int(self._model.alignment)
            for name, kind in kinds.items():
                shape = [int(size) for size in reversed(self._weights[name].shape)]
                writer.add_tensor_info(name, shape, np.dtype(np.float32), sizes[name], kind)
            _copy_fields(self._model, writer)
            if self._phrases:
                writer.add_string(PHRASES, self._phrases)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            written = 0
            for name, kind in kinds.items():
                tensor = self._weights[name]
                writer.write_tensor_data(self._merged(tensor, kind) if name in self._changes else tensor.data)
                written += sizes[name]
                done(written / sum(sizes.values()))
        finally:
            writer.close()

    def _merged(self, tensor: gguf.ReaderTensor, kind: _Type) -> NDArray[Any]:
        """A weight with what the adapters add to it, in the type `kind`."""
        pieces: list[NDArray[Any]] = []
        try:
            with np.errstate(over="raise"):
                for matrix in np.ndindex(tensor.data.shape[:-2]):
                    for start in range(0, tensor.data.shape[-2], _ROWS):
                        rows = slice(start, start + _ROWS)
                        weight = dequantize(tensor.data[matrix][rows], tensor.tensor_type)
                        for left, right in self._changes[tensor.name]:
                            weight = weight + left[matrix][rows] @ right[matrix]
                        pieces.append(quantize(weight, kind))
        except NotImplementedError:
            raise UserError(
                f"tensor {tensor.name!r} is in {tensor.tensor_type.name}, which cannot be merged into; "
                "take the model in another format"
            ) from None
        except FloatingPointError:
            raise UserError(f"tensor {tensor.name!r} has numbers too large for {kind.name} once merged") from None
        return np.concatenate(pieces)

    def _adapter(self, path: Path) -> Iterator[tuple[str, _Factors]]:
        """The names of the weights that an adapter changes, and the factors of what it adds, the scale within."""
        adapter = opened(path, "adapter")
        where = f"adapter {str(path)!r}"
        if (field(adapter, "general.type", ""), field(adapter, "adapter.type", "")) != ("adapter", "lora"):
            raise UserError(
                f"{str(path)!r} is not a LoRA adapter; convert one with llama.cpp's convert_lora_to_gguf.py"
            )
        if field(adapter, "adapter.alora.invocation_tokens") is not None:
            raise UserError(f"{where} acts after certain tokens only and cannot be merged; use it by --lora")
        its, mine = (field(reader, "general.architecture", "") for reader in (adapter, self._model))
        if its != mine:
            raise UserError(f"{where} is for models of the architecture {its!r}; this one is {mine!r}")
        self._phrases = field(adapter, PHRASES, self._phrases)
        alpha = field(adapter, "adapter.lora.alpha", 0.0)
        tensors = {tensor.name: tensor for tensor in adapter.tensors}
        for name in sorted({name.removesuffix(".lora_a").removesuffix(".lora_b") for name in tensors}):
            a, b = tensors.get(f"{name}.lora_a"), tensors.get(f"{name}.lora_b")
            if a is None or b is None:
                raise UserError(f"{where} has no pair of matrices A and B for {name!r}, and cannot be merged")
            if name not in self._weights:
                raise UserError(f"{where} changes {name!r}, which the model does not have")
            if name == _EMBEDDING and _OUTPUT not in self._weights:
                raise UserError(f"{where} changes {name!r}, which this model writes with too; use it by --lora")
            yield name, self._factors(where, name, (a, b), float(alpha))

    def _factors(
        self, where: str, name: str, pair: tuple[gguf.ReaderTensor, gguf.ReaderTensor], alpha: float
    ) -> _Factors:
        a, b = (dequantize(tensor.data, tensor.tensor_type) for tensor in pair)
        # llama.cpp looks tokens up in A and keeps both of the embedding's matrices the other way round.
        left, right = (a, b.swapaxes(-1, -2)) if name == _EMBEDDING else (b, a)
        rank = left.shape[-1]
        if rank != right.shape[-2]:
            raise UserError(f"{where}: {name!r} has matrices of rank {right.shape[-2]} and {rank}")
        wanted = tuple(int(size) for size in reversed(self._weights[name].shape))
        shape = (*left.shape[:-1], right.shape[-1])
        if shape != wanted or left.shape[:-2] != right.shape[:-2]:
            raise UserError(f"{where} is for a model with {name!r} of shape {shape}; here it is {wanted}")
        return left * np.float32(alpha / rank if alpha else 1.0), right


def _copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    for each in reader.fields.values():
        empty = each.types == [gguf.GGUFValueType.ARRAY]
        if empty or each.name.startswith("GGUF.") or each.name in {"general.architecture", PHRASES}:
            continue
        inner = each.types[-1] if each.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(each.name, each.contents(), each.types[0], inner)


def _merged_type(kind: _Type) -> _Type:
    return kind if kind in {_Type.F32, _Type.BF16} else _Type.F16


def _bytes(tensor: gguf.ReaderTensor, kind: _Type) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(tensor.n_elements) // block * size
