"""One contender of `formats.py` in a process of its own: a model, and the seconds that prefill and decoding take.

    formats_worker.py KIND MODEL THREADS [JSON]

It writes a line of JSON when the model is loaded, and one for every line that it reads: `{"prefill": 512}`, or
`{"decode": THREADS, "steps": N}`, which is asked after a prefill and lets so many threads continue that prompt, all in
one batch, with the most probable token each. `seconds` are of the whole prefill, or of all steps.

It is run by other interpreters too, with other releases of this project: it imports only what the contender needs.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
import urllib.request
from array import array
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

MOST = 8
"""Threads that decode at once."""
PROMPT = 512
STEPS = 64
"""Most steps of decoding after one prefill."""
CONTEXT = PROMPT + (MOST + 1) * (STEPS + 2)


def prompt(length: int, turn: int) -> list[int]:
    """Tokens of a prompt; each turn's begins with another one, so that no prompt cache knows it."""
    return [1000 + turn % 500, *range(2000, 2000 + length - 1)]


class Thread:
    """The backend of this project, of the release that is found on the path."""

    def __init__(self, model: str, threads: int, options: dict[str, Any]) -> None:
        from pathlib import Path

        from thread_cli.models.llama.backend import Backend, Slice

        chosen = {"kernel_path": options["path"]} if "path" in options else {}
        self._slice = Slice
        self._backend: Any = Backend(
            Path(model), context=CONTEXT, sequences=MOST, batch=PROMPT, threads=threads, **chosen
        )
        self._ends: list[int] = []
        self._next: list[int] = []

    def told(self) -> str:
        return "own kernels throughout" if self._backend.own else "a part by llama.cpp"

    def prefill(self, tokens: list[int]) -> dict[str, float]:
        for sequence in range(MOST):
            self._backend.clear(sequence, 0)
        began = time.perf_counter()
        rows = self._backend.evaluate([self._slice(0, 0, array("i", tokens), 1)])
        best = int(rows[0][0].argmax())
        seconds = time.perf_counter() - began
        for other in range(1, MOST):
            self._backend.share(0, other, 0, len(tokens))
        self._ends, self._next = [len(tokens)] * MOST, [best + each for each in range(MOST)]
        return {"seconds": seconds}

    def decode(self, threads: int, steps: int) -> dict[str, float]:
        began = time.perf_counter()
        for _ in range(steps):
            slices = [self._slice(i, self._ends[i], array("i", self._next[i : i + 1]), 1) for i in range(threads)]
            rows = self._backend.evaluate(slices)
            for i in range(threads):
                self._next[i] = int(rows[i][0].argmax())
                self._ends[i] += 1
        return {"seconds": time.perf_counter() - began}


