"""Our kernels where memory is short, or where they are asked for what they cannot do: a status, and no process that dies."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from array import array
from pathlib import Path

import llama_cpp.llama_cpp as llama
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from weights import tiny

from thread_cli.contracts.errors import ModelError
from thread_cli.models.llama import accelerator
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.quantising import quantise

pytestmark = pytest.mark.skipif(
    accelerator.missing() is not None, reason=f"our kernels are not used here: {accelerator.missing()}"
)

SUCCESS, FAILED, NO_MEMORY = 0, -1, -2
CHILD = """
import ctypes, resource, sys
import numpy as np
from graphs import Graph, call, ours
from thread_cli.models.llama.accelerator import Accelerator

def attention(tokens, cells, heads, width):
    draw, g = np.random.default_rng(0), Graph()
    queries = draw.normal(size=(heads, tokens, width)).astype(np.float32)
    keys, values = (draw.normal(size=(1, cells, width)).astype(np.float16) for _ in range(2))
    mask = np.where(draw.random((tokens, cells), np.float32) < 0.5, np.float16(0), np.float16(-np.inf))
    result = g("flash_attn_ext", *map(g.tensor, (queries, keys, values, mask)), 0.1, 0.0, 0.0)
    graph = g("new_graph")
    call("ggml_build_forward_expand", graph, result, result=None)
    return g, graph, result

def compute(backend, graph):
    return call("ggml_backend_graph_compute", backend, graph, result=ctypes.c_int)

def limit(bytes):
    resource.setrlimit(resource.RLIMIT_AS, (bytes, resource.RLIM_INFINITY))

sizes = list(map(int, sys.argv[1:]))
small, large = attention(2, 64, 1, 64), attention(*sizes)
accelerator = Accelerator("vnni")
backend = ours(accelerator, large[2])
told = [compute(backend, small[1])]
limit(int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 2**21)
told.append(compute(backend, large[1]))
limit(resource.RLIM_INFINITY)
told.append(compute(backend, large[1]))
numbers = np.frombuffer(ctypes.string_at(call("ggml_get_data", large[2]), 4 * np.prod(sizes) // sizes[1]), np.float32)
print(*told, bool(np.isfinite(numbers).all() and numbers.any()))
"""


@pytest.mark.parametrize(
    "sizes", [pytest.param((8, 8192, 64, 256), id="before it"), pytest.param((1000, 8192, 1, 64), id="in its midst")]
)
def test_a_graph_that_there_is_no_memory_for_fails_and_the_next_one_is_computed(sizes: tuple[int, ...]) -> None:
    """Tokens, cells, heads and width: many heads need memory before a graph begins, many tokens lists of cells in it."""
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, sizes)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=Path(__file__).parent,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"},
        check=False,
    )
    assert ran.stdout == f"{SUCCESS} {NO_MEMORY} {SUCCESS} True\n", ran.stderr


@pytest.mark.parametrize("path", [-1, 0])
def test_a_product_says_why_it_cannot_be_computed(path: int) -> None:
    empty = np.zeros(4096, np.uint8)

    def multiplied(kind: GGMLQuantizationType, columns: int, tokens: int) -> int:
        data = empty.ctypes.data
        return accelerator.library().thread_kernels_multiply(path, kind, 1, columns, data, tokens, data, data)

    assert multiplied(GGMLQuantizationType.Q8_0, 32, 1) == SUCCESS
    assert multiplied(GGMLQuantizationType.Q8_0, 33, 1) == FAILED
    assert multiplied(GGMLQuantizationType.Q3_K, 256, 1) == FAILED
    assert multiplied(GGMLQuantizationType.Q8_0, 32, 2**48) == NO_MEMORY


def test_weights_that_are_read_back_are_a_fault_that_evaluation_tells(tmp_path: Path) -> None:
    """llama.cpp saves a model from what it has in memory; packed weights have another order."""
    quantise(tiny(tmp_path / "tiny.gguf", width=256), tmp_path / "q8.gguf", "q8_0", threads=2)
    made = Backend(tmp_path / "q8.gguf", context=64, sequences=1, batch=16, threads=1)
    try:
        assert made.own
        assert made.evaluate([Slice(0, 0, array("i", [1, 2]), 1)]) is not None
        llama.llama_model_save_to_file(made._model, ctypes.c_char_p(bytes(tmp_path / "copy.gguf")))
        with pytest.raises(ModelError, match=r"\(status -3\): our kernels .* weights were read back"):
            made.evaluate([Slice(0, 2, array("i", [3]), 1)])
    finally:
        made.close()
