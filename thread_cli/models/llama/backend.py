"""llama.cpp's C interface, typed: the functions that the scheduler needs. To be used from one thread only."""

from __future__ import annotations

import ctypes
from array import array
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import llama_cpp.llama_cpp as llama
import numpy as np

from thread_cli.contracts.errors import ModelError, UserError
from thread_cli.models.llama.accelerator import Accelerator, missing, usable_path
from thread_cli.models.llama.call import Description
from thread_cli.models.llama.door import Door, Passage
from thread_cli.models.llama.kinds import kinds_in
from thread_cli.models.llama.loading import check_file, last_error, load_model, quiet
from thread_cli.models.llama.policy import Policy
from thread_cli.models.llama.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from thread_cli.models.llama.accelerator import KernelPath

__all__ = ["Backend", "Slice"]

_KV_TYPES: Final = {
    "f32": llama.GGML_TYPE_F32,
    "f16": llama.GGML_TYPE_F16,
    "q8_0": llama.GGML_TYPE_Q8_0,
    "q4_0": llama.GGML_TYPE_Q4_0,
}
_KV_BYTES: Final = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes that a key's or a value's number takes."""
_COMPRESSED: Final = {"q8_0", "q4_0"}
_WORTH: Final = 0.5
"""Share of a model's bytes that our kernels must know for them to do the operations between products as well."""
_FAILURES: Final = {-2: "not enough memory for the batch: choose a smaller context, or run fewer threads at once"}
"""Statuses of `llama_decode` whose cause is known."""
_IDS: Final = 256
"""Sequence ids that llama.cpp has (`LLAMA_MAX_SEQ`)."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Tokens to evaluate at position `start` of a sequence. Logits are wanted of the last `wanted` ones."""

    sequence: int
    start: int
    tokens: array[int]
    wanted: int