class Llama:
    """llama.cpp by its C interface, as llama-cpp-python declares it.

    Options: `plain`, without extra buffers; `exact`, keys and values in 32 bits and no flash attention; `context`, in
    cells.
    """

    def __init__(self, model: str, threads: int, options: dict[str, Any]) -> None:
        self._open(model, threads, options)
        self._batch: Any = self._c.llama_batch_init(PROMPT, 0, 1)
        self._ends: list[int] = []
        self._next: list[int] = []

    def _open(self, model: str, threads: int, options: dict[str, Any]) -> None:
        import llama_cpp.llama_cpp as c

        self._c: Any = c
        c.llama_backend_init()
        params = c.llama_model_default_params()
        params.use_extra_bufts = not options.get("plain", False)
        self._model: Any = _made(c.llama_model_load_from_file(os.fsencode(model), params))
        self._vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self._model))
        wanted = c.llama_context_default_params()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch, wanted.n_seq_max = CONTEXT, PROMPT, PROMPT, MOST
        wanted.n_ctx = options.get("context", CONTEXT)
        wanted.n_threads = wanted.n_threads_batch = threads
        wanted.kv_unified = wanted.swa_full = wanted.no_perf = True
        wanted.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if options.get("exact", False):
            wanted.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
            wanted.type_k = wanted.type_v = c.GGML_TYPE_F32
        self._context: Any = _made(c.llama_init_from_model(self._model, wanted))
        self._memory: Any = c.llama_get_memory(self._context)

    def told(self) -> str:
        return f"llama-cpp-python {version('llama-cpp-python')}"

    def _clear(self, sequence: int) -> None:
        self._c.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def _share(self, source: int, target: int) -> None:
        self._c.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def _evaluate(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        """Tokens with their positions, sequences, and whether logits are wanted."""
        for at, (token, position, sequence, wanted) in enumerate(tokens):
            self._batch.token[at], self._batch.pos[at] = token, position
            self._batch.n_seq_id[at], self._batch.seq_id[at][0] = 1, sequence
            self._batch.logits[at] = wanted
        self._batch.n_tokens = len(tokens)
        status = self._c.llama_decode(self._context, self._batch)
        if status:
            raise SystemExit(f"llama_decode: {status}")

    def logits(self, tokens: list[int], start: int) -> Any:
        """The logits after each of these tokens, of sequence 0 from position `start` on: a row of float32 each."""
        import numpy as np

        if start == 0:
            self._clear(0)
        self._evaluate([(token, start + at, 0, True) for at, token in enumerate(tokens)])
        rows: Any = self._c.llama_get_logits(self._context)
        return np.ctypeslib.as_array(rows, shape=(len(tokens), self._vocabulary))

    def _best(self, at: int) -> int:
        import numpy as np

        row: Any = self._c.llama_get_logits_ith(self._context, at)
        return int(np.ctypeslib.as_array(row, shape=(self._vocabulary,)).argmax())

    def prefill(self, tokens: list[int]) -> dict[str, float]:
        for sequence in range(MOST):
            self._clear(sequence)
        last = len(tokens) - 1
        began = time.perf_counter()
        self._evaluate([(token, at, 0, at == last) for at, token in enumerate(tokens)])
        best = self._best(last)
        seconds = time.perf_counter() - began
        for other in range(1, MOST):
            self._share(0, other)
        self._ends, self._next = [len(tokens)] * MOST, [best + each for each in range(MOST)]
        return {"seconds": seconds}

    def decode(self, threads: int, steps: int) -> dict[str, float]:
        began = time.perf_counter()
        for _ in range(steps):
            self._evaluate([(self._next[i], self._ends[i], i, True) for i in range(threads)])
            for i in range(threads):
                self._next[i] = self._best(i)
                self._ends[i] += 1
        return {"seconds": time.perf_counter() - began}


class Ik(Llama):
    """The fork ik_llama.cpp, whose interface is an older one of llama.cpp's."""

    def _open(self, model: str, threads: int, options: dict[str, Any]) -> None:
        from ik_llama_cpp import _ctypes_api as c  # pyright: ignore[reportMissingImports]

        self._c = c
        c.llama_backend_init()
        params = c.llama_model_default_params()
        params.repack_tensors = options.get("repack", False)
        params.use_mmap = not params.repack_tensors
        params.flash_attn = options.get("flash", True)
        self._model = _made(c.llama_model_load_from_file(os.fsencode(model), params))
        self._vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self._model))
        wanted = c.llama_context_default_params()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch, wanted.n_seq_max = CONTEXT, PROMPT, PROMPT, MOST
        wanted.n_threads = wanted.n_threads_batch = threads
        wanted.flash_attn = options.get("flash", True)
        self._context = _made(c.llama_init_from_model(self._model, wanted))
        for name, count in (("rm", 1), ("cp", 2)):
            function = getattr(c._lib, f"llama_kv_cache_seq_{name}")
            function.argtypes = [ctypes.c_void_p, *[ctypes.c_int32] * (count + 2)]

    def told(self) -> str:
        return f"ik-llama-cpp-python {version('ik-llama-cpp-python')}"

    def _clear(self, sequence: int) -> None:
        self._c._lib.llama_kv_cache_seq_rm(self._context, sequence, -1, -1)

    def _share(self, source: int, target: int) -> None:
        self._c._lib.llama_kv_cache_seq_cp(self._context, source, target, -1, -1)


