"""From logits to text: stops, pieces, grammars and log-probabilities, pure and on the real SmolLM2."""

import asyncio
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.model import Completion, Request
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.llama.sampling import Sampler, Text
from thread_cli.serve.grammars import JSON

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
COUNT = "1, 2, 3, 4, 5, 6,"
WORDS = st.text("ab=é€😀", min_size=1, max_size=6)


@pytest.fixture(scope="module")
def path(embedded_model: Path) -> Path:
    return embedded_model


@pytest.fixture(scope="module")
def model(path: Path):
    model = LlamaModel(LlamaOptions(path, context=4096))
    yield model
    asyncio.run(model.close())


def ask(prompt: str = COUNT, stop: tuple[str, ...] = (), max_tokens: int = 16, **rest) -> Request:
    return Request("", "", prompt, stop, max_tokens, **rest)


async def streamed(model: LlamaModel, request: Request) -> tuple[Completion, list[str]]:
    pieces: list[str] = []
    return await model.complete(request, pieces.append), pieces


@st.composite
def written(draw: st.DrawFn) -> tuple[list[bytes], list[str]]:
    """A text in arbitrary tokens of bytes, which divide characters, and stop strings that it may hold."""
    whole = "".join(draw(st.lists(WORDS, max_size=12))).encode()
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=20)) | {0, len(whole)})
    return [whole[a:b] for a, b in pairwise(cuts)], draw(st.lists(WORDS, max_size=3))


def up_to_the_first_stop(text: bytes, stops: list[str]) -> bytes:
    for end in range(len(text) + 1):
        sizes = [len(stop.encode()) for stop in stops if text[:end].endswith(stop.encode())]
        if sizes:
            return text[: end - max(sizes)]
    return text


def write(tokens: list[bytes], stops: list[str]) -> tuple[Text, list[str]]:
    text, told = Text(stops), []
    for token, piece in enumerate(tokens):
        stopped = text.add(token, piece)
        told.append(text.news())
        assert str(text).startswith("".join(told))
        if stopped:
            break
    return text, told


@given(written())
def test_a_text_ends_at_its_first_stop_string_however_it_is_divided_into_tokens(case: tuple) -> None:
    tokens, stops = case
    text, _ = write(tokens, stops)
    assert str(text) == up_to_the_first_stop(b"".join(tokens), stops).decode()


@given(written())
def test_what_is_told_of_a_text_holds_and_misses_only_what_may_become_a_stop_string(case: tuple) -> None:
    tokens, stops = case
    text, told = write(tokens, stops)
    missing = str(text).removeprefix("".join(told))
    assert not missing or any(stop.startswith(missing) for stop in stops)


@given(written())
def test_the_parts_of_tokens_join_to_the_text(case: tuple) -> None:
    tokens, stops = case
    text, _ = write(tokens, stops)
    parts = text.parts()
    assert "".join(parts) == str(text)
    assert len(parts) <= len(text.pieces)


def test_a_part_of_a_character_is_never_told() -> None:
    text = Text(())
    news = []
    for byte in "é€".encode()[:-1]:
        text.add(0, bytes([byte]))
        news.append(text.news())
    assert news == ["", "é", "", ""]
    assert text.parts() == ["", "é"]


def test_log_probabilities_are_of_the_untempered_distribution() -> None:
    for temperature, top_p in ((0.0, 1.0), (2.0, 1.0), (0.1, 0.2)):
        sampler = Sampler(temperature, top_p, 1, 0, logprobs=True)
        token = sampler.choose(LOGITS + 7)
        assert sampler.logprobs == [pytest.approx(float(LOGITS[token]), abs=1e-5)]


def test_a_vanishing_temperature_is_greedy_and_so_is_a_vanishing_top_p() -> None:
    assert {Sampler(5e-324, 1.0, seed, 0).choose(LOGITS) for seed in range(50)} == {0}
    assert {Sampler(1.0, 0.0, seed, 0).choose(LOGITS) for seed in range(50)} == {0}


def test_top_p_keeps_the_most_probable_tokens_of_a_large_vocabulary() -> None:
    logits = np.random.default_rng(5).normal(scale=2.0, size=5000).astype(np.float32)
    weights = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    order = np.argsort(-weights)
    for top_p in (0.3, 0.95):
        kept = set(order[: int(np.searchsorted(np.cumsum(weights[order]), top_p)) + 1].tolist())
        sampler = Sampler(1.0, top_p, 1, 0)
        drawn = {sampler.choose(logits) for _ in range(2000)}
        assert drawn <= kept
        assert len(drawn) > 0.4 * min(len(kept), 2000)