class Backend:
    """A model and one context of `context` KV cells, shared by up to `sequences` sequences.

    In layers with a sliding window, llama.cpp gives a cell away once the window of the only sequence that holds it has
    moved on, so that no other sequence can begin with the same tokens any more. A cell that two sequences hold is kept.
    Each sequence of such a model therefore has a twin, another id that holds the same cells, and at most 127 are kept.

    Raises:
        UserError: the file is no model that llama.cpp can use, its weights do not run here, an adapter does not fit it,
            or memory is short.
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
        split: str = "layer",
        main_gpu: int = 0,
        tensor_split: Sequence[float] = (),
        flash_attention: str = "auto",
        kv_type: str = "f16",
        adapters: Sequence[Path] = (),
        kernels: bool = True,
        kernel_path: KernelPath | None = None,
        passage: Passage | None = None,
    ) -> None:
        quiet()
        llama.llama_backend_init()
        self._context: Any = None
        self._model: Any = None
        self._adapters: list[Any] = []
        fits = gpu_layers == 0 and flash_attention != "off" and kv_type == "f16"
        usable = kernels and fits and missing() is None
        self.passage = passage or _passage(path, adapters, kernels=usable, gpu=gpu_layers != 0)
        """How the model is loaded, by what runs on this machine."""
        chosen = kernel_path or (usable_path(amx=self.passage.amx) if usable and self.passage.kernels else None)
        self._accelerator = Accelerator(chosen) if usable and chosen is not None else None
        try:
            # An adapter's weights would be put where the model's are, which only our own kernels can read.
            with nullcontext() if adapters else self._offered(loading=True):
                self._model = load_model(
                    path,
                    gpu_layers=gpu_layers,
                    split=split,
                    main_gpu=main_gpu,
                    tensor_split=tensor_split,
                    extra_buffers=self.passage.extra_buffers,
                )
            packed = self._accelerator is not None and self._accelerator.packed() > _WORTH * path.stat().st_size
            self.vocabulary = Vocabulary(self._model)
            self.recurrent = bool(
                llama.llama_model_is_recurrent(self._model) or llama.llama_model_is_hybrid(self._model)
            )
            """True if sequences can only be copied and dropped as a whole."""
            # Where sequences are only continued from their end, cells behind their windows are not needed again.
            self._twins = int(llama.llama_model_n_swa(self._model)) > 0 and not self.recurrent
            self.sequences = min(sequences, (_IDS - 1) // 2) if self._twins else sequences
            """Most sequences that it holds; their ids are below this."""
            if gpu_layers == 0:
                self._check_memory(context, kv_type)
            flash = _flash_attention(flash_attention, kv_type, gpu_layers)
            params = _context_params(context, self.sequences * (1 + self._twins) + 1, batch, threads)
            params.flash_attn_type = flash
            params.type_k = params.type_v = _KV_TYPES[kv_type]
            with self._offered(loading=False, all_operations=packed):
                self._context = self._init(path, context, params)
            self.own = packed and self._accelerator is not None and self._accelerator.complete()
            """True if our own kernels compute the whole model."""
            self._adapt(adapters)
        except BaseException:
            self.close()
            raise
        self._memory: Any = llama.llama_get_memory(self._context)
        self.context = context
        self.batch = batch
        """Most tokens to evaluate at once."""
        self.policy = Policy.of(
            batch,
            own=self.own,
            gpu=gpu_layers > 0,
            flash=flash != llama.LLAMA_FLASH_ATTN_TYPE_DISABLED,
            recurrent=self.recurrent,
        )
        """Which tokens may be evaluated in one batch. The backend itself only pads batches by it."""
        self.trained = int(llama.llama_model_n_ctx_train(self._model))
        self._spare = self.sequences
        """A sequence that holds nothing between batches."""
        self._filled = _Batch(batch + 1, self._spare if self._twins else 0)
        self._shifts = bool(llama.llama_memory_can_shift(self._memory))
        self._padding = Slice(self._spare, 0, array("i", [0]), 0)

    def describe(self) -> Description:
        """Facts from the model's file."""
        template: Any = llama.llama_model_chat_template(self._model, None)
        names = [
            self.vocabulary.piece(token).decode("utf-8", "replace")
            if (token := int(find(self.vocabulary.handle))) >= 0
            else ""
            for find in (llama.llama_vocab_bos, llama.llama_vocab_eos)
        ]
        return Description(
            template=None if template is None else template.decode("utf-8", "replace"),
            begin=names[0],
            end=names[1],
            begins=len(self.vocabulary.begin) > 0,
            longest=min(self.context, self.trained or self.context),
        )

    def metadata(self, key: str) -> str:
        """The text that the model's file has under a key; nothing if it has none."""
        size = 256
        while True:
            buffer: Any = ctypes.create_string_buffer(size)
            length = int(llama.llama_model_meta_val_str(self._model, key.encode(), buffer, size))
            if length < size:
                return buffer.value.decode("utf-8", "replace")
            size = length + 1

    def close(self) -> None:
        """Free the memory. May be called twice."""
        if self._context is not None:
            llama.llama_free(self._context)
        if self._model is not None:
            llama.llama_model_free(self._model)
        self._context = self._model = None
        if self._accelerator is not None:
            self._accelerator.close()

    def share(self, source: int, target: int, start: int, end: int) -> None:
        """Let `target` have the cells of `source` at positions `start` to `end` in place of its own.

        Raises:
            ModelError: `source` no longer has all of them.
        """
        if self.recurrent:
            llama.llama_memory_seq_rm(self._memory, target, -1, -1)
            llama.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            return
        if self._twins and llama.llama_memory_seq_pos_min(self._memory, source) != 0:
            raise ModelError("llama.cpp has given away cells of a sliding window that a thread was to share")
        for twin in self._ids(target):
            llama.llama_memory_seq_rm(self._memory, twin, start, end)
            llama.llama_memory_seq_cp(self._memory, source, twin, start, end)

    def clear(self, sequence: int, start: int) -> None:
        """Remove the cells of a sequence from position `start` on."""
        for twin in self._ids(sequence):
            llama.llama_memory_seq_rm(self._memory, twin, start, -1)

    def _ids(self, sequence: int) -> tuple[int, ...]:
        """The ids under which llama.cpp knows a sequence."""
        return (sequence, self._spare + 1 + sequence) if self._twins and sequence < self._spare else (sequence,)

    def evaluate(self, slices: Sequence[Slice]) -> list[list[NDArray[np.float32]]] | None:
        """Evaluate a batch; for each slice the logits after each of its wanted tokens.

        None if no cells were left for the batch; nothing was evaluated then. The logits hold until the next call.

        Raises:
            ModelError: llama.cpp failed; what the memory holds is unknown.
        """
        padding = [self._padding] if self.policy.is_padded(sum(len(part.tokens) for part in slices)) else []
        ends = self._filled.fill([*slices, *padding])
        self._start_at_the_first_free_cell()
        status = int(llama.llama_decode(self._context, self._filled.struct))
        for part in padding:
            self.clear(part.sequence, 0)
        if status == 1:
            return None
        if status != 0:
            why = (self._accelerator.fault() if self._accelerator else "") or _FAILURES.get(status) or last_error()
            raise ModelError(f"llama.cpp could not evaluate a batch (status {status}): {why}")
        return [
            [self._logits(place) for place in range(end - part.wanted, end)]
            for part, end in zip(slices, ends, strict=False)
        ]

    def _start_at_the_first_free_cell(self) -> None:
        """Let the next batch fill free cells in order from the first one, not from where the last batch ended.

        Then the places of its cells, and with them the rounding of attention over these cells, depend only on the cells
        that are kept; and attention looks at no more of the memory than it needs. llama.cpp begins at the first free
        cell after a change of positions; this asks for a change of none.
        """
        if self._shifts:
            llama.llama_memory_seq_add(self._memory, self._spare, 0, -1, 1)

    def _logits(self, place: int) -> NDArray[np.float32]:
        pointer: Any = llama.llama_get_logits_ith(self._context, place)
        return np.ctypeslib.as_array(pointer, shape=(self.vocabulary.size,))

    def _offered(self, *, loading: bool, all_operations: bool = False) -> AbstractContextManager[None]:
        return (
            nullcontext()
            if self._accelerator is None
            else self._accelerator.offered(loading=loading, all_operations=all_operations)
        )

    def _init(self, path: Path, context: int, params: Any) -> Any:
        last_error()
        made: Any = llama.llama_init_from_model(self._model, params)
        if not made:
            raise UserError(f"no context of {context} tokens for {str(path)!r}: {last_error()}; try a smaller one")
        return made

    def _check_memory(self, context: int, kv_type: str) -> None:
        """Refuse what cannot fit, before the operating system kills the process over it."""
        heads = llama.llama_model_n_head_kv(self._model) / max(1, llama.llama_model_n_head(self._model))
        width = llama.llama_model_n_embd(self._model) * heads
        needed = int(context * llama.llama_model_n_layer(self._model) * width * 2 * _KV_BYTES[kv_type])
        free = _available_memory()
        if free is not None and needed > free:
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


