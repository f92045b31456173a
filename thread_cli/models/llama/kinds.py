"""The weights in a model's file, as its header lists them: their kinds, and how many parameters they are."""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import llama_cpp.llama_cpp as llama

from thread_cli.models.llama.door import Door, Kind
from thread_cli.models.llama.loading import quiet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["KNOWN", "dies_by_itself", "kinds_in", "parameters_in"]

KNOWN: Final = ("llama", "qwen2", "qwen3", "gemma3")
"""Architectures that a format is tried with; any other one is computed much like the first."""
_EXPERTS: Final = re.compile(r"_exps\.")
_PART: Final = re.compile(r"-00001-of-(\d{5})\.gguf$")


def dies_by_itself(path: Path) -> str | None:
    """Why `llama_cpp.Llama`, which leaves nothing out, would kill its process with a model; None if it would not.

    Raises:
        FormatDies: nobody can run the model here.
    """
    tried = Door().passage(kinds_in([path]), kernels=False)
    return None if tried.extra_buffers else "this build of llama.cpp dies here with its extra buffers, which it uses"


class _Tensor(NamedTuple):
    """A tensor of a file: its name, its format, and how many numbers it has."""

    name: str
    format: str
    size: int


class _Params(ctypes.Structure):
    """`gguf_init_params`."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def kinds_in(paths: Iterable[Path], *, gpu: bool = False) -> set[Kind]:
    """The kinds of the weights of models and adapters. Files that are no whole GGUF files have none."""
    return {kind for path in paths for part in _parts(path) for kind in _kinds(part, gpu)}


def parameters_in(path: Path) -> int:
    """The parameters of a model, in all files that it is divided into; 0 for a file that is no whole GGUF file."""
    quiet()
    return sum(tensor.size for part in _parts(path) for _, tensor in _tensors(part))


def _parts(path: Path) -> list[Path]:
    found = _PART.search(path.name)
    if found is None:
        return [path]
    stem = path.name[: found.start()]
    return [path.with_name(f"{stem}-{number:05}-of-{found[1]}.gguf") for number in range(1, int(found[1]) + 1)]


def _kinds(path: Path, gpu: bool) -> Iterator[Kind]:
    for architecture, tensor in _tensors(path):
        known = architecture if architecture in KNOWN else KNOWN[0]
        if "norm" not in tensor.name and not tensor.name.endswith(".bias"):
            yield Kind(tensor.format, known, bool(_EXPERTS.search(tensor.name)), gpu)


def _tensors(path: Path) -> Iterator[tuple[str, _Tensor]]:
    """The architecture and each tensor that a file's header tells of."""
    ggml: Any = getattr(llama, "_lib")  # noqa: B009 -- not declared
    for name in ("gguf_get_tensor_name", "gguf_get_val_str", "ggml_type_name"):
        getattr(ggml, name).restype = ctypes.c_char_p
    for name in ("gguf_get_n_tensors", "gguf_find_key", "ggml_blck_size"):
        getattr(ggml, name).restype = ctypes.c_int64
    for name in ("gguf_get_tensor_size", "ggml_type_size"):
        getattr(ggml, name).restype = ctypes.c_size_t
    ggml.gguf_init_from_file.restype = ctypes.c_void_p
    ggml.gguf_init_from_file.argtypes = [ctypes.c_char_p, _Params]
    header = ctypes.c_void_p(ggml.gguf_init_from_file(bytes(path), _Params(True, None)))
    if not header:
        return
    try:
        key = ctypes.c_int64(ggml.gguf_find_key(header, b"general.architecture"))
        architecture = ggml.gguf_get_val_str(header, key).decode("utf-8", "replace") if key.value >= 0 else ""
        for number in map(ctypes.c_int64, range(ggml.gguf_get_n_tensors(header))):
            name = ggml.gguf_get_tensor_name(header, number).decode("utf-8", "replace")
            kind = ggml.gguf_get_tensor_type(header, number)
            blocks = ggml.gguf_get_tensor_size(header, number) // ggml.ggml_type_size(kind)
            yield architecture, _Tensor(name, ggml.ggml_type_name(kind).decode(), blocks * ggml.ggml_blck_size(kind))
    finally:
        ggml.gguf_free(header)
