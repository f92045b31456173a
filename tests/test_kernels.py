"""Our own kernels, on two layers of SmolLM2: as good as llama.cpp's, and the same bits in any company."""

from __future__ import annotations

import asyncio
from array import array
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import llama_cpp.llama_cpp as llama
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weights import adapter, distance, logits, matrices, tiny

from thread_cli.contracts.model import Request
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.llama.accelerator import missing, paths
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.prepare import packaged
from thread_cli.models.llama.quantising import quantise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from thread_cli.models.llama.accelerator import KernelPath

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"our kernels are not used here: {missing()}")

LENGTH = 700
TEXT = array("i", np.random.default_rng(0).integers(100, 40_000, 2 * LENGTH).tolist())


PATHS = paths() if missing() is None else ("none",)
EACH = [pytest.param((path, name), id=f"{path}-{name}") for path in PATHS for name in ("q8_0", "q4_k_m")]


@pytest.fixture(scope="module")
def made_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Two layers of SmolLM2 in a format; Q4_K_M mixes four."""
    folder = tmp_path_factory.mktemp("models")

    @cache
    def made(name: str) -> Path:
        quantise(packaged(), folder / f"{name}.gguf", name, threads=2, left_out=range(2, 30))
        return folder / f"{name}.gguf"

    return made


@pytest.fixture(scope="module")
def rounded(made_in: Callable[[str], Path]) -> Path:
    return made_in("q8_0")


@pytest.fixture(scope="module", params=EACH)
def case(request: pytest.FixtureRequest, made_in: Callable[[str], Path]) -> tuple[KernelPath, Path]:
    path, name = request.param
    return path, made_in(name)


@pytest.fixture(scope="module")
def backend(case: tuple[KernelPath, Path]) -> Iterator[Backend]:
    path, file = case
    made = Backend(file, context=4096, sequences=8, batch=512, threads=2, kernel_path=path)
    assert made.own
    yield made
    made.close()


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for sequence in range(8) if "backend" in request.fixturenames else ():
        request.getfixturevalue("backend").clear(sequence, 0)


def read(backend: Backend, cuts: list[int], sequence: int = 0, *others: Slice) -> np.ndarray:
    """The logits after each token of `TEXT` from the first cut to the last, evaluated from cut to cut."""
    found: list[np.ndarray] = []
    for start, end in pairwise(cuts):
        rows = backend.evaluate([*others, Slice(sequence, start, TEXT[start:end], end - start)])
        assert rows is not None
        found += [row.copy() for row in rows[-1]]
        for other in others:
            backend.clear(other.sequence, other.start)
    return np.stack(found)


@pytest.fixture(scope="module")
def alone(case: tuple[KernelPath, Path]) -> np.ndarray:
    """What follows each token, a sequence alone in the memory, in the largest pieces, by one thread."""
    path, file = case
    made = Backend(file, context=1024, sequences=1, batch=512, threads=1, kernel_path=path)
    try:
        return read(made, [0, 512, LENGTH])
    finally:
        made.close()


@pytest.mark.parametrize("name", ["q8_0", "q4_k_m", "q5_k_m", "q6_k", "q4_0", "q5_0", "iq4_nl", "f16", "bf16"])
def test_they_are_as_near_to_exact_weights_as_llama_cpp_is(
    made_in: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    file = made_in(name)
    quantise(file, tmp_path / "exact.gguf", "f32", threads=2)
    tokens = TEXT[:200]
    exact = logits(tmp_path / "exact.gguf", tokens=tokens, last=40, kv_type="f32", flash_attention="off")
    ours, theirs = (distance(exact, logits(file, tokens=tokens, last=40, kernels=kernels)) for kernels in (True, False))
    assert 0 < ours < 1.1 * theirs


def test_all_paths_have_the_same_bits(made_in: Callable[[str], Path]) -> None:
    """The tiles of AMX, in plain C where the processor has none, and VNNI."""
    found = [logits(made_in("q4_k_m"), tokens=TEXT[:60], kernel_path=path) for path in {*PATHS, "amx-emulated", "vnni"}]
    assert len({each.tobytes() for each in found}) == 1


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_models_of_other_shapes_are_computed_as_llama_cpp_does(tmp_path: Path, architecture: str) -> None:
    """Other numbers of heads, a vocabulary that cannot be packed, norms of heads, and positions turned by halves."""
    path = tiny(tmp_path / "tiny.gguf", width=256, architecture=architecture)
    quantise(path, tmp_path / "q8.gguf", "q8_0", threads=2)
    tokens = [number % 200 for number in range(0, 1500, 7)]
    ours, theirs = (logits(tmp_path / "q8.gguf", tokens=tokens, kernels=kernels) for kernels in (True, False))
    assert 0 < distance(theirs, ours) < 0.03


def test_a_model_of_which_llama_cpp_computes_a_part_is_guarded_as_without_kernels(tmp_path: Path) -> None:
    """Some of its weights are in Q3_K, which they do not know; llama.cpp multiplies a token alone by other functions."""
    path = tiny(tmp_path / "tiny.gguf", width=256)
    quantise(path, tmp_path / "q3.gguf", "q3_k_m", threads=2)
    made = Backend(tmp_path / "q3.gguf", context=256, sequences=1, batch=128, threads=2)
    try:
        assert (made.own, made.policy.mixed) == (False, 63)
    finally:
        made.close()


def test_tokens_one_by_one_get_the_bits_of_all_at_once(backend: Backend, alone: np.ndarray) -> None:
    one_by_one = [*range(70), *range(240, 270), *range(505, 520)]  # beyond the blocks of 64, 256 and 512
    assert np.array_equal(read(backend, [*one_by_one, LENGTH]), alone)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, LENGTH - 1), max_size=8), st.integers(0, 90), st.integers(1, 90))
def test_bits_depend_neither_on_cuts_nor_on_company(
    backend: Backend, alone: np.ndarray, cuts: list[int], held: int, company: int
) -> None:
    backend.evaluate([Slice(1, 0, TEXT[LENGTH : LENGTH + held + 1], 0)])
    try:
        fine = sorted({0, *cuts, 300, 600, LENGTH})
        others = Slice(1, held + 1, TEXT[:company], 1), Slice(2, 0, TEXT[900 : 900 + company], company)
        assert np.array_equal(read(backend, fine, 0, *others), alone)
    finally:
        for sequence in range(3):
            backend.clear(sequence, 0)


def test_bits_do_not_depend_on_where_in_the_memory_a_sequence_lies(backend: Backend, alone: np.ndarray) -> None:
    for sequence in range(1, 6):
        backend.evaluate([Slice(sequence, 0, TEXT[LENGTH : LENGTH + 60 * sequence], 0)])
    assert np.array_equal(read(backend, [0, 100]), alone[:100])
    for sequence in (4, 2):  # what comes next lies before and behind what is there
        backend.clear(sequence, 0)
    assert np.array_equal(read(backend, [100, 250, 510, LENGTH]), alone[100:])


@pytest.mark.parametrize("shared", [1, 64, 100, 256, 511])
def test_a_sequence_that_shares_a_prefix_has_the_bits_of_one_alone(
    backend: Backend, alone: np.ndarray, shared: int
) -> None:
    read(backend, [0, 512])
    backend.share(0, 3, 0, shared)
    together = backend.evaluate([Slice(0, 512, TEXT[512:600], 88), Slice(3, shared, TEXT[shared : shared + 180], 180)])
    assert together is not None
    assert np.array_equal(np.stack(together[0]), alone[512:600])
    assert np.array_equal(np.stack(together[1]), alone[shared : shared + 180])


@pytest.mark.parametrize("count", [1, 20])
def test_eight_sequences_evaluated_at_once_have_the_bits_of_one_alone(
    backend: Backend, alone: np.ndarray, count: int
) -> None:
    """Few tokens, whose cells the threads divide among themselves, and many, which they divide by tokens."""
    read(backend, [0, 512])
    starts = [512 - 37 * sequence for sequence in range(8)]
    for sequence in range(1, 8):
        backend.share(0, sequence, 0, starts[sequence])
    for step in range(3):
        at = [start + step * count for start in starts]
        rows = backend.evaluate([Slice(s, start, TEXT[start : start + count], count) for s, start in enumerate(at)])
        assert rows is not None
        for start, found in zip(at, rows, strict=True):
            assert np.array_equal(np.stack(found), alone[start : start + count])


async def test_greedy_text_is_the_same_alone_beside_others_after_eviction_and_without_drafts(
    case: tuple[KernelPath, Path],
) -> None:
    path, file = case
    prompts = [f"{'One, two, three, four. ' * 40}{number} {number + 1}" for number in range(8)]

    async def written(context: int, at_once: int, **options: bool) -> list[str]:
        model = LlamaModel(LlamaOptions(file, context=context, threads=2, kernel_path=path, **options))
        texts: list[str] = []
        for start in range(0, len(prompts), at_once):
            asked = (Request("", prompt[:200], prompt[200:], (), 40) for prompt in prompts[start : start + at_once])
            texts += [done.text for done in await asyncio.gather(*map(model.complete, asked))]
        await model.close()
        return texts

    alone = await written(4096, 1, speculate=False)
    assert len(set(alone)) > 1
    assert alone == await written(4096, 8)
    assert alone == await written(4096, 8, speculate=False)
    assert alone == await written(400, 8)


def test_more_threads_than_cores_change_nothing(case: tuple[KernelPath, Path], alone: np.ndarray) -> None:
    path, file = case
    made = Backend(file, context=1024, sequences=1, batch=64, threads=5, kernel_path=path)
    try:
        assert np.array_equal(read(made, [0, 64, 128]), alone[:128])
    finally:
        made.close()


def test_nothing_else_in_the_process_meets_them(backend: Backend) -> None:
    ggml = getattr(llama, "_lib")  # noqa: B009
    count = ggml.ggml_backend_dev_count()
    names = set()
    ggml.ggml_backend_dev_get.restype = ggml.ggml_backend_dev_name.restype = llama.ctypes.c_void_p
    for index in range(count):
        device = llama.ctypes.c_void_p(ggml.ggml_backend_dev_get(llama.ctypes.c_size_t(index)))
        names.add(llama.ctypes.string_at(ggml.ggml_backend_dev_name(device)))
    assert b"thread" not in names
    assert names


def test_with_an_adapter_weights_stay_with_llama_cpp(rounded: Path, tmp_path: Path) -> None:
    changed = adapter(tmp_path / "lora.gguf", {"blk.0.attn_output.weight": matrices(576, 4)})
    made = Backend(rounded, context=256, sequences=1, batch=64, threads=2, adapters=[changed])
    try:
        assert not made.own
        plain = logits(rounded, tokens=TEXT[:50])
        found = made.evaluate([Slice(0, 0, TEXT[:50], 50)])
        assert found is not None
        assert 0.01 < distance(plain, np.stack(found[0])) < 1
    finally:
        made.close()


def test_models_come_and_go(rounded: Path) -> None:
    found = {logits(rounded).tobytes() for _ in range(4)}
    assert len(found) == 1
