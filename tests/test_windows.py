"""Models with sliding windows: what follows a text never depends on what else the memory holds, held or has lost."""

from __future__ import annotations

import asyncio
import os
from array import array
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import llama_cpp.llama_cpp as llama
import numpy as np
import pytest
from architectures import build
from hypothesis import given, settings
from hypothesis import strategies as st
from weights import distance

from thread_cli.contracts.errors import ModelError
from thread_cli.contracts.model import Request
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.quantising import quantise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thread_cli.contracts.model import Completion

WINDOW = 48
CELLS = 500
SEQUENCES = 4
TEXT = array("i", np.random.default_rng(0).integers(0, 256, 900).tolist())


@pytest.fixture(scope="module", params=["gemma3", "gemma2"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    build(folder / "exact.gguf", request.param, window=WINDOW)
    quantise(folder / "exact.gguf", folder / "model.gguf", "q8_0", threads=2)
    return folder / "model.gguf"


def threads(*, kernels: bool) -> int:
    """llama.cpp's threads wait for each other by spinning, which costs a tiny model many times what it computes."""
    return 2 if kernels else 1


@dataclass
class Memory:
    """A backend in which anything may happen, and one whose memory is empty before each text, to compare with."""

    backend: Backend
    fresh: Backend

    def begin(self) -> None:
        self.held = [array("i") for _ in range(SEQUENCES)]
        for sequence in range(SEQUENCES):
            self.backend.clear(sequence, 0)

    @property
    def near(self) -> float:
        """Standard deviations by which logits may differ: not at all with our own kernels."""
        return 0.0 if self.backend.own else 0.02

    def expected(self, tokens: array[int], wanted: int) -> np.ndarray:
        self.fresh.clear(0, 0)
        found: list[np.ndarray] = []
        for start, end in pairwise([*range(0, len(tokens), 50), len(tokens)]):
            rows = self.fresh.evaluate([Slice(0, start, tokens[start:end], end - start)])
            assert rows is not None
            found += [row.copy() for row in rows[0]]
        return np.stack(found[-wanted:])

    def evaluate(self, parts: dict[int, array[int]]) -> None:
        """Let sequences go on, in one batch, and compare what follows each of the new tokens."""
        slices = [Slice(s, len(self.held[s]), tokens, len(tokens)) for s, tokens in parts.items()]
        rows = self.backend.evaluate(slices)
        assert rows is not None
        got = [np.stack(each) for each in rows]
        for (sequence, tokens), found in zip(parts.items(), got, strict=True):
            self.held[sequence] = self.held[sequence] + tokens
            assert distance(self.expected(self.held[sequence], len(tokens)), found) <= self.near

    def share(self, source: int, target: int, length: int) -> None:
        self.backend.clear(target, 0)
        self.backend.share(source, target, 0, length)
        self.held[target] = self.held[source][:length]

    def cut(self, sequence: int, length: int) -> None:
        self.backend.clear(sequence, length)
        self.held[sequence] = self.held[sequence][:length]

    def room(self) -> int:
        """Cells that are free, if nothing is shared."""
        return CELLS - sum(map(len, self.held))


@pytest.fixture(scope="module", params=[True, False], ids=["ours", "theirs"])
def memory(path: Path, request: pytest.FixtureRequest) -> Iterator[Memory]:
    made = [
        Backend(
            path,
            context=cells,
            sequences=count,
            batch=63,
            threads=threads(kernels=request.param),
            kernels=request.param,
        )
        for cells, count in ((CELLS, SEQUENCES), (CELLS, 1))
    ]
    yield Memory(*made)
    for backend in made:
        backend.close()


tokens = st.tuples(st.integers(0, 800), st.integers(1, 60)).map(lambda cut: TEXT[cut[0] : cut[0] + cut[1]])
sequences = st.integers(0, SEQUENCES - 1)
steps = st.one_of(
    st.tuples(st.just("evaluate"), st.dictionaries(sequences, tokens, min_size=1, max_size=2)),
    st.tuples(st.just("share"), st.tuples(sequences, sequences, st.floats(0.1, 1))),
    st.tuples(st.just("cut"), st.tuples(sequences, st.floats(0, 1))),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(steps, max_size=14))
def test_logits_depend_on_the_text_alone_after_any_sequence_of_operations(memory: Memory, operations: list) -> None:
    memory.begin()
    for kind, what in operations:
        if kind == "evaluate":
            wanted = {s: part[:30] if len(what) > 1 else part for s, part in what.items()}
            if sum(map(len, wanted.values())) <= memory.room():
                memory.evaluate(wanted)
        elif kind == "share":
            source, target, part = what
            length = int(part * len(memory.held[source]))
            if source != target and length:
                memory.share(source, target, length)
        else:
            sequence, part = what
            memory.cut(sequence, int(part * len(memory.held[sequence])))


def test_a_beginning_is_shared_long_after_the_window_has_left_it(memory: Memory) -> None:
    memory.begin()
    for start in range(0, 240, 60):
        memory.evaluate({0: TEXT[start : start + 60]})
    memory.evaluate({1: TEXT[500:560]})
    memory.share(0, 2, 100)
    memory.evaluate({2: TEXT[300:330]})
    memory.evaluate({0: TEXT[240:260], 2: TEXT[330:350]})


def test_drafts_that_are_taken_back_leave_the_window_whole(memory: Memory) -> None:
    memory.begin()
    memory.evaluate({0: TEXT[:60]})
    for start in range(60, 200, 10):
        memory.evaluate({0: TEXT[start : start + 10] + TEXT[600:640], 1: TEXT[start : start + 8]})
        memory.cut(0, start + 10)


def test_a_memory_is_used_to_its_last_cell(memory: Memory) -> None:
    memory.begin()
    for start in range(0, 240, 60):
        memory.evaluate({0: TEXT[start : start + 60]})
        memory.evaluate({1: TEXT[300 + start : 360 + start]})
    memory.evaluate({2: TEXT[:20]})
    assert memory.room() == 0
    # One cell is kept for company, and llama.cpp has them in blocks of 256.
    assert memory.backend.evaluate([Slice(3, 0, TEXT[:60], 1)]) is None
    memory.cut(1, 100)
    memory.evaluate({0: TEXT[240:300]})


def test_cells_that_llama_cpp_has_given_away_are_never_shared(memory: Memory) -> None:
    memory.begin()
    memory.evaluate({0: TEXT[:60]})
    raw = llama.llama_get_memory(memory.backend._context)
    llama.llama_memory_seq_rm(raw, 0, 0, 10)
    with pytest.raises(ModelError, match="given away"):
        memory.backend.share(0, 1, 0, 50)


def test_no_more_sequences_are_kept_than_llama_cpp_has_ids_for_in_pairs(path: Path) -> None:
    made = Backend(path, context=256, sequences=200, batch=32, threads=2)
    try:
        assert made.sequences == 127
        found = made.evaluate([Slice(sequence, 0, array("i", [5]), 1) for sequence in (0, 126)])
        assert found is not None
        assert np.array_equal(found[0][0], found[1][0])
    finally:
        made.close()


BEGIN = "The harbour lies below the old town, and every morning the boats come in with cod, herring and crabs. " * 2
PROMPTS = [f"{BEGIN}{rest}" for rest in ("Mondays: market.", "Nobody works.", "A ferry leaves.", "Fog again! " * 6)]


@pytest.mark.parametrize("kernels", [True, False], ids=["ours", "theirs"])
async def test_greedy_text_is_the_same_alone_beside_others_after_eviction_and_without_drafts(
    path: Path, kernels: bool
) -> None:
    async def written(context: int, at_once: int, **options: bool) -> list[Completion]:
        model = LlamaModel(
            LlamaOptions(path, context=context, threads=threads(kernels=kernels), kernels=kernels, **options)
        )
        done: list[Completion] = []
        for start in range(0, len(PROMPTS), at_once):
            asked = (Request("", prompt[:100], prompt[100:], (), 60) for prompt in PROMPTS[start : start + at_once])
            done += await asyncio.gather(*map(model.complete, asked))
        await model.close()
        return done

    alone = [text for prompt in PROMPTS for text in await _afresh(path, prompt, kernels=kernels)]
    one_by_one = await written(2048, 1, speculate=False)
    for found in (one_by_one, await written(2048, 4), await written(2048, 1), await written(400, 4)):
        assert [each.text for each in found] == alone
    assert min(each.usage.cached for each in one_by_one[1:]) >= len(BEGIN) - 1
    assert sum(each.usage.repeated for each in one_by_one) == 0


async def _afresh(path: Path, prompt: str, *, kernels: bool) -> list[str]:
    options = LlamaOptions(path, context=2048, threads=threads(kernels=kernels), kernels=kernels, speculate=False)
    model = LlamaModel(options)
    done = await model.complete(Request("", prompt[:100], prompt[100:], (), 60))
    await model.close()
    return [done.text]


def test_a_real_gemma_shares_what_its_windows_have_left() -> None:
    name = "gemma-3-270m-q4_k_m.gguf"
    file = Path(os.environ.get("THREAD_MODELS") or Path.home() / ".cache" / "thread-models") / name
    if not file.is_file():
        pytest.skip(f"{file} is not there; THREAD_MODELS names the folder that has {name}")
    backend = Backend(file, context=2048, sequences=2, batch=63, threads=2)

    def read(sequence: int, start: int, end: int) -> np.ndarray:
        for at in range(start, end, 60):
            rows = backend.evaluate([Slice(sequence, at, text[at : min(at + 60, end)], 1)])
        assert rows is not None
        return rows[0][0].copy()

    try:
        words = " ".join(f"{number} boats came in with {number * 37 % 101} herring." for number in range(120))
        text = backend.vocabulary.tokenize(words.encode(), first=True, special=False)
        assert (len(text) > 900, llama.llama_model_n_swa(backend._model)) == (True, 512)
        alone = read(0, 0, 700)
        read(0, 700, 900)
        backend.share(0, 1, 0, 640)
        after = read(1, 640, 700)
        assert distance(alone, after) <= (0 if backend.own else 0.03)
    finally:
        backend.close()
