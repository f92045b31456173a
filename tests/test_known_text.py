"""Greedy text that another thread has written after the same prompt is taken over, not computed again."""

from __future__ import annotations

import asyncio
import random
from array import array
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from thread_cli.contracts.model import Request
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.llama.cache import PrefixTree

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = "Q: Name a colour.\nA: Red.\nQ: Name an animal.\nA:"


class Nothing:
    """A memory of which only the tree's own account is looked at."""

    def share(self, source: int, target: int, start: int, end: int) -> None: ...

    def clear(self, sequence: int, start: int) -> None: ...


def choice(tokens: array[int]) -> int:
    """What a model would choose after these tokens."""
    return sum(token * place for place, token in enumerate(tokens, 1)) % 3


def follow(tokens: array[int], count: int) -> list[int]:
    text = array("i", tokens)
    for _ in range(count):
        text.append(choice(text))
    return list(text[len(tokens) :])


def test_the_tree_knows_what_was_chosen_after_texts_that_it_holds_and_nothing_else() -> None:
    hits = 0
    for seed in range(40):
        pick = random.Random(seed)
        tree = PrefixTree(Nothing(), sequences=4, cells=80)
        for _ in range(80):
            prompt = array("i", [pick.randrange(3) for _ in range(pick.randrange(1, 6))])
            known = list(islice(tree.known(prompt), 30))
            assert known == follow(prompt, len(known))
            hits += len(known)
            text = prompt + array("i", known)
            sequence = tree.take(text)
            tree.make_room(20)
            tree.extend(sequence, text[sequence.length :])
            drawn = array("i", [choice(text)])
            for _ in range(pick.randrange(1, 6)):
                tree.note(sequence, drawn[-1:])
                tree.extend(sequence, drawn[-1:])
                drawn.append(choice(text + drawn))
            if pick.random() < 0.5:  # as after drafts: several at once
                tree.note(sequence, drawn[-3:])
            tree.release(sequence, waiting=pick.random() < 0.5)
    assert hits > 1_000


@pytest.fixture
def model(embedded_model: Path):
    model = LlamaModel(LlamaOptions(embedded_model, context=1024))
    yield model
    asyncio.run(model.close())


async def complete(model: LlamaModel, most: int = 20, prompt: str = PROMPT, **rest):
    return await model.complete(Request("", "", prompt, ("\nQ",), most, **rest))


async def test_the_same_call_again_evaluates_nothing(model: LlamaModel) -> None:
    first = await complete(model)
    steps = model.work.steps
    again, shorter = await complete(model), await complete(model, 3)
    assert model.work.steps == steps
    assert (again.text, again.stop, again.usage.generated) == (first.text, first.stop, first.usage.generated)
    assert (again.usage.cached, again.usage.repeated) == (first.usage.prompt, 0)
    assert first.text.startswith(shorter.text)
    assert (shorter.stop, shorter.usage.generated) == ("length", 3)
    assert model.work.known == again.usage.generated + 3


async def test_a_call_that_goes_on_from_there_evaluates_only_what_is_new(model: LlamaModel) -> None:
    short = await complete(model, 3)
    longer = await complete(model, 6)
    assert longer.text.startswith(short.text)
    assert longer.usage.repeated == model.work.repeated == 0
    assert model.work.known == 3


async def test_calls_of_one_text_at_once_are_computed_once(model: LlamaModel) -> None:
    lengths = (6, 12, 9, 12)
    done = await asyncio.gather(*(complete(model, length) for length in lengths))
    longest = max((one.text for one in done), key=len)
    assert all(longest.startswith(one.text) for one in done)
    assert model.work.repeated == 0
    assert model.work.generated - model.work.known <= max(lengths)


async def test_text_that_is_drawn_by_chance_or_bound_by_a_grammar_is_not_taken_over(model: LlamaModel) -> None:
    await complete(model)
    for rest in ({"temperature": 1.0, "seed": 1}, {"grammar": 'root ::= " Dog"'}, {"logprobs": True}):
        await complete(model, **rest)
    assert model.work.known == 0
    once = await complete(model, temperature=1.0, seed=1)
    assert (await complete(model, temperature=1.0, seed=1)).text == once.text
