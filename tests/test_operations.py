"""Each operation that our kernels compute, against a plain reference in 64 bits; llama.cpp's own against the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, computed

from thread_cli.models.llama.accelerator import missing

pytestmark = pytest.mark.parametrize(
    "kernels",
    [
        pytest.param(
            True, id="ours", marks=pytest.mark.skipif(missing() is not None, reason=f"no kernels: {missing()}")
        ),
        pytest.param(False, id="theirs"),
    ],
)


def silu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.tanh(x / 2))


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


GATES = {"swiglu_split": silu, "geglu_split": gelu}


def drawn(*shape: int, spread: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, shape).astype(np.float32)


def exact(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array.astype(np.float64) for array in arrays]


def check(found: np.ndarray, expected: np.ndarray, within: float) -> None:
    """Compare, relative to the largest value of each row."""
    size = np.abs(expected).max(axis=-1, keepdims=True) + 1e-30
    assert np.abs((found - expected) / size).max() < within


@pytest.mark.parametrize("kind", list(GATES))
def test_gates(kernels: bool, kind: str) -> None:
    x, y = drawn(3, 1001, spread=4), drawn(3, 1001, seed=1)
    x[0, :8] = [0, -0.0, 1e-4, -1e-4, 30, -30, 1e4, -1e4]
    found = computed(lambda g: g(kind, g.tensor(x), g.tensor(y)), x.shape, kernels=kernels)
    wide, gate = exact(x, y)
    # llama.cpp looks GELU up in a table of 16 bits.
    within = 1e-6 if kernels or kind == "swiglu_split" else 1e-3
    assert np.allclose(found, GATES[kind](wide) * gate, rtol=within, atol=within)


def test_scales_and_offsets(kernels: bool) -> None:
    x = drawn(2, 5, 37)
    found = computed(lambda g: g("scale_bias", g.tensor(x), 0.3, -1.5), x.shape, kernels=kernels)
    assert np.allclose(found, x * np.float64(np.float32(0.3)) - 1.5, atol=1e-6)


def test_hyperbolic_tangents(kernels: bool) -> None:
    x = np.concatenate([drawn(3000, spread=3), np.array([0, 1e-5, -1e-5, 50, -50, 1e9, -1e9], np.float32)])
    found = computed(lambda g: g("tanh", g.tensor(x)), x.shape, kernels=kernels)
    assert np.abs(found - np.tanh(x.astype(np.float64))).max() < 3e-7


def turned_view(g: Graph, x: np.ndarray) -> Any:
    """The tensor with its second and third dimension exchanged, as a view with other strides."""
    return g("permute", g.tensor(x), 0, 2, 1, 3)


def test_norms_of_rows_that_lie_apart(kernels: bool) -> None:
    x = drawn(5, 3, 96)
    found = computed(lambda g: g("rms_norm", turned_view(g, x), 1e-6), (3, 5, 96), kernels=kernels)
    (wide,) = exact(x.transpose(1, 0, 2))
    check(found, wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + 1e-6), 1e-6)


@pytest.mark.parametrize(("kind", "what"), [("mul", np.multiply), ("add", np.add)])
@pytest.mark.parametrize("other", [(96,), (3, 96), (5, 1, 96), (5, 3, 96)])
def test_sums_and_products_with_what_is_repeated(
    kernels: bool, kind: str, what: np.ufunc, other: tuple[int, ...]
) -> None:
    x, y = drawn(5, 3, 96), drawn(*other, seed=1)
    found = computed(lambda g: g(kind, g.tensor(x), g.tensor(y)), x.shape, kernels=kernels)
    assert np.array_equal(found, what(x, y))


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("dimensions", [64, 48])
@pytest.mark.parametrize("stretched", [True, False])
def test_rotary_embeddings(kernels: bool, halves: bool, dimensions: int, stretched: bool) -> None:
    tokens, heads, width = 7, 3, 64
    x = drawn(tokens, heads, width)
    positions = np.array([0, 1, 2, 3, 77, 1000, 4000], np.int32)
    factors = np.linspace(1, 8, dimensions // 2).astype(np.float32)

    def build(g: Graph) -> Any:
        given = g.tensor(factors) if stretched else None
        turned = (g.tensor(x), g.tensor(positions), given, dimensions, 2 if halves else 0, 4096)
        return g("rope_ext", *turned, 1e5, 0.5, 0.0, 1.25, 32.0, 1.0)

    found = computed(build, x.shape, kernels=kernels)
    pairs = np.arange(dimensions // 2)
    angles = 0.5 * positions[:, None] * 1e5 ** (-2 * pairs / dimensions) / (factors if stretched else 1)
    low, high = (pairs, pairs + dimensions // 2) if halves else (2 * pairs, 2 * pairs + 1)
    expected = x.astype(np.float64)
    (wide,) = exact(x)
    cosine, sine = 1.25 * np.cos(angles)[:, None], 1.25 * np.sin(angles)[:, None]
    expected[..., low] = wide[..., low] * cosine - wide[..., high] * sine
    expected[..., high] = wide[..., low] * sine + wide[..., high] * cosine
    # The angles add up in 32 bits.
    check(found, expected, 1e-3)
    check(found[:4], expected[:4], 2e-6)


def test_rows_taken_out(kernels: bool) -> None:
    x, which = drawn(9, 50), np.array([8, 0, 3, 3], np.int32)
    found = computed(lambda g: g("get_rows", g.tensor(x), g.tensor(which)), (4, 50), kernels=kernels)
    assert np.array_equal(found, x[which])


def seen(tokens: int, cells: int, window: int) -> np.ndarray:
    """A mask for tokens of two sequences, in cells that lie in any order: true where a token sees a cell."""
    owner = np.random.default_rng(3).permutation(np.arange(cells) % 2)
    rank = np.where(owner == 0, np.cumsum(owner == 0), np.cumsum(owner == 1)) - 1
    last = np.arange(tokens) + cells // 2 - tokens
    mine = owner[None] == np.arange(tokens)[:, None] % 2
    return mine & (rank[None] <= last[:, None]) & (rank[None] > last[:, None] - window)


@pytest.mark.parametrize("size", [64, 80, 96, 128, 256])
@pytest.mark.parametrize(("window", "cap"), [(10_000, 0.0), (50, 0.0), (50, 5.0)])
def test_attention(kernels: bool, size: int, window: int, cap: float) -> None:
    tokens, cells, heads, groups = 40, 700, 6, 2
    q = drawn(tokens, heads, size, spread=2)
    k, v = (drawn(cells, groups, size, seed=seed).astype(np.float16) for seed in (1, 2))
    mask = seen(tokens, cells, window)
    scale = size**-0.5

    def build(g: Graph) -> Any:
        hidden = g.tensor(np.where(mask, 0, -np.inf).astype(np.float16))
        views = [turned_view(g, each) for each in (q, k, v)]
        return g("flash_attn_ext", *views, hidden, scale, 0.0, cap)

    found = computed(build, (tokens, heads, size), kernels=kernels)
    queries, keys, values = exact(q, k, v)
    keys, values = (np.repeat(each, heads // groups, axis=1) for each in (keys, values))
    scores = np.einsum("thd,chd->htc", queries, keys) * scale
    scores = np.where(mask, cap * np.tanh(scores / cap) if cap else scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    # llama.cpp rounds queries to 16 bits, and adds values up in 16.
    check(found, np.einsum("htc,chd->thd", weights, values), 5e-6 if kernels else 2e-2)
