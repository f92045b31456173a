"""The kinds of weights in a model's file, as its header lists them."""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING, Any, Final

import llama_cpp.llama_cpp as llama

from thread_cli.models.llama.door import Door, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["KNOWN", "dies_by_itself", "kinds_in"]

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


class _Params(ctypes.Structure):
    """`gguf_init_params`."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def kinds_in(paths: Iterable[Path], *, gpu: bool = False) -> set[Kind]:
    """The kinds of the weights of models and adapters. What is no whole GGUF file has none, and cannot be loaded."""
    return {kind for path in paths for part in _parts(path) for kind in _kinds(part, gpu)}


def _parts(path: Path) -> list[Path]:
    found = _PART.search(path.name)
    if found is None:
        return [path]
    stem = path.name[: found.start()]
    return [path.with_name(f"{stem}-{number:05}-of-{found[1]}.gguf") for number in range(1, int(found[1]) + 1)]


def _kinds(path: Path, gpu: bool) -> set[Kind]:
    ggml: Any = getattr(llama, "_lib")  # noqa: B009 -- not declared
    for name in ("gguf_get_tensor_name", "gguf_get_val_str", "ggml_type_name"):
        getattr(ggml, name).restype = ctypes.c_char_p
    ggml.gguf_init_from_file.restype = ctypes.c_void_p
    ggml.gguf_init_from_file.argtypes = [ctypes.c_char_p, _Params]
    ggml.gguf_get_n_tensors.restype = ggml.gguf_find_key.restype = ctypes.c_int64
    header = ctypes.c_void_p(ggml.gguf_init_from_file(bytes(path), _Params(True, None)))
    if not header:
        return set()
    try:
        key = ctypes.c_int64(ggml.gguf_find_key(header, b"general.architecture"))
        architecture = ggml.gguf_get_val_str(header, key).decode("utf-8", "replace") if key.value >= 0 else ""
        known = architecture if architecture in KNOWN else KNOWN[0]
        found: set[Kind] = set()
        for number in map(ctypes.c_int64, range(ggml.gguf_get_n_tensors(header))):
            name = ggml.gguf_get_tensor_name(header, number).decode("utf-8", "replace")
            if "norm" not in name and not name.endswith(".bias"):
                format_ = ggml.ggml_type_name(ggml.gguf_get_tensor_type(header, number)).decode()
                found.add(Kind(format_, known, bool(_EXPERTS.search(name)), gpu))
        return found
    finally:
        ggml.gguf_free(header)
