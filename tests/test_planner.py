"""Calls of a local model and their batches, without a model: states, the policy, the planner, and all of it at once."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_llama import ToyBackend, ToyVocabulary, text_alone

from thread_cli.contracts.errors import LimitReached, ModelError
from thread_cli.contracts.model import Completion, Request
from thread_cli.models.llama.cache import PrefixTree
from thread_cli.models.llama.call import Call, State
from thread_cli.models.llama.drafts import Draft, Drafts
from thread_cli.models.llama.planner import (
    draft_room,
    has_room,
    last,
    next_batch,
    waits_for,
    with_drafts,
)
from thread_cli.models.llama.policy import Policy
from thread_cli.models.llama.reuse import Reuse
from thread_cli.models.llama.sampling import Sampler, Text
from thread_cli.models.llama.scheduler import Scheduler
from thread_cli.models.llama.speculation import Cost, Speculation
from thread_cli.models.llama.transcript import Transcripts
from thread_cli.models.llama.work import Work

SMALL = Policy(largest=40, mixed=8)
LETTERS = ToyVocabulary()


class Nothing:
    """A memory of which only the tree's own account is looked at."""

    def share(self, source: int, target: int, start: int, end: int) -> None: ...

    def clear(self, sequence: int, start: int) -> None: ...


@dataclass
class House:
    """Calls, and the tree that they take their sequences from."""

    tree: PrefixTree = field(default_factory=lambda: PrefixTree(Nothing(), sequences=64, cells=100_000))
    calls: list[Call] = field(default_factory=list)
    answers: list[Completion | Exception] = field(default_factory=list)
    drafts: Drafts = field(default_factory=lambda: Drafts(1 << 10))

    def queued(self, q: str = "", c: str = "", thread: str = "0", **rest) -> Call:
        call = Call(Request(q, c, "", (), 20, thread=thread, **rest), self.answers.append)
        prompt = Transcripts(LETTERS).encode(q, c, "")
        sampler = Sampler.of(call.request, 1.0, lambda _: pytest.fail("no grammar"))
        arrival = len(self.calls)
        reuses = SMALL.reuses(call.request)
        call.queue(prompt, Text(()), sampler, reuses=reuses, arrival=arrival, longest=1000)
        self.calls.append(call)
        return call

    def admitted(self, *args: str, evaluated: int = 0, **rest: str) -> Call:
        call = self.queued(*args, **rest)
        call.admit(self.tree, self.drafts)
        if evaluated > call.evaluated:
            self.advance(call, evaluated - call.evaluated)
        return call

    def advance(self, call: Call, count: int) -> None:
        """Evaluate the next tokens of a call; one that has evaluated all draws one."""
        part = call.tokens[call.evaluated : call.evaluated + count]
        if count == call.pending:
            call.draw(0, LETTERS)
        call.advance(part, call.local)


# --- states


def test_a_call_goes_through_its_states_and_owns_its_sequence_while_it_is_under_way() -> None:
    house = House()
    call = Call(Request("", "abcd", "", (), 20), house.answers.append)
    assert call.state is State.known
    call = house.queued(c="abcd")
    assert (call.state, call.sequence) == (State.queued, None)
    call.admit(house.tree, house.drafts)
    assert (call.state, call.pending, call.under_way) == (State.prefill, 4, True)
    house.advance(call, 3)
    assert (call.state, call.evaluated) == (State.decode, 3)
    call.step_back()
    assert (call.state, call.sequence) == (State.queued, None)
    call.admit(house.tree, house.drafts)
    assert (call.state, call.cached) == (State.decode, 0)
    call.finish("end")
    assert (call.state, call.sequence) == (State.done, None)
    (answer,) = house.answers
    assert isinstance(answer, Completion)
    assert (answer.stop, answer.usage.prompt) == ("end", 4)
    assert house.tree.available() == house.tree.cells