class Server:
    """llama.cpp's own server, in this process, as the package xllamacpp brings it: slots, its prompt cache on.

    `seconds` is what the server tells, `wall` what the client waits for, both in the same units.
    """

    def __init__(self, model: str, threads: int, options: dict[str, Any]) -> None:
        import xllamacpp  # pyright: ignore[reportMissingImports]

        params = xllamacpp.CommonParams()
        params.model.path = model
        # One slot for each thread that decodes, and one in which prompts are timed.
        params.n_parallel, params.n_ctx = MOST + 1, (MOST + 1) * CONTEXT
        params.n_batch = params.n_ubatch = PROMPT
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_gpu_layers = params.port = 0
        # With cells that all slots share, the server drops those of slots that are idle as soon as one has work.
        params.kv_unified, params.cache_idle_slots, params.cache_prompt = False, False, True
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.no_extra_bufts = options.get("plain", False)
        self._server = xllamacpp.Server(params)
        self._clients = ThreadPoolExecutor(MOST)
        self._known = prompt(PROMPT, 0)

    def told(self) -> str:
        return f"xllamacpp {version('xllamacpp')}"

    def _asked(self, slot: int, tokens: list[int], count: int) -> dict[str, Any]:
        body = {
            "prompt": tokens, "n_predict": count, "id_slot": slot, "cache_prompt": True, "ignore_eos": True,
            "temperature": 0, "top_k": 1, "samplers": ["top_k"], "return_tokens": False,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{self._server.listening_address}/completion",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=1800) as answer:
            return json.load(answer)["timings"]

    def prefill(self, tokens: list[int]) -> dict[str, float]:
        began = time.perf_counter()
        timings = self._asked(MOST, tokens, 1)
        wall = time.perf_counter() - began
        if timings["prompt_n"] != len(tokens):
            raise SystemExit(f"the server evaluated {timings['prompt_n']} tokens of {len(tokens)}")
        return {"seconds": timings["prompt_ms"] / 1000, "wall": wall}

    def decode(self, threads: int, steps: int) -> dict[str, float]:
        # The prompt is in every slot before anything is timed. The first token comes of the prompt, without a step.
        for _ in range(2):
            found = [self._asked(slot, self._known, 1)["cache_n"] for slot in range(threads)]
        if min(found) < PROMPT - 1:
            raise SystemExit(f"the server knew {min(found)} tokens of a prompt of {PROMPT}")
        began = time.perf_counter()
        told = list(self._clients.map(lambda slot: self._asked(slot, self._known, steps + 1), range(threads)))
        wall = time.perf_counter() - began
        if any(each["predicted_n"] != steps + 1 for each in told):
            raise SystemExit("the server ended a completion early")
        rate = sum(steps / each["predicted_ms"] * 1000 for each in told)
        return {"seconds": threads * steps / rate, "wall": wall * steps / (steps + 1)}


class Bounds:
    """What the machine can do: `{"read": BYTES}` and `{"peak": PATH}` tell bytes and operations of a second."""

    def __init__(self, model: str, threads: int, options: dict[str, Any]) -> None:
        import numpy as np

        from thread_cli.models.llama.accelerator import library

        del model
        size = int(options["bytes"])
        self._threads, self._library = threads, library()
        self._held = np.ones(size + 64, np.uint8)
        self._from = self._held.ctypes.data + -self._held.ctypes.data % 64

    def told(self) -> str:
        return "own measurement"

    def read(self, size: int) -> dict[str, float]:
        """Seconds of the quickest of several passes."""
        return {"seconds": min(self._library.thread_kernels_read(self._from, size, self._threads) for _ in range(5))}

    def peak(self, path: int) -> dict[str, float]:
        """Operations of a second, of the best of several tries of some 50 ms each."""
        found = self._library.thread_kernels_peak(path, self._threads, 100_000)
        if found < 0:
            raise SystemExit("the processor does not have, or the system not permit, what this path multiplies by")
        each = 12 * 2 * 64 if path == 0 else 6 * 2 * 16 * 16 * 64
        rounds = max(1, int(0.05 * found / (self._threads * each)))
        return {"rate": max(self._library.thread_kernels_peak(path, self._threads, rounds) for _ in range(5))}


KINDS: dict[str, type[Any]] = {"thread": Thread, "llama": Llama, "ik": Ik, "xllamacpp": Server, "bounds": Bounds}


def _made(pointer: Any) -> Any:
    if not pointer:
        raise SystemExit("llama.cpp could not load the model or make a context")
    return pointer


def main(kind: str, model: str, threads: str, options: str = "{}") -> None:
    # Libraries write on stdout as they like: the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender = KINDS[kind](model, int(threads), json.loads(options))
    turn = 0
    print(json.dumps({"told": contender.told()}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "prefill" in asked:
            turn += 1
            found = contender.prefill(prompt(asked["prefill"], turn))
        elif "decode" in asked:
            found = contender.decode(asked["decode"], asked["steps"])
        elif "read" in asked:
            found = contender.read(asked["read"])
        else:
            found = contender.peak(asked["peak"])
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # At once: what a library does at its end is not measured, and may not end.
    os._exit(0)
