"""What our kernels multiply: each format of weights, by each path of the processor, to the last bit as the plain C does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st

from thread_cli.models.llama import accelerator

if TYPE_CHECKING:
    from thread_cli.models.llama.accelerator import KernelPath

NAMES = accelerator.KNOWN
FORMATS = [GGMLQuantizationType[name] for name in NAMES]
SCALES = {"Q6_K": (208,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q4_1": (0, 2), "Q5_1": (0, 2)}
"""Where a block has its scale and its minimum, in 16 bits; elsewhere at the beginning."""
REFERENCE = -1


def here() -> list[KernelPath]:
    try:
        return [*accelerator.paths(), *(["amx-emulated"] if accelerator.paths() else [])]
    except OSError:
        return []


def skip_unless_there(path: KernelPath) -> None:
    if path not in here():
        pytest.skip(f"this processor, or this installation, has no path {path}")


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    try:
        accelerator.library()
    except OSError as error:
        pytest.skip(f"the kernels were not compiled here: {error}")


def weights(kind: GGMLQuantizationType, rows: int, columns: int, seed: int) -> np.ndarray:
    """A matrix as a file has it: any bits, but for scales between 0.008 and 0.016, of either sign."""
    draw = np.random.default_rng(seed)
    block, size = GGML_QUANT_SIZES[kind]
    if kind.name in {"F16", "BF16"}:
        values = draw.normal(0, 0.05, (rows, columns)).astype(np.float32)
        if kind.name == "F16":
            return values.astype(np.float16).view(np.uint8)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    raw = draw.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
    for at in SCALES.get(kind.name, (0,)):
        scales = draw.uniform(0.008, 0.016, raw.shape[:2]) * draw.choice((-1, 1), raw.shape[:2])
        raw[..., at : at + 2] = scales.astype(np.float16)[..., None].view(np.uint8)
    return raw.reshape(rows, -1)


def multiplied(path: int, kind: GGMLQuantizationType, matrix: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Activations (tokens, columns) times a matrix of a file (rows, bytes): results (tokens, rows)."""
    tokens, columns = activations.shape
    result = np.full((tokens, len(matrix)), np.nan, np.float32)
    status = accelerator.library().thread_kernels_multiply(
        path, kind, len(matrix), columns, matrix.ctypes.data, tokens, activations.ctypes.data, result.ctypes.data
    )
    assert status == 0
    return result


def exact(kind: GGMLQuantizationType, matrix: np.ndarray, activations: np.ndarray) -> np.ndarray:
    return activations.astype(np.float64) @ dequantize(matrix, kind).astype(np.float64).T


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2) / np.mean(one**2)))


@pytest.mark.parametrize("kind", FORMATS, ids=NAMES)
def test_the_plain_c_is_as_near_to_exact_products_as_activations_of_8_bits_allow(kind: GGMLQuantizationType) -> None:
    activations = np.random.default_rng(1).normal(0, 1, (7, 768)).astype(np.float32)
    matrix = weights(kind, 33, 768, 2)
    wanted = exact(kind, matrix, activations)
    found = multiplied(REFERENCE, kind, matrix, activations)
    assert apart(wanted, found) < (1e-6 if kind.name in {"F16", "BF16"} else 0.01)


@pytest.mark.parametrize("path", ["vnni", "amx", "amx-emulated"])
@pytest.mark.parametrize("kind", FORMATS, ids=NAMES)
@settings(max_examples=12, deadline=None)
@given(st.tuples(st.integers(1, 70), st.integers(1, 7), st.integers(1, 40)), st.integers(0, 1000), st.booleans())
def test_a_path_gives_the_bits_of_the_plain_c(
    path: KernelPath, kind: GGMLQuantizationType, sizes: tuple[int, int, int], seed: int, odd: bool
) -> None:
    skip_unless_there(path)
    rows, blocks, tokens = sizes
    columns = blocks * max(32, GGML_QUANT_SIZES[kind][0])
    activations = np.random.default_rng(seed).normal(0, 1, (tokens, columns)).astype(np.float32)
    if odd:  # what models have: columns far larger than the rest, rows and stretches of zeros, very small numbers
        activations[:, seed % columns] *= 1e4
        activations[seed % tokens] = 0
        activations[-1, : columns // 2] = 0
        activations[0, columns // 2 :] *= 1e-30
    matrix = weights(kind, rows, columns, seed)
    wanted = multiplied(REFERENCE, kind, matrix, activations)
    assert np.isfinite(wanted).all()
    found = multiplied(accelerator.PATHS[path], kind, matrix, activations)
    assert np.array_equal(wanted.view(np.uint32), found.view(np.uint32))


@pytest.mark.parametrize("path", ["vnni", "amx", "amx-emulated"])
def test_a_tokens_products_do_not_depend_on_how_many_are_computed_with_it(path: KernelPath) -> None:
    skip_unless_there(path)
    activations = np.random.default_rng(5).normal(0, 1, (50, 1024)).astype(np.float32)
    for kind in FORMATS:
        matrix = weights(kind, 50, 1024, 6)
        together = multiplied(accelerator.PATHS[path], kind, matrix, activations)
        for first, last in ((0, 1), (3, 5), (9, 17), (20, 37), (49, 50)):
            part = np.ascontiguousarray(activations[first:last])
            assert np.array_equal(multiplied(accelerator.PATHS[path], kind, matrix, part), together[first:last])


@pytest.mark.parametrize("path", ["vnni", "amx", "amx-emulated"])
@pytest.mark.parametrize("tokens", [527, 528, 529, 1057])
def test_prompts_of_more_tokens_than_are_multiplied_at_once_have_the_same_bits(path: KernelPath, tokens: int) -> None:
    skip_unless_there(path)
    activations = np.random.default_rng(7).normal(0, 1, (tokens, 256)).astype(np.float32)
    for kind in FORMATS:
        matrix = weights(kind, 35, 256, 8)
        together = multiplied(accelerator.PATHS[path], kind, matrix, activations)
        assert np.array_equal(together, multiplied(REFERENCE, kind, matrix, activations))


def test_each_path_of_this_processor_passes_the_check_at_load() -> None:
    if not here():
        pytest.skip("this processor has no path for our kernels")
    assert {path: accelerator.fault(path) for path in here()} == dict.fromkeys(here())
    assert accelerator.missing() is None
    assert accelerator.usable_path() == here()[0]
    assert accelerator.usable_path(amx=False) == "vnni"