def test_draws_depend_on_seed_and_prompt_and_on_nothing_drawn_elsewhere() -> None:
    def sampler(prompt: str, seed: int) -> Sampler:
        return Sampler.of(ask(prompt, temperature=1.0, seed=seed), 1.0, lambda _: pytest.fail("no grammar was given"))

    alone = sampler("a", 1)
    expected = [alone.choose(LOGITS) for _ in range(40)]
    again, others = sampler("a", 1), [sampler("a", 2), sampler("b", 1)]
    drawn = [(again.choose(LOGITS), *(other.choose(LOGITS) for other in others)) for _ in range(40)]
    assert [first for first, *_ in drawn] == expected
    assert all([one[i] for one in drawn] != expected for i in (1, 2))


async def test_top_p_of_a_request_comes_before_that_of_the_model(model: LlamaModel) -> None:
    greedy = await model.complete(ask())
    narrow = await model.complete(ask(temperature=1.5, top_p=0.0, seed=3))
    wide = await model.complete(ask(temperature=1.5, seed=3))
    assert greedy.text == narrow.text != wide.text


async def test_pieces_arrive_while_the_text_is_written_and_join_to_it(model: LlamaModel) -> None:
    free, pieces = await streamed(model, ask(max_tokens=12))
    assert "".join(pieces) == free.text
    assert len(pieces) > 4
    for stop in (free.text[4:9], free.text[5], free.text[-2:] + "never"):
        done, pieces = await streamed(model, ask(max_tokens=12, stop=("no such text", stop)))
        assert "".join(pieces) == done.text == free.text.partition(stop)[0]


async def test_nothing_is_told_of_a_call_that_was_cancelled(model: LlamaModel) -> None:
    pieces: list[str] = []
    first = asyncio.Event()

    def hear(piece: str) -> None:
        pieces.append(piece)
        first.set()

    task = asyncio.create_task(model.complete(ask(max_tokens=3000), hear))
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    told = len(pieces)
    assert (await model.complete(ask(max_tokens=4))).usage.generated == 4
    assert len(pieces) == told


async def test_log_probabilities_come_one_for_each_token_of_the_text(model: LlamaModel) -> None:
    free = await model.complete(ask("é€😀 é€😀 é€😀", logprobs=True))
    assert free.logprobs is not None
    assert free.pieces is not None
    assert "".join(free.pieces) == free.text
    assert len(free.logprobs) == len(free.pieces)
    assert all(value < 1e-6 for value in free.logprobs)
    cut = await model.complete(ask("é€😀 é€😀 é€😀", stop=(free.text[2:4],), logprobs=True))
    assert "".join(cut.pieces or ()) == free.text[:2]
    assert list(cut.logprobs or ()) == pytest.approx(free.logprobs[: len(cut.logprobs or ())], abs=0.05)
    assert (await model.complete(ask())).logprobs is None
    assert free.tokens is not None
    assert (len(free.tokens), free.stop_string) == (len(free.pieces), None)
    assert list(cut.tokens or ()) == list(free.tokens)[: len(cut.tokens or ())]
    assert (len(cut.tokens or ()), cut.stop_string) == (len(cut.pieces or ()), free.text[2:4])


@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_a_text_follows_its_grammar_and_ends_with_it(model: LlamaModel, temperature: float) -> None:
    grammar = 'root ::= "Länge " [0-9]{2,5} (" m" | " km") "…"'
    asks = [ask("The river Rhine: ", temperature=temperature, seed=seed, grammar=grammar) for seed in range(4)]
    for done in await asyncio.gather(*map(model.complete, asks)):
        assert re.fullmatch(r"Länge [0-9]{2,5} k?m…", done.text), done.text
        assert done.stop == "end"


async def test_the_grammar_of_json_gives_json(model: LlamaModel) -> None:
    request = ask('A person as JSON: {"name": "Ann", "age": 7}\nA dog as JSON: ', max_tokens=100, grammar=JSON)
    for seed in range(3):
        done = await model.complete(Request(**{**vars_of(request), "temperature": 0.5, "seed": seed}))
        if done.stop == "end":
            assert isinstance(json.loads(done.text), dict)
    assert (await model.complete(request)).text.startswith("{")


def vars_of(request: Request) -> dict:
    return {name: getattr(request, name) for name in request.__slots__}


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ("nonsense", "not GBNF"),
        ('start ::= "a"', "does not contain a 'root' symbol"),
        ('root ::= root "a" | "b"', "left recursion"),
        ("root ::= [\x1b]", "control characters"),
        ("root ::= " + "(" * 200 + '"a"' + ")" * 200, "nests more than"),
        ('root ::= "' + "a" * 40_000 + '"', "at most"),
    ],
)
async def test_what_is_no_grammar_is_refused_in_one_line(model: LlamaModel, grammar: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        await model.complete(ask(grammar=grammar))
    assert "\n" not in caught.value.message
    assert (await model.complete(ask(max_tokens=2))).usage.generated == 2
