"""llama.cpp's C interface, typed: what the scheduler needs of it and no more. To be used from one thread only."""

from __future__ import annotations

import ctypes
import errno
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as llama
import numpy as np

from thread_cli.engine.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Backend", "Slice", "last_error", "quiet", "requantise"]

_ERROR = 4  # GGML_LOG_LEVEL_ERROR
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


def requantise(source: Path, target: Path) -> None:
    """Write a GGUF model to `target` with its weights in Q4_0.

    Raises:
        OSError: llama.cpp could not do it; nearly always since `target` cannot be written.
    """
    quiet()
    llama.llama_backend_init()
    params = llama.llama_model_quantize_default_params()
    params.ftype = llama.LLAMA_FTYPE_MOSTLY_Q4_0
    params.allow_requantize = True
    pointer: Any = ctypes.byref(params)
    last_error()
    if llama.llama_model_quantize(bytes(source), bytes(target), pointer) != 0:
        raise OSError(errno.EIO, f"llama.cpp: {last_error()}")


@dataclass(frozen=True, slots=True)
class Slice:
    """Tokens to evaluate at position `start` of a sequence. `logits` are wanted of the last one, or of none."""

    sequence: int
    start: int
    tokens: array[int]
    logits: bool


class Backend:
    """A model and one context of `context` KV cells, shared by up to `sequences` sequences.

    Raises:
        UserError: the file is no model that llama.cpp can use, an adapter does not fit it, or memory is short.
    """

    def __init__(
        self,
        path: Path,
        *,
        context: int,
        sequences: int,
        batch: int,
        threads: int,
        gpu_layers: int = 0,
        adapters: Sequence[Path] = (),
    ) -> None:
        quiet()
        llama.llama_backend_init()
        self._context: Any = None
        self._adapters: list[Any] = []
        self._model: Any = self._load(path, gpu_layers)
        try:
            self._vocab: Any = llama.llama_model_get_vocab(self._model)
            self._check_memory(context, gpu_layers)
            self._context = self._init(path, context, sequences, batch, threads)
            self._adapt(adapters)
        except BaseException:
            self.close()
            raise
        self._memory: Any = llama.llama_get_memory(self._context)
        self.context = int(llama.llama_n_ctx(self._context))
        self.trained = int(llama.llama_model_n_ctx_train(self._model))
        self.whole = bool(llama.llama_model_is_recurrent(self._model) or llama.llama_model_is_hybrid(self._model))
        """True if sequences can only be copied and dropped as a whole."""
        self._vocabulary = int(llama.llama_vocab_n_tokens(self._vocab))
        begin: list[Any] = [llama.llama_vocab_bos(self._vocab)] if llama.llama_vocab_get_add_bos(self._vocab) else []
        self._begin: array[int] = array("i", begin)
        self._pieces: dict[int, bytes] = {}
        self._batch = _Batch(batch)
        self._pads = b"".join(map(self.piece, self._tokenize(b"a", special=False))) != b"a"

    def close(self) -> None:
        """Free the memory. May be called twice."""
        if self._context is not None:
            llama.llama_free(self._context)
        if self._model is not None:
            llama.llama_model_free(self._model)
        self._context = self._model = None

    def tokenize(self, text: bytes, *, first: bool, special: bool) -> array[int]:
        """Tokens of a text. Where it begins a prompt, the model's own rules for a beginning apply (BOS, space)."""
        if first:
            return self._begin + self._tokenize(text, special=special)
        if not self._pads:
            return self._tokenize(text, special=special)
        # A vocabulary that puts a space before any text: hide it behind a line break, and take both away again.
        lead = self._tokenize(b"\n", special=False)
        tokens = self._tokenize(b"\n" + text, special=special)
        if tokens[: len(lead)] == lead and b"".join(map(self.piece, tokens[len(lead) :])) == text:
            return tokens[len(lead) :]
        return self._tokenize(text, special=special)

    def piece(self, token: int) -> bytes:
        """The text that a token stands for; several tokens may make one character."""
        known = self._pieces.get(token)
        if known is not None:
            return known
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = int(llama.llama_token_to_piece(self._vocab, token, buffer, size, 0, True))
            if length >= 0:
                break
            size = -length
        self._pieces[token] = buffer.raw[:length]
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        """True if the model ends its text with this token."""
        return bool(llama.llama_vocab_is_eog(self._vocab, token))

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """Let `target` have the cells of `source` at positions `start` to `end` in place of its own."""
        if self.whole:
            llama.llama_memory_seq_rm(self._memory, target, -1, -1)
            llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            return
        llama.llama_memory_seq_rm(self._memory, target, start, end)
        llama.llama_memory_seq_cp(self._memory, source, target, start, end)

    def clear(self, sequence: int, start: int) -> None:
        """Remove what a sequence holds from position `start` on."""
        llama.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def evaluate(self, slices: Sequence[Slice]) -> list[NDArray[np.float32] | None] | None:
        """Evaluate a batch; for each slice the logits after its last token, if wanted.

        None if no cells were left for the batch; nothing was evaluated then. The logits hold until the next call.

        Raises:
            ModelError: llama.cpp failed; what the memory holds is unknown.
        """
        wanted = self._batch.fill(slices)
        status = int(llama.llama_decode(self._context, self._batch.struct))
        if status == 1:
            return None
        if status != 0:
            raise ModelError(f"llama.cpp could not evaluate a batch (status {status}): {last_error()}")
        return [None if place is None else self._logits(place) for place in wanted]

    def _logits(self, place: int) -> NDArray[np.float32]:
        pointer: Any = llama.llama_get_logits_ith(self._context, place)
        return np.ctypeslib.as_array(pointer, shape=(self._vocabulary,))

    def _tokenize(self, text: bytes, *, special: bool) -> array[int]:
        size = len(text) + 8
        while True:
            buffer: Any = (llama.llama_token * size)()
            count = int(llama.llama_tokenize(self._vocab, text, len(text), buffer, size, False, special))
            if count >= 0:
                return array("i", buffer[:count])
            size = -count

    def _load(self, path: Path, gpu_layers: int) -> Any:
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except FileNotFoundError:
            raise UserError(f"model file {str(path)!r} does not exist; give the path of a GGUF file") from None
        except OSError as error:
            raise UserError(f"model file {str(path)!r} cannot be read: {error.strerror}") from None
        if magic != b"GGUF":
            raise UserError(f"{str(path)!r} is not a GGUF file; convert the model with llama.cpp first")
        last_error()
        params = llama.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        model: Any = llama.llama_model_load_from_file(bytes(path), params)
        if not model:
            raise UserError(f"llama.cpp cannot load {str(path)!r}: {last_error()}")
        if not llama.llama_model_has_decoder(model) or llama.llama_model_has_encoder(model):
            llama.llama_model_free(model)
            raise UserError(f"{str(path)!r} is not a model that continues text; choose a decoder-only model")
        return model

    def _init(self, path: Path, context: int, sequences: int, batch: int, threads: int) -> Any:
        params = llama.llama_context_default_params()
        params.n_ctx = context
        # llama.cpp aborts where a batch cannot hold one token of every sequence.
        params.n_batch = params.n_ubatch = max(batch, sequences)
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.swa_full = True
        params.no_perf = True
        last_error()
        made: Any = llama.llama_init_from_model(self._model, params)
        if not made:
            raise UserError(f"no context of {context} tokens for {str(path)!r}: {last_error()}; try a smaller one")
        return made

    def _check_memory(self, context: int, gpu_layers: int) -> None:
        """Refuse what cannot fit, before the operating system kills the process over it."""
        heads = llama.llama_model_n_head_kv(self._model) / max(1, llama.llama_model_n_head(self._model))
        width = llama.llama_model_n_embd(self._model) * heads
        # Keys and values, two bytes each.
        needed = int(context * llama.llama_model_n_layer(self._model) * width * 4)
        free = _available_memory()
        if gpu_layers == 0 and free is not None and needed > free:
            raise UserError(
                f"not enough memory: a context of {context} tokens needs {needed / 1e9:.1f} GB and "
                f"{free / 1e9:.1f} GB are free; choose a smaller context"
            )

    def _adapt(self, adapters: Sequence[Path]) -> None:
        for path in adapters:
            if not path.is_file():
                raise UserError(f"adapter file {str(path)!r} does not exist")
            last_error()
            adapter: Any = llama.llama_adapter_lora_init(self._model, bytes(path))
            if not adapter:
                raise UserError(f"adapter {str(path)!r} does not fit the model: {last_error()}")
            self._adapters.append(adapter)
        if self._adapters:
            count = len(self._adapters)
            loaded: Any = (llama.llama_adapter_lora_p_ctypes * count)(*self._adapters)
            scales: Any = (ctypes.c_float * count)(*[1.0] * count)
            apply: Any = getattr(llama, "llama_set_adapters_lora")  # noqa: B009 -- its declared type is incomplete
            if apply(self._context, loaded, count, scales) != 0:
                raise UserError(f"llama.cpp cannot apply the adapters: {last_error()}")


