"""The tree of budgets: whatever is charged where, nobody has more than all above have left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thread_cli.contracts.errors import LimitReached
from thread_cli.contracts.limits import Limits
from thread_cli.engine.limits import Budget

_caps = st.one_of(st.none(), st.integers(1, 20))


@given(st.lists(_caps, min_size=1, max_size=6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=30))
def test_what_is_left_is_the_least_along_the_way_up(caps: list[int | None], charges: list[tuple[int, int]]) -> None:
    budgets = [Budget(Limits(calls=caps[0]))]
    for cap in caps[1:]:
        budgets.append(budgets[-1].child(Limits(calls=cap)))
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
        assert str(cap) in reached.message


def test_a_child_without_limits_of_its_own_shares_its_parents_budget() -> None:
    budget = Budget(Limits())
    assert budget.child(None) is budget
