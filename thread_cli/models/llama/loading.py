"""Model files as llama.cpp opens them: onto which processors, what their headers say, and what it reports of them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import llama_cpp.llama_cpp as llama

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Header", "check_file", "file_type", "last_error", "load_model", "quiet", "read_header"]

_ERROR: Final = 4  # GGML_LOG_LEVEL_ERROR
_SPLITS: Final = {
    "none": llama.LLAMA_SPLIT_MODE_NONE,
    "layer": llama.LLAMA_SPLIT_MODE_LAYER,
    "row": llama.LLAMA_SPLIT_MODE_ROW,
}
_ALL: Final = 2**31 - 1
_errors: list[str] = []


def _log(level: int, text: bytes, _data: Any) -> None:
    if level == _ERROR:
        _errors[:] = [*_errors[-9:], text.decode("utf-8", "replace").strip()]


_log_callback = llama.llama_log_callback(_log)


def quiet() -> None:
    """Keep llama.cpp from writing on the terminal."""
    llama.llama_log_set(_log_callback, ctypes.c_void_p(0))


def last_error() -> str:
    """The first error that llama.cpp reported since the last call of this, on one line."""
    first = next((" ".join(text.split()) for text in _errors if text), "no reason given")
    _errors.clear()
    return first


@dataclass(frozen=True, slots=True)
class Header:
    """What a model file says of itself."""

    layers: int
    format: int | None
    """The number of llama.cpp's file type (`llama_ftype`)."""
    parts: int
    """Files that the model is divided into."""

    def is_in(self, format_: str) -> bool:
        """Whether the model's weights are in the format of this name."""
        return self.format == file_type(format_)


def file_type(format_: str) -> int:
    """llama.cpp's number (`llama_ftype`) for a format, such as `q4_0`."""
    name = "ALL_F32" if format_ == "f32" else f"MOSTLY_{format_.upper()}"
    return int(getattr(llama, f"LLAMA_FTYPE_{name}"))


def read_header(path: Path) -> Header:
    """The header of a model file; its weights are not read.

    Raises:
        UserError: it is no model that llama.cpp can use.
    """
    quiet()
    llama.llama_backend_init()
    model = load_model(path, vocabulary_only=True)
    try:
        architecture = _metadata(model, "general.architecture")
        format_ = _metadata(model, "general.file_type")
        return Header(
            layers=int(_metadata(model, f"{architecture}.block_count") or 0),
            format=int(format_) if format_ else None,
            parts=int(_metadata(model, "split.count") or 1),
        )
    finally:
        llama.llama_model_free(model)


def _metadata(model: Any, key: str) -> str:
    buffer: Any = ctypes.create_string_buffer(256)
    length = int(llama.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer)))
    return buffer.value.decode("utf-8", "replace") if length >= 0 else ""


def load_model(
    path: Path,
    *,
    gpu_layers: int = 0,
    split: str = "layer",
    main_gpu: int = 0,
    tensor_split: Sequence[float] = (),
    vocabulary_only: bool = False,
    extra_buffers: bool = True,
) -> Any:
    """A `llama_model`, to be freed. `tensor_split` is how much of it each GPU gets, in proportion.

    `extra_buffers`: whether llama.cpp may repack weights for the processor. Only weights that passed the `Door` may be
    computed with.

    Raises:
        UserError: it is no model that llama.cpp can use, or there is no such GPU.
    """
    check_file(path)
    if gpu_layers and not llama.llama_supports_gpu_offload():
        raise UserError(
            "llama.cpp finds no GPU: leave --gpu-layers out, or install llama-cpp-python built for the GPU "
            "(docs/models.md says how)"
        )
    if len(tensor_split) > llama.LLAMA_MAX_DEVICES:
        raise UserError(f"model.tensor_split names {len(tensor_split)} GPUs; at most {llama.LLAMA_MAX_DEVICES} can be")
    shares: Any = (ctypes.c_float * llama.LLAMA_MAX_DEVICES)(*tensor_split)
    params = llama.llama_model_default_params()
    params.n_gpu_layers = _ALL if gpu_layers < 0 else gpu_layers
    params.vocab_only = vocabulary_only
    params.use_extra_bufts = extra_buffers
    if gpu_layers:
        params.split_mode = _SPLITS[split]
        params.main_gpu = main_gpu
        if tensor_split:
            params.tensor_split = shares
    last_error()
    model: Any = llama.llama_model_load_from_file(bytes(path), params)
    if not model:
        raise UserError(f"llama.cpp cannot load {str(path)!r}: {last_error()}")
    if not llama.llama_model_has_decoder(model) or llama.llama_model_has_encoder(model):
        llama.llama_model_free(model)
        raise UserError(f"{str(path)!r} is not a model that continues text; choose a decoder-only model")
    return model


def check_file(path: Path) -> None:
    """Raise UserError where a path is not that of a GGUF file."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise UserError(f"model file {str(path)!r} does not exist; give the path of a GGUF file") from None
    except OSError as error:
        raise UserError(f"model file {str(path)!r} cannot be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise UserError(f"{str(path)!r} is not a GGUF file; convert the model with llama.cpp first")
