"""Prompts that come as one string: which of their tokens were chosen before is found again."""

import random
from array import array

from hypothesis import given
from hypothesis import strategies as st

from thread_cli.models.llama.transcript import Transcripts


class Pairs:
    """A tokenizer in which pairs of letters are one token, and which counts what it is given."""

    def __init__(self) -> None:
        self.read = 0

    def tokenize(self, text: bytes, *, first: bool, special: bool) -> array:
        self.read += len(text)
        return array("i", [int.from_bytes(text[i : i + 2]) for i in range(0, len(text), 2)])


def letters(text: str, token: int = 1000) -> list[tuple[int, bytes]]:
    """A generated text of which each letter is a token."""
    return [(token + i, char.encode()) for i, char in enumerate(text)]


def test_a_string_that_goes_on_as_the_model_did_keeps_the_models_tokens() -> None:
    texts = Transcripts(Pairs())
    first = texts.encode("", "", "abc")
    texts.record(first, letters("xyz=>"), 5)
    again = texts.encode("", "", "abcxyz=>more")
    assert again.tokens[:2] == first.tokens
    assert again.tokens[2:7].tolist() == [1000, 1001, 1002, 1003, 1004]
    texts.record(again, letters("!", 7), 1)
    third = texts.encode("", "", "abcxyz=>more!?")
    assert third.tokens[: len(again.tokens)] == again.tokens
    assert third.tokens[len(again.tokens)] == 7


def test_children_that_inherit_are_tokenised_only_where_they_go_on() -> None:
    tokenizer = Pairs()
    texts = Transcripts(tokenizer)
    parent = texts.encode("few shot", "context.", "")
    texts.record(parent, letters("spawn=>"), 7)
    for opening in ("first", "second"):
        before = tokenizer.read
        child = texts.encode("few shot", "context.", f"spawn=>{opening}")
        assert tokenizer.read - before == len(opening)
        assert child.tokens[: len(parent.tokens)] == parent.tokens
        assert child.tokens[len(parent.tokens) :][:7].tolist() == [*range(1000, 1007)]


def test_a_string_that_only_begins_like_another_is_tokenised_by_itself() -> None:
    texts = Transcripts(Pairs())
    texts.record(texts.encode("", "", "abc"), letters("xyz"), 3)
    assert texts.encode("", "", "abcde").tokens == Pairs().tokenize(b"abcde", first=True, special=True)


def test_of_several_beginnings_the_longest_counts() -> None:
    texts = Transcripts(Pairs())
    texts.record(texts.encode("", "", "a"), letters("b", 10), 1)
    longer = texts.encode("", "", "abcd")
    texts.record(longer, letters("e", 20), 1)
    other = texts.encode("", "", "abcdefgh")
    assert other.tokens[: len(longer.tokens)] == longer.tokens
    assert other.tokens[len(longer.tokens)] == 20


def test_a_string_is_found_among_ten_thousand_without_reading_it_anew() -> None:
    pick = random.Random(1)
    tokenizer = Pairs()
    texts = Transcripts(tokenizer)
    prompts = [f"shared beginning {pick.random()} " * pick.randrange(1, 5) for _ in range(10_000)]
    encoded = []
    for prompt in prompts:
        encoded.append(texts.encode("", "", prompt))
        texts.record(encoded[-1], letters("out=>"), 5)
    tokenizer.read = 0
    for prompt, before in zip(prompts, encoded, strict=True):
        again = texts.encode("", "", prompt + "out=>and")
        assert again.tokens[: len(before.tokens)] == before.tokens
        assert again.tokens[len(before.tokens)] == 1000
    assert tokenizer.read == 3 * len(prompts)


def test_what_rested_longest_is_forgotten_and_calls_under_way_do_no_harm() -> None:
    texts = Transcripts(Pairs(), memory=20_000)
    under_way = texts.encode("", "", "first")
    for i in range(100):
        texts.record(texts.encode("q", f"{i}", ""), letters("out"), 3)
        texts.record(texts.encode("", "", f"string {i}"), letters("out"), 3)
    texts.record(under_way, letters("out"), 3)
    assert texts.encode("", "", "firstout!").tokens == Pairs().tokenize(b"firstout!", first=True, special=True)
    assert texts.encode("", "", "string 99out!").tokens[5] == 1000
    for i in range(1000):
        texts.encode("", "", f"string 99out{i}")
    assert texts.encode("", "", "string 1").tokens == Pairs().tokenize(b"string 1", first=True, special=True)


@given(st.lists(st.tuples(st.integers(0, 3), st.text("ab", max_size=4), st.text("ab", max_size=3)), max_size=30))
def test_a_string_read_again_has_the_tokens_it_had(steps: list) -> None:
    texts = Transcripts(Pairs())
    known = [""]
    for which, generated, appended in steps:
        prompt = known[which % len(known)]
        texts.record(texts.encode("", "", prompt), letters(generated), len(generated))
        known.append(prompt + generated + appended)
        first = texts.encode("", "", known[-1])
        assert texts.encode("", "", known[-1]).tokens == first.tokens
