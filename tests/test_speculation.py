"""Speculation across threads: what is drafted, how much of it, and that it changes nothing that is written."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weights import WIDTH, adapter, tiny

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.model import Completion, Request
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.llama.drafts import Draft, Drafts
from thread_cli.models.llama.merging import Merge
from thread_cli.models.llama.quantising import quantise
from thread_cli.models.llama.speculation import MOST, Cost, Speculation

if TYPE_CHECKING:
    from pathlib import Path

texts = st.lists(st.integers(0, 3), max_size=60).map(lambda tokens: array("i", tokens))


def tokens(*values: int) -> array[int]:
    return array("i", values)


def draft_of(length: int, agreed: int = 12) -> Draft:
    return Draft(array("i", range(length)), agreed)


# --- where drafts come from


def test_a_draft_is_what_followed_the_same_tokens_last() -> None:
    drafts = Drafts()
    drafts.follow(tokens(1, 2, 3, 4, 5), 0)
    drafts.follow(tokens(9, 1, 2, 7, 8), 0)
    assert drafts.guess(tokens(6, 1, 2, 3), 8) == Draft(tokens(4, 5), 3)
    assert drafts.guess(tokens(6, 1, 2), 8) == Draft(tokens(7, 8), 2)
    assert drafts.guess(tokens(6, 1, 2), 1) == Draft(tokens(7), 2)
    assert drafts.guess(tokens(6), 8) is None
    assert drafts.guess(tokens(1, 2), 0) is None


def test_a_text_that_grows_is_known_at_once_to_itself_and_to_others() -> None:
    drafts = Drafts()
    one, other = drafts.follow(tokens(1, 2), 0), drafts.follow(tokens(5, 6), 0)
    for token in (3, 4, 1):
        one.add(tokens(token))
        other.add(tokens(token + 10))
    assert drafts.guess(tokens(2, 3), 8) == Draft(tokens(4, 1), 2)
    assert drafts.guess(tokens(7, 6, 13), 8) == Draft(tokens(14, 11), 2)


def test_tokens_noted_before_are_context_and_not_noted_again() -> None:
    drafts = Drafts()
    drafts.follow(tokens(1, 2, 3, 4), 2)
    assert drafts.guess(tokens(1, 2), 8) == Draft(tokens(3, 4), 2)
    assert drafts.guess(tokens(1), 8) is None


@given(st.lists(texts, min_size=1, max_size=8), texts, st.integers(1, 12))
def test_every_draft_stands_in_a_text_after_the_tokens_that_agree(
    seen: list[array[int]], asked: array[int], most: int
) -> None:
    drafts = Drafts(32)
    for text in seen:
        trail = drafts.follow(text[: len(text) // 2], 0)
        trail.add(text[len(text) // 2 :])
    draft = drafts.guess(asked, most)
    if draft is not None:
        assert 1 <= len(draft.tokens) <= most
        run = (asked[-draft.agreed :] + draft.tokens).tobytes()
        assert any(run in text.tobytes() for text in seen)


def test_memory_stays_bounded_and_the_last_texts_are_known() -> None:
    drafts = Drafts(256)
    for start in range(0, 100_000, 10):
        drafts.follow(array("i", range(start, start + 10)), 0)
    assert len(drafts._seen) < 1024
    assert drafts.guess(tokens(99_990, 99_991), 3) == Draft(tokens(99_992, 99_993, 99_994), 2)
    assert drafts.guess(tokens(10, 11), 3) is None


# --- how much of them


def test_drafts_that_come_true_grow_and_those_that_do_not_are_given_up() -> None:
    good, bad = Speculation(), Speculation()
    for _ in range(300):
        (tried,) = good.lengths([draft_of(MOST)], 1, 500)
        good.learn(draft_of(MOST), tried, tried)
        (tried,) = bad.lengths([draft_of(MOST)], 1, 500)
        bad.learn(draft_of(MOST), tried, 0)
    assert good.lengths([draft_of(MOST)], 1, 500) == [MOST]
    assert bad.lengths([draft_of(MOST)], 1, 500) == [0]


def test_nothing_is_drafted_where_a_longer_step_takes_as_much_more_as_it_saves() -> None:
    dear, cheap = Cost(base=0.0, each=0.01), Cost(base=0.1, each=0.0001)
    assert Speculation(cost=dear).lengths([draft_of(MOST)], 1, 500) == [0]
    assert Speculation(cost=cheap).lengths([draft_of(MOST)], 1, 500) == [MOST]


def test_likelier_drafts_come_first_and_the_room_is_kept() -> None:
    speculation = Speculation(cost=Cost(base=0.1, each=0.001))
    few, many = speculation.lengths([draft_of(MOST, 1), draft_of(MOST, 12)], 2, 10)
    assert few + many == 10
    assert many > few
    assert speculation.lengths([None, draft_of(3)], 2, 500) == [0, 3]
    assert Speculation(on=False, cost=Cost(0.1, 0.001)).lengths([draft_of(3)], 1, 500) == [0]


def test_the_cost_of_a_step_is_fitted_to_what_was_measured() -> None:
    cost = Cost()
    for count in range(400):
        rows = 1 + count % 20
        cost.learn(rows, 0.02 + 0.003 * rows)
    cost.learn(512, 9.0)
    assert cost.base == pytest.approx(0.02, rel=0.01)
    assert cost.each == pytest.approx(0.003, rel=0.01)


# --- that it changes nothing

SHOTS = "".join(f"Q: {n} and {n + 1}?\nA: the sum is {n} + {n + 1} = {2 * n + 1} => done.\n\n" for n in range(12))


async def play(path: Path, *, speculate: bool, context: int, questions: int) -> list[Completion]:
    """Threads that wait for a child each, in a memory that does not hold them all where it is small."""
    model = LlamaModel(LlamaOptions(path, context=context, speculate=speculate))
    done: list[Completion] = []

    async def call(c: str, y: str, thread: str) -> str:
        done.append(await model.complete(Request(SHOTS, c, y, ("=>",), 24, thread=thread)))
        return done[-1].text

    asked = [
        (f"Q: {number} and {number + 1}?\nA:", f"Q: {number} and {number}?\nA:") for number in range(12, 12 + questions)
    ]
    ys = [await call(parent, "", f"{n}") for n, (parent, _) in enumerate(asked)]
    ys = [f"{y}=> {await call(child, '', f'{n}.0')}\n" for n, (y, (_, child)) in enumerate(zip(ys, asked, strict=True))]
    for n, (y, (parent, _)) in enumerate(zip(ys, asked, strict=True)):
        await call(parent, y, f"{n}")
    await model.close()
    return done


@pytest.fixture(scope="module")
def path(embedded_model: Path) -> Path:
    return embedded_model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of random weights."""
    folder = tmp_path_factory.mktemp("small")
    quantise(tiny(folder / "exact.gguf", width=256), folder / "small.gguf", "q8_0", threads=1)
    return folder / "small.gguf"