class _Batch:
    """A `llama_batch` whose arrays are numpy's, so that filling it costs a few copies and no loop over tokens."""

    def __init__(self, size: int) -> None:
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)
        self._sequences = np.zeros(size, np.int32)
        base = self._sequences.ctypes.data
        self._pointers = np.arange(base, base + 4 * size, 4, dtype=np.uintp)
        self._wanted = np.zeros(size, np.int8)
        self.struct: Any = llama.llama_batch()
        kinds = {str(name): kind for name, kind, *_ in llama.llama_batch._fields_}
        for name, values in (
            ("token", self._tokens),
            ("pos", self._positions),
            ("n_seq_id", self._counts),
            ("seq_id", self._pointers),
            ("logits", self._wanted),
        ):
            kind: Any = kinds[name]
            setattr(self.struct, name, ctypes.cast(values.ctypes.data, kind))

    def fill(self, slices: Sequence[Slice]) -> list[int | None]:
        """Lay out the slices one after another; where each one's wanted logits will be."""
        places: list[int | None] = []
        at = 0
        for part in slices:
            end = at + len(part.tokens)
            self._tokens[at:end] = part.tokens
            self._positions[at:end] = np.arange(part.start, part.start + len(part.tokens))
            self._sequences[at:end] = part.sequence
            self._wanted[at:end] = 0
            self._wanted[end - 1] = part.logits
            places.append(end - 1 if part.logits else None)
            at = end
        self.struct.n_tokens = at
        return places


def _available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
