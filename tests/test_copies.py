"""What a thread has is the same in another session: where a thread is spawned, and where a session has ended."""

from __future__ import annotations

import random
import re
from functools import lru_cache
from itertools import pairwise
from typing import Any, NewType, TypeVar

import pytest
from cases import BACK, FORK, JOIN, TABLE, label
from cpython import expected
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import computed, in_statements

from thread_cli.engine.namespace import Namespace
from thread_cli.interpreters import session_errors, session_functions, session_generics, session_iterators
from thread_cli.interpreters.session_pickling import Unkept, loaded, pickled
from thread_cli.interpreters.session_sets import layout

SEVERAL = [each for each in TABLE if len(each) > 1]
SEVERAL += [in_statements(each) for each in TABLE if len(each) == 1 and "\nclass " in f"\n{each[0]}"]
UNCOPIED = {
    "generator", "coroutine", "TextIOWrapper", "Thread", "HASH", "Connection", "StringIO",
    "list", "dict", "value", "FrameLocalsProxy", "batched",
}  # fmt: skip
"""Kinds of what cannot be copied: among them are lists nested too deeply, and a `StringIO` that was closed."""


@pytest.fixture(scope="session")
def python_apart() -> list[list[tuple[Any, Any]]]:
    """What Python makes of them."""
    return expected(SEVERAL)


@pytest.mark.parametrize("place", range(len(SEVERAL)), ids=lambda place: label(SEVERAL[place]))
async def test_a_thread_goes_on_with_copies_as_python_goes_on(variables, python_apart, place) -> None:
    """No piece runs in the session of another; those that make classes are cut up into statements."""
    for ours, theirs in zip(await computed(variables, SEVERAL[place], apart=True), python_apart[place], strict=True):
        if ours != theirs and (lost := re.match(r"RuntimeError: a (\w+)[^:]* cannot be copied", ours[1] or "")):
            assert lost[1] in UNCOPIED
            break
        assert ours == theirs


def test_cases_of_children_end_where_they_begin() -> None:
    for case in TABLE:
        assert case.count(FORK) == case.count(BACK) + case.count(JOIN)


async def test_reading_what_a_copy_holds_changes_nothing(variables) -> None:
    """A child that only looks at what it was given binds nothing but its own name."""
    for place, case in enumerate(TABLE):
        if FORK in case:
            names = Namespace((await variables.run(case[0], {}, thread=f"{place}")).names)
            code = f"_ = [{', '.join(f'type({name})' for name in names.values)}]"
            outcome = await variables.run(code, names.values, thread=f"{place}.0")
            assert (case[0], list(outcome.names), outcome.error) == (case[0], ["_"], None)
            for thread in (f"{place}", f"{place}.0"):
                variables.ended(thread)


def test_copies_on_a_python_that_keeps_things_in_another_way_are_refused_or_remember_nothing(monkeypatch) -> None:
    """A later Python may; each that these tests run on is known."""
    function, pairs, below = lru_cache(lambda number: number + 1), pairwise("abc"), TypeVar("below", bound=int)
    assert [function(1), function(1), next(pairs)] == [2, 2, ("a", "b")]
    with pytest.raises(ZeroDivisionError) as raised:
        print(1 // 0)
    values = {
        "function": function,
        "pairs": pairs,
        "variable": below,
        "kind": NewType("kind", int),
        "error": raised.value,
    }
    copies = loaded(pickled(values, ()).data, values)
    assert copies["error"].__traceback__.tb_lineno == raised.value.__traceback__.tb_lineno
    assert copies["function"].cache_info().hits == 1
    assert (list(copies["pairs"]), copies["variable"].__bound__, copies["kind"](3)) == ([("b", "c")], int, 3)
    for module in (session_errors, session_functions, session_generics, session_iterators):
        assert module._KNOWN
        monkeypatch.setattr(module, "_KNOWN", False)
    copies = loaded(pickled(values, ()).data, values)
    assert (copies["function"].cache_info().hits, copies["function"](1), copies["kind"](3)) == (0, 2, 3)
    assert (repr(copies["error"]), copies["error"].__traceback__) == (repr(raised.value), None)
    for name, told in (("pairs", "a pairwise cannot be copied"), ("variable", "a TypeVar cannot be copied")):
        assert issubclass(type(copies[name]), Unkept)
        with pytest.raises(RuntimeError, match=told):
            iter(copies[name])


_CHANGES = st.lists(st.tuples(st.sampled_from(["add", "discard", "pop"]), st.integers(0, 40)), max_size=120)


@given(_CHANGES, st.booleans(), st.integers(0, 2))
@settings(max_examples=300, deadline=None)
def test_a_copy_of_a_set_has_its_order_now_and_later(changes, frozen, kind) -> None:
    items: Any = set()
    of = (lambda n: f"text {n}", lambda n: n * 8, lambda n: (n, "a"))[kind]
    for way, number in changes:
        if way != "pop":
            getattr(items, way)(of(number))
        elif items:
            items.pop()
    items = frozenset(items) if frozen else items
    copy = loaded(pickled({"items": items}, ()).data, ["items"])["items"]
    assert (type(copy), list(copy), layout(copy)) == (type(items), list(items), layout(items))
    if not frozen:
        for number in random.Random(0).sample(range(60), 30):
            for each in (items, copy):
                each.add(of(number))
            assert list(copy) == list(items)