async def check(path: Path, context: int, questions: int) -> list[Completion]:
    """Play with drafts and without; returns the plain completions."""
    drafted = await play(path, speculate=True, context=context, questions=questions)
    plain = await play(path, speculate=False, context=context, questions=questions)
    assert [one.text for one in drafted] == [one.text for one in plain]
    assert [one.usage.generated for one in drafted] == [one.usage.generated for one in plain]
    assert sum(one.usage.local.accepted for one in drafted if one.usage.local) > 50
    assert sum(one.usage.local.drafted for one in plain if one.usage.local) == 0
    return plain


async def test_greedy_text_is_the_same_with_and_without_drafts(path: Path) -> None:
    assert not any(one.usage.repeated for one in await check(path, 4096, 2))


async def test_greedy_text_is_the_same_with_and_without_drafts_where_memory_is_short(small: Path) -> None:
    assert any(one.usage.repeated for one in await check(small, 800, 6))


async def test_sampled_text_is_the_same_with_and_without_drafts(path: Path) -> None:
    written: list[str] = []
    for speculate in (True, False):
        model = LlamaModel(LlamaOptions(path, context=2048, speculate=speculate))
        request = Request(SHOTS, "Q: 30 and 31?\nA:", "", (), 40, temperature=0.7, seed=5)
        written.append((await model.complete(request)).text)
        await model.close()
    assert written[0] == written[1]


# --- phrases that a model's file brings


async def told(path: Path, phrases: str, folder: Path, width: int = WIDTH) -> Completion:
    """What the first call of a model makes, whose file has these phrases."""
    nothing = (np.zeros((1, width), np.float32), np.zeros((width, 1), np.float32))
    made = adapter(folder / "lora.gguf", {"blk.0.attn_q.weight": nothing}, phrases=phrases)
    Merge(path, [made]).write(folder / "model.gguf", lambda _: None)
    model = LlamaModel(LlamaOptions(folder / "model.gguf", context=512))
    try:
        return await model.complete(Request("", "Q: 30 and 31?\nA:", "", (), 40))
    finally:
        await model.close()


async def test_phrases_in_a_models_file_are_drafts_from_the_first_call_on(path: Path, tmp_path: Path) -> None:
    plain = await told(path, "", tmp_path)
    helped = await told(path, json.dumps([["\nA:", plain.text]]), tmp_path)
    assert helped.text == plain.text
    assert helped.usage.local.steps * 2 < plain.usage.local.steps


async def test_other_things_than_phrases_in_a_models_file_are_the_users_error(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"something else under 'thread\.phrases' than pairs of texts"):
        await told(small, '{"a": 1}', tmp_path, 256)
