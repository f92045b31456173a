"""The tree of budgets: whatever is charged where, nobody has more than all above have left."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thread_cli.contracts.errors import LimitReached
from thread_cli.contracts.limits import ChildLimits, Limits
from thread_cli.engine.limits import Budget, Clock, Deadline, before

_caps = st.one_of(st.none(), st.integers(1, 20))


@given(st.lists(_caps, min_size=1, max_size=6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=30))
def test_what_is_left_is_the_least_along_the_way_up(caps: list[int | None], charges: list[tuple[int, int]]) -> None:
    budgets = [Budget(Limits(calls=caps[0]))]
    for cap in caps[1:]:
        budgets.append(budgets[-1].child(ChildLimits(calls=cap), "0.0"))
    spent = [0] * len(budgets)
    for place, amount in charges:
        level = place % len(budgets)
        budgets[level].charge("calls", amount)
        for above in range(level + 1):
            spent[above] += amount
    for level, budget in enumerate(budgets):
        lefts = [cap - spent[at] for at, cap in enumerate(caps[: level + 1]) if cap is not None]
        assert budget.left("calls") == min(lefts, default=float("inf"))


@given(st.integers(1, 10), st.integers(0, 20))
def test_a_limit_is_reached_when_nothing_is_left(cap: int, spent: int) -> None:
    budget = Budget(Limits(calls=cap))
    budget.charge("calls", spent)
    try:
        budget.demand("calls")
        assert spent < cap
    except LimitReached as reached:
        assert spent >= cap
        assert (reached.limit, reached.used, reached.cap, reached.owner) == ("calls", spent, cap, "episode")


def test_a_child_without_limits_of_its_own_shares_its_parents_budget() -> None:
    budget = Budget(Limits())
    assert budget.child(None, "0.0") is budget


def test_a_share_is_taken_of_what_is_left_and_the_smaller_amount_counts() -> None:
    budget = Budget(Limits(calls=11, cost=1, threads=None))
    budget.charge("calls", 1)
    child = budget.child(ChildLimits(share=0.25, calls=9), "0.0")
    assert [child.left(kind) for kind in ("calls", "cost", "threads")] == [2, 0.25, float("inf")]
    assert child.child(ChildLimits(share=0.25, calls=9), "0.0.0").left("calls") == 1


def test_the_tightest_limit_is_named_with_its_owner() -> None:
    budget = Budget(Limits(calls=9))
    child = budget.child(ChildLimits(calls=2), "0.1")
    child.charge("calls", 2)
    with pytest.raises(LimitReached) as caught:
        child.demand_call()
    assert (caught.value.used, caught.value.cap, caught.value.owner) == (2, 2, "0.1")


async def test_one_clock_ends_each_block_at_its_own_deadline_and_no_block_that_was_left() -> None:
    clock, now = Clock(), asyncio.get_running_loop().time()
    ended: list[str | None] = []

    async def wait(name: str, seconds: float) -> None:
        with before(Deadline(now + seconds, now, clock, name)):
            await asyncio.sleep(0)
        with pytest.raises(LimitReached) as reached, before(Deadline(now + seconds + 0.1, now, clock, name)):
            await asyncio.sleep(30)
        ended.append(reached.value.owner)

    await asyncio.gather(wait("late", 0.1), wait("early", 0.05), wait("earliest", 0.02))
    assert ended == ["earliest", "early", "late"]


async def test_a_deadline_that_has_passed_ends_what_waits_but_not_what_needs_no_wait() -> None:
    now = asyncio.get_running_loop().time()
    passed = Deadline(now - 1, now - 2, Clock())
    with before(passed):
        done = 1 + 1
    assert done == 2
    with pytest.raises(LimitReached), before(passed):
        await asyncio.sleep(30)


@given(
    st.integers(0, 300),
    st.integers(1, 12),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 40)),
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 9)), max_size=30),
)
def test_children_that_run_at_once_have_parts_of_their_own_whatever_the_others_spend(
    cap: int, count: int, goes_on: bool, own: int | None, charges: list[tuple[int, int]]
) -> None:
    parent = Budget(Limits(calls=cap + 1))
    parent.charge("calls", 1)
    limits = None if own is None else ChildLimits(calls=own)
    children = parent.divided(limits, [f"0.{n}" for n in range(count)], goes_on=goes_on)
    parts = [child.left("calls") for child in children]
    assert sum(parts) + parent.left("calls") == cap
    assert parts == sorted(parts, reverse=True)
    assert max(parts) - min(parts) <= 1
    if own is None:
        assert parent.left("calls") >= (min(parts) - 1) * (max(3, count) if goes_on else 1)
    else:
        assert max(parts) <= own
        assert own * count > cap or parts == [own] * count
    kept = parent.left("calls")
    spent = [0] * count
    for place, amount in charges:
        children[place % count].charge("calls", amount)
        spent[place % count] += amount
        assert [child.left("calls") for child in children] == [p - s for p, s in zip(parts, spent, strict=True)]
        assert parent.left("calls") == kept
    for _ in range(2):  # what has gone back once does not go back again
        for child in children:
            child.give_back()
        assert parent.left("calls") == cap - sum(spent)


def test_parts_have_the_path_of_their_child_as_owner_and_times_and_costs_are_divided_evenly() -> None:
    parent = Budget(Limits(calls=None, threads=None, cost=1, working_time=8))
    first, second = parent.divided(ChildLimits(working_time=1), ["0.0", "0.1"], goes_on=False)
    assert [first.left(kind) for kind in ("cost", "working_time", "calls")] == [1 / 3, 1, float("inf")]
    second.charge("cost", 0.5)
    with pytest.raises(LimitReached) as caught:
        second.demand_call()
    assert (caught.value.limit, caught.value.cap, caught.value.owner) == ("cost", 1 / 3, "0.1")
    assert first.left("cost") == 1 / 3


def test_where_nothing_is_limited_children_share_their_parents_budget() -> None:
    budget = Budget(Limits(calls=None, threads=None))
    assert budget.divided(None, ["0.0", "0.1"], goes_on=True) == [budget, budget]
    (child,) = budget.divided(ChildLimits(calls=2), ["0.0"], goes_on=True)
    assert (child.owner, child.left("calls")) == ("0.0", 2)
