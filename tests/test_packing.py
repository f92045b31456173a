"""Trie packing: every sequence is in the pack once, with all it shares, and sees nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thread_cli.train.packing import Example, Pack, packed, packs_of

_TOKENS = st.integers(0, 3)


@st.composite
def _examples(draw, most: int = 8):
    """Examples over few tokens, so that they share a lot; what is learned may differ where tokens are shared."""
    found = []
    for _ in range(draw(st.integers(1, most))):
        tokens = draw(st.lists(_TOKENS, min_size=1, max_size=9))
        learned = [False, *draw(st.lists(st.booleans(), min_size=len(tokens) - 1, max_size=len(tokens) - 1))]
        found.append(Example(tuple(tokens), tuple(learned)))
    return found


def _path(pack: Pack, place: int) -> list[int]:
    path = []
    while place >= 0:
        path.append(place)
        place = pack.parents[place]
    return path[::-1]


@given(_examples())
def test_each_prefix_of_a_sequence_is_one_token_of_the_pack(examples):
    pack = packed(examples)
    prefixes = {tuple(pack.tokens[at] for at in _path(pack, place)) for place in range(len(pack))}
    assert prefixes == {e.tokens[: n + 1] for e in examples for n in range(len(e.tokens))}
    assert len(prefixes) == len(pack)


@given(_examples())
def test_a_token_sees_its_ancestors_and_itself_at_the_depth_it_has(examples):
    pack = packed(examples)
    for place in range(len(pack)):
        path = _path(pack, place)
        assert [other for other in range(place + 1) if place < pack.ends[other]] == path
        assert pack.positions[place] == len(path) - 1


@given(_examples())
def test_a_token_counts_as_often_as_it_is_learned(examples):
    pack = packed(examples)
    for place in range(len(pack)):
        prefix = tuple(pack.tokens[at] for at in _path(pack, place))
        times = sum(e.tokens[: len(prefix)] == prefix and e.learned[len(prefix) - 1] for e in examples)
        assert pack.weights[place] == times


@given(_examples(most=30), st.integers(1, 40), st.integers(1, 4))
def test_packs_hold_every_example_once_within_their_length(examples, length, bins):
    packs = packs_of(examples, length, bins=bins)
    assert sum(pack.learned for pack in packs) == sum(sum(e.learned) for e in examples)
    longest = max(len(e.tokens) for e in examples)
    assert all(len(pack) <= max(length, longest) for pack in packs)
    assert packs_of(reversed(examples), length, bins=bins) == packs


def test_what_threads_share_is_in_a_pack_once():
    prompt = tuple(range(100))
    examples = [Example((*prompt, 200 + n, 300 + n), (False,) * 101 + (True,)) for n in range(50)]
    (pack,) = packs_of(examples, 512)
    assert len(pack) == 100 + 2 * 50
    assert pack.learned == 50


def test_the_first_token_cannot_be_learned():
    with pytest.raises(ValueError, match="nothing predicts it"):
        packed([Example((1, 2), (True, True))])