def _passage(path: Path, adapters: Sequence[Path], *, kernels: bool, gpu: bool) -> Passage:
    """How the weights of these files may be loaded, by what the door has found or finds now."""
    check_file(path)
    offloads = gpu and bool(llama.llama_supports_gpu_offload())
    return Door().passage(kinds_in([path, *adapters], gpu=offloads), kernels=kernels)


def _context_params(context: int, ids: int, batch: int, threads: int) -> Any:
    params = llama.llama_context_default_params()
    params.n_ctx = context + 1
    # llama.cpp aborts where a batch cannot hold one token of every sequence.
    params.n_batch = params.n_ubatch = max(batch + 1, ids)
    params.n_seq_max = ids
    params.n_threads = params.n_threads_batch = threads
    params.kv_unified = True
    params.swa_full = True
    params.no_perf = True
    return params


def _flash_attention(wanted: str, kv_type: str, gpu_layers: int) -> int:
    """llama.cpp's number for it.

    Raises:
        UserError: llama.cpp needs it for values of this type, and it is off.
    """
    if wanted == "off" and kv_type in _COMPRESSED:
        raise UserError(
            f"llama.cpp keeps values as {kv_type} only with flash attention: leave out model.flash_attention=off, "
            "or choose model.kv_type f16 or f32"
        )
    if wanted == "auto" and gpu_layers:
        return int(llama.LLAMA_FLASH_ATTN_TYPE_AUTO)
    # Without it, a CPU computes a score for each token of a batch and each cell that any sequence holds.
    return int(llama.LLAMA_FLASH_ATTN_TYPE_DISABLED if wanted == "off" else llama.LLAMA_FLASH_ATTN_TYPE_ENABLED)


class _Batch:
    """A `llama_batch` whose arrays are numpy's, so that filling it costs a few copies and no loop over tokens.

    With `twins`, tokens of a sequence s below it belong to sequence `twins` + 1 + s as well.
    """

    def __init__(self, size: int, twins: int) -> None:
        self._twins = twins
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)
        self._sequences = np.zeros((size, 2), np.int32)
        base = self._sequences.ctypes.data
        self._pointers = np.arange(base, base + 8 * size, 8, dtype=np.uintp)
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

    def fill(self, slices: Sequence[Slice]) -> list[int]:
        """Lay out the slices one after another; returns the place where each one ends."""
        ends: list[int] = []
        at = 0
        for part in slices:
            end = at + len(part.tokens)
            self._tokens[at:end] = part.tokens
            self._positions[at:end] = np.arange(part.start, part.start + len(part.tokens))
            self._sequences[at:end] = part.sequence, self._twins + 1 + part.sequence
            self._counts[at:end] = 2 if part.sequence < self._twins else 1
            self._wanted[at:end] = 0
            self._wanted[end - part.wanted : end] = 1
            ends.append(end)
            at = end
        self.struct.n_tokens = at
        return ends


def _available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
