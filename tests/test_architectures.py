"""Our own kernels compute the architectures of small models whole: as near to exact weights as llama.cpp, and bit for bit the
same in any company."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from architectures import SHAPES, build
from hypothesis import given, settings
from hypothesis import strategies as st
from weights import distance, logits

from thread_cli.models.llama.accelerator import missing
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.quantising import quantise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"our kernels are not used here: {missing()}")

LENGTH = 420
TEXT = array("i", np.random.default_rng(0).integers(0, 256, 2 * LENGTH).tolist())


@pytest.fixture(scope="module", params=list(SHAPES))
def exact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp(request.param) / "exact.gguf", request.param)


@pytest.fixture(scope="module")
def path(exact: Path) -> Path:
    quantise(exact, exact.with_name("rounded.gguf"), "q8_0", threads=2)
    return exact.with_name("rounded.gguf")


@pytest.fixture(scope="module")
def backend(path: Path) -> Iterator[Backend]:
    made = Backend(path, context=2048, sequences=8, batch=512, threads=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def alone(path: Path) -> np.ndarray:
    """What follows each token of the text, alone in the memory, in one piece, by one thread."""
    made = Backend(path, context=512, sequences=1, batch=512, threads=1)
    try:
        return read(made, [0, LENGTH])
    finally:
        made.close()


@pytest.fixture(autouse=True)
def empty(backend: Backend) -> Iterator[None]:
    yield
    for sequence in range(8):
        backend.clear(sequence, 0)


def read(backend: Backend, cuts: list[int], *others: Slice) -> np.ndarray:
    """The logits after each token from the first cut to the last, evaluated from cut to cut."""
    found: list[np.ndarray] = []
    for start, end in pairwise(cuts):
        rows = backend.evaluate([*others, Slice(0, start, TEXT[start:end], end - start)])
        assert rows is not None
        found += [row.copy() for row in rows[-1]]
        for other in others:
            backend.clear(other.sequence, other.start)
    return np.stack(found)


def test_nothing_of_them_is_left_to_llama_cpp(backend: Backend) -> None:
    assert backend.own


def test_they_are_as_near_to_exact_weights_as_llama_cpp_is(exact: Path, path: Path) -> None:
    tokens = TEXT[:200]
    right = logits(exact, tokens=tokens, kv_type="f32", flash_attention="off")
    ours, theirs = (distance(right, logits(path, tokens=tokens, kernels=kernels)) for kernels in (True, False))
    assert 0 < ours < 1.05 * theirs


def test_tokens_one_by_one_get_the_bits_of_all_at_once(backend: Backend, alone: np.ndarray) -> None:
    one_by_one = [*range(110), *range(240, 280), *range(400, LENGTH + 1)]  # beyond windows and blocks
    assert np.array_equal(read(backend, one_by_one), alone)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, LENGTH - 1), max_size=6), st.integers(0, 90), st.integers(1, 90))
def test_bits_depend_neither_on_cuts_nor_on_company(
    backend: Backend, alone: np.ndarray, cuts: list[int], held: int, company: int
) -> None:
    backend.evaluate([Slice(1, 0, TEXT[LENGTH : LENGTH + held + 1], 0)])
    try:
        others = Slice(1, held + 1, TEXT[:company], 1), Slice(2, 0, TEXT[600 : 600 + company], company)
        assert np.array_equal(read(backend, sorted({0, *cuts, 210, LENGTH}), *others), alone)
    finally:
        for sequence in range(3):
            backend.clear(sequence, 0)


@pytest.mark.parametrize("shared", [1, 64, 100, 256, 400])
def test_a_sequence_that_shares_a_prefix_has_the_bits_of_one_alone(
    backend: Backend, alone: np.ndarray, shared: int
) -> None:
    backend.evaluate([Slice(4, 0, TEXT[500:530], 0)])
    read(backend, [0, 400])
    backend.clear(4, 0)
    backend.share(0, 3, 0, shared)
    together = backend.evaluate(
        [Slice(0, 400, TEXT[400:LENGTH], 20), Slice(3, shared, TEXT[shared:LENGTH], LENGTH - shared)]
    )
    assert together is not None
    assert np.array_equal(np.stack(together[0]), alone[400:])
    assert np.array_equal(np.stack(together[1]), alone[shared:])
