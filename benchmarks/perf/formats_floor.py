"""What a model has to read and to multiply: the bytes of a decoded token, the operations of a prefill."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.gguf_files import field, opened

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Work", "work_of"]

_TABLE, _OUTPUT = "token_embd.weight", "output.weight"


@dataclass(frozen=True)
class Work:
    """What a model's file says of the work that it makes."""

    parameters: int
    """Numbers in all tensors, the table of embeddings counted once."""
    bytes: int
    """Of all weights but the table of embeddings: what one step of decoding reads. The output layer is among them, also
    where it is the table itself."""
    multiplied: int
    """Weights that each token of a prompt is multiplied by: of all matrices but the table and the output layer."""
    output: int
    """Weights of the output layer, by which the last token alone is multiplied."""
    attended: int
    """Multiplications for each pair of a token and one that it sees, in all layers: queries by keys, and by values."""

    def operations(self, tokens: int) -> int:
        """Multiplications and additions of a prefill from nothing, with the logits of its last token alone."""
        pairs = tokens * (tokens + 1) // 2
        return 2 * (self.multiplied * tokens + self.output + self.attended * pairs)


def work_of(path: Path) -> Work:
    """The work of a model.

    Raises:
        UserError: it is no whole GGUF file, or has experts, of which a token uses some only.
    """
    reader = opened(path, "model")
    architecture = field(reader, "general.architecture")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if any(len(tensor.shape) > 2 and tensor.shape[2] > 1 for tensor in tensors.values()):
        raise UserError(f"{path.name} has experts: what a token reads of it is not known from the file")
    output = tensors.get(_OUTPUT, tensors[_TABLE])
    rest = [tensor for name, tensor in tensors.items() if name not in {_TABLE, _OUTPUT}]
    matrices = [tensor for tensor in rest if len(tensor.shape) == 2]
    heads = int(field(reader, f"{architecture}.attention.head_count"))
    width = int(field(reader, f"{architecture}.embedding_length"))
    key = int(field(reader, f"{architecture}.attention.key_length", width // heads))
    value = int(field(reader, f"{architecture}.attention.value_length", width // heads))
    return Work(
        parameters=sum(_numbers(tensor.shape) for tensor in tensors.values()),
        bytes=int(output.n_bytes) + sum(int(tensor.n_bytes) for tensor in rest),
        multiplied=sum(_numbers(tensor.shape) for tensor in matrices),
        output=_numbers(output.shape),
        attended=int(field(reader, f"{architecture}.block_count")) * heads * (key + value),
    )


def _numbers(shape: object) -> int:
    return prod(int(size) for size in shape)  # type: ignore[attr-defined]