def test_a_call_refuses_what_cannot_be() -> None:
    house = House()
    known = Call(Request("", "ab", "", (), 20), house.answers.append)
    queued, prefill, done = house.queued(c="ab"), house.admitted("", "cdcd"), house.queued(c="bb")
    done.finish("cut")
    for call, forbidden in {
        known: ("admit", "draw", "advance", "step_back", "finish"),
        queued: ("queue", "advance", "step_back"),
        prefill: ("queue", "admit"),
        done: ("queue", "admit", "draw", "advance", "step_back", "finish", "fail"),
    }.items():
        acts = {
            "queue": lambda call=call: call.queue(
                prefill.prompt, Text(()), prefill.sampler, reuses=True, arrival=0, longest=9
            ),
            "admit": lambda call=call: call.admit(house.tree, house.drafts),
            "draw": lambda call=call: call.draw(0, LETTERS),
            "advance": lambda call=call: call.advance(array("i"), prefill.local),
            "step_back": lambda call=call: call.step_back(),
            "finish": lambda call=call: call.finish("end"),
            "fail": lambda call=call: call.fail(ModelError("no")),
        }
        before = call.state
        for name in forbidden:
            with pytest.raises(RuntimeError, match=f"a call that is {before.name} is not"):
                acts[name]()
            assert call.state is before
    assert len(house.answers) == 1


def test_a_queued_call_that_is_cut_before_anything_was_evaluated_costs_nothing() -> None:
    house = House()
    house.queued(c="abcabc").finish("cut")
    (answer,) = house.answers
    assert isinstance(answer, Completion)
    assert (answer.usage.prompt, answer.usage.generated, answer.waited) == (0, 0, 0.0)


# --- the policy


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ("own flash", Policy(512, 512)),
        ("gpu flash", Policy(512, 512)),
        ("gpu", Policy(512, 512)),
        ("flash", Policy(512, 63, pads=True)),
        ("", Policy(512, 512, pads=True)),
        ("flash recurrent", Policy(512, 63, drafts=False)),
    ],
)
def test_the_policy_follows_from_who_computes(facts: str, expected: Policy) -> None:
    told = {name: name in facts.split() for name in ("own", "gpu", "flash", "recurrent")}
    assert Policy.of(512, **told) == expected


def test_a_batch_of_one_token_is_padded_where_the_policy_says_so_and_no_other() -> None:
    assert [Policy(8, 8, pads=True).is_padded(tokens) for tokens in (1, 2, 8)] == [True, False, False]
    assert not Policy(8, 8).is_padded(1)


def test_only_greedy_output_without_a_grammar_or_log_probabilities_is_reused() -> None:
    def reuses(**rest) -> bool:
        return SMALL.reuses(Request("", "a", "", (), 1, **rest))

    assert reuses()
    assert not any((reuses(temperature=0.5), reuses(grammar="root ::= [a]"), reuses(logprobs=True)))


# --- the planner

prompts = st.text("abcd", min_size=1, max_size=60)
loads = st.lists(
    st.tuples(prompts, st.text("abcd", max_size=100), st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=12
)
policies = st.builds(lambda mixed, more: Policy(mixed + more, mixed), st.integers(1, 64), st.integers(0, 80))


def under_way(load: list[tuple[str, str, int, float]]) -> House:
    house = House()
    for context, q, depth, share in load:
        tokens = len(q) + len(context)
        house.admitted(q, context, evaluated=int(share * tokens), thread="0" + ".0" * depth)
    return house


@given(loads, policies)
def test_a_batch_has_the_next_tokens_of_calls_each_once_and_is_never_too_large(load: list, policy: Policy) -> None:
    house = under_way(load)
    parts = next_batch(house.calls, policy)
    assert len({id(part.call) for part in parts}) == len(parts) >= 1
    for part in parts:
        assert part.start == part.call.evaluated
        assert 1 <= part.count <= part.call.pending
        assert part.draws == (part.count == part.call.pending) == bool(part.logits)
        assert part.tokens == part.call.tokens[part.start : part.start + part.count]
    size = sum(part.size for part in parts)
    if size > policy.mixed:
        (piece,) = parts
        assert size <= policy.largest
        assert piece.start + piece.count <= piece.call.prompt.shared
    else:
        assert size == min(policy.mixed, sum(call.pending for call in house.calls))


@given(loads, policies)
def test_every_call_that_decodes_is_in_every_mixed_batch_and_prefill_goes_by_priority(
    load: list, policy: Policy
) -> None:
    house = under_way(load)
    parts = next_batch(house.calls, policy)
    if len(house.calls) > policy.mixed or sum(part.size for part in parts) > policy.mixed:
        return
    decoding = [call for call in house.calls if call.state is State.decode]
    assert {id(part.call) for part in parts if part.call.state is State.decode} == set(map(id, decoding))
    prefill = [part.call.priority for part in parts if part.call.state is State.prefill]
    waiting = [call.priority for call in house.calls if call.state is State.prefill]
    assert prefill == sorted(waiting)[: len(prefill)]


@given(loads, policies)
def test_planning_changes_nothing_and_comes_out_alike_again(load: list, policy: Policy) -> None:
    house = under_way(load)
    before = [(call.state, call.evaluated, call.tokens[:]) for call in house.calls]
    parts = next_batch(house.calls, policy)
    assert next_batch(reversed(house.calls), policy) == parts
    assert [(call.state, call.evaluated, call.tokens) for call in house.calls] == before
    assert last(house.calls).priority == max(call.priority for call in house.calls)


@given(loads, st.text("abcd", min_size=9, max_size=200))
def test_a_few_shot_prompt_is_divided_in_the_same_way_whatever_is_beside_it(load: list, q: str) -> None:
    def pieces(house: House) -> list[tuple[int, int]]:
        call = house.admitted(q, "a")
        found: list[tuple[int, int]] = []
        while any(SMALL.piece(other.few_shot) for other in house.calls):
            (part,) = next_batch(house.calls, SMALL)
            if part.call is call:
                found.append((part.start, part.count))
            house.advance(part.call, part.count)
        return found

    alone = House()
    beside = under_way([(context, "", depth, share) for context, _, depth, share in load])
    beside.tree = PrefixTree(Nothing(), sequences=64, cells=100_000)
    assert pieces(beside) == pieces(alone)


def test_drafts_fill_what_a_batch_has_left_and_take_no_cells_from_others() -> None:
    house = House()
    one, other = house.admitted("", "abab", evaluated=3), house.admitted("", "cdcdcdcdc", evaluated=1)
    parts = next_batch(house.calls, Policy(20, 20))
    assert [(part.call, part.draws, part.size) for part in parts] == [(one, True, 1), (other, True, 8)]
    assert (draft_room(parts, Policy(20, 20), 100), draft_room(parts, Policy(20, 20), 10)) == (11, 1)
    one.draft = Draft(array("i", [1, 2, 3]), 12)
    drafted = with_drafts(parts, Speculation(cost=Cost(0.1, 0.0001)), 2)
    assert [(part.drafted, part.logits, part.size) for part in drafted] == [(2, 3, 3), (0, 1, 8)]
    assert drafted[0].tokens == array("i", [1, 1, 2])


def test_a_call_begins_only_where_a_batch_has_tokens_to_spare() -> None:
    house = House()
    assert has_room([], SMALL)
    house.admitted("", "abcdab", evaluated=3)
    assert has_room(house.calls, SMALL)
    house.admitted("", "cdcdcdcdc", evaluated=1)
    assert not has_room(house.calls, SMALL)


def test_a_call_waits_for_tokens_and_for_greedy_output_that_it_can_use_and_for_nothing_else() -> None:
    house = House()
    reading, writing = house.admitted("", "abcdabcd"), house.admitted("", "dddd", evaluated=3)
    assert waits_for(house.queued(c="abcdb"), reading, 0)
    assert not waits_for(house.queued(c="abcdb"), reading, 4)
    assert waits_for(house.queued(c="dddd"), writing, 3)
    assert not waits_for(house.queued(c="dddd", temperature=1.0, seed=1), writing, 3)
    assert not waits_for(house.queued(c="dddda"), writing, 3)


# --- reuse


def test_output_is_reused_as_far_as_it_is_noted_and_a_draw_by_chance_neither_notes_nor_reuses() -> None:
    house, work = House(), Work()
    reuse = Reuse(house.tree, LETTERS, work)
    first = house.admitted("", "abc")
    for token in (2, 1):
        evaluated = first.tokens[first.evaluated :]
        first.draw(token, LETTERS)
        first.advance(evaluated, first.local)
        assert first.sequence is not None
        reuse.note(first, first.sequence, array("i", [token]))
    again, chance = house.queued(c="abc"), house.queued(c="abc", temperature=1.0, seed=1)
    assert (reuse.extend(again), reuse.extend(chance)) == (None, None)
    assert (list(again.tokens), list(chance.tokens)) == ([0, 1, 2, 2, 1], [0, 1, 2])
    assert (work.known, work.generated, again.generated) == (2, 2, 2)


# --- all of it, with a model that is a sum


@dataclass
class Answered:
    request: Request
    result: list[Completion | Exception] = field(default_factory=list)


requests = st.builds(
    lambda q, c, depth, most: Request(q, c, "", (), most, thread="0" + ".0" * depth),
    st.sampled_from(["", "abcdabcd", "abca" * 7]),
    st.text("abc", min_size=1, max_size=12),
    st.integers(0, 2),
    st.integers(1, 25),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), requests), min_size=1, max_size=14),
    st.sampled_from([Policy(64, 64), Policy(16, 5), Policy(7, 1), Policy(12, 12, drafts=False)]),
    st.sampled_from([64, 90, 1000]),
    st.sampled_from([1, 3, 64]),
)
def test_each_call_writes_what_it_writes_alone_and_all_of_them_end(
    load: list[tuple[int, Request]], policy: Policy, cells: int, sequences: int
) -> None:
    backend = ToyBackend(policy, context=cells)
    scheduler = Scheduler(backend, sequences=sequences)
    answered = [Answered(request) for _, request in load]
    arrivals = sorted(zip((step for step, _ in load), answered, strict=True), key=lambda pair: pair[0])
    steps = 0
    while arrivals or not scheduler.idle:
        while arrivals and arrivals[0][0] <= steps:
            asked = arrivals.pop(0)[1]
            scheduler.submit(Call(asked.request, asked.result.append))
        scheduler.run_batch()
        steps += 1
        assert steps < 3_000
    for one in answered:
        (done,) = one.result
        if isinstance(done, LimitReached):
            assert len(one.request.prompt) >= cells
            continue
        assert isinstance(done, Completion)
        expected = text_alone(one.request.prompt, min(one.request.max_tokens, cells - len(one.request.prompt)))
        assert (done.text, done.usage.prompt) == (expected, len(one.request.prompt))
    for batch in backend.batches:
        assert len({part.sequence for part in batch}) == len(batch)
        assert sum(len(part.tokens) for part in batch) <= (policy.largest if len(batch) == 1 else policy.mixed)


def test_a_call_under_way_is_not_starved_by_deeper_ones_that_keep_arriving() -> None:
    backend = ToyBackend(Policy(16, 16), context=100_000)
    scheduler = Scheduler(backend, sequences=64, speculate=False)
    done: list[Completion | Exception] = []
    scheduler.submit(Call(Request("", "abcd" * 100, "", (), 10), done.append))
    for step in range(60):
        scheduler.run_batch()
        if done:
            assert step < 45
            return
        deep = Request("", "ab" * (5 + step % 7) + "c" * step, "", (), 30, thread="0.0.0")
        scheduler.submit(Call(deep, lambda _: None))
    pytest.fail("the first call has not ended")
