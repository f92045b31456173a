"""Code is told from prose, runs in the sandbox, and harms nobody."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from typing import Any

import pytest
from cases import TABLE, label
from hypothesis import given, settings
from hypothesis import strategies as st
from pieces import PIECES
from processes import outputs_under_hash_seeds
from sessions import computed

from thread_cli.conformance.interpreters import ATTACKS, CONTRACT, attacked
from thread_cli.contracts.errors import MalformedOutput
from thread_cli.engine.namespace import Namespace, as_text
from thread_cli.interpreters.subset import refusal
from thread_cli.protocols.code import find_code, parse

TEXT = """I need to do this, and that.
x = 1
y = 2

z = 3
Now prose, more prose
for a in b:
    print(a)
else:
    c = 2
stick
oak planks, stick
Goal: craft
-31.5
data = [
  1,
]
Next (see below
f(3)
"""


def test_code_are_the_maximal_runs_of_lines_that_do_something() -> None:
    sources = [code.source for code in find_code(TEXT)]
    assert sources == [
        "x = 1\ny = 2\nz = 3",
        "for a in b:\n    print(a)\nelse:\n    c = 2",
        "data = [\n  1,\n]",
        "f(3)",
    ]


async def test_what_python_warns_of_in_code_is_no_error_of_it_and_is_told_to_nobody(
    interpreter, variables, capfd
) -> None:
    code = "print('\\d', 1if 1else 2)\nx = 1\nprint(x is 1, '\\400')"
    for each in (interpreter, variables):
        assert (await each.run(code, {})).printed == "True \u0100\n"
    assert [piece.source for piece in find_code(f"Prose.\n{code}")] == [code]
    assert capfd.readouterr() == ("", "")


def test_statements_can_be_told_apart() -> None:
    assert [code.source for code in find_code("x = 1\ny = 2", apart=True)] == ["x = 1", "y = 2"]


@given(st.text(alphabet="ab =()[]{}:'\"\n\t#\\\x00", max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_searched_for_code(text: str) -> None:
    for code in find_code(text):
        assert code.statements


@pytest.mark.parametrize(
    "text", ["(" * 5000, "[" * 200 + "\n" * 300, "x = " + "-" * 10000 + "1", "if x:\n" * 200, "'''" + "a\n" * 5000]
)
def test_text_made_to_be_hard_to_parse_costs_less_than_a_second(text: str) -> None:
    started = time.monotonic()
    find_code(text)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("name", CONTRACT)
async def test_the_variable_interpreter_keeps_the_contract(interpreter, name) -> None:
    await CONTRACT[name](interpreter)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_costs_seconds_at_most_and_touches_nothing(interpreter, attack, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    await attacked(interpreter, attack, within=3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", range(len(TABLE)), ids=lambda place: label(TABLE[place]))
async def test_the_subset_computes_what_python_computes_or_says_that_it_does_not(interpreter, python, place) -> None:
    for ours, theirs in zip(await computed(interpreter, TABLE[place]), python[place], strict=True):
        if ours[1] is not None and theirs[1] is None:
            break  # the thread was told
        assert ours[1] is not None or ours == theirs


def test_the_subset_is_good_for_something() -> None:
    """It computes the bookkeeping of the first pieces, which is plain."""
    refused = [piece for piece in PIECES[:40] if refusal(parse(piece))]
    assert len(refused) < 10


async def test_the_subset_adds_up_whole_numbers_and_says_where_floats_are_added_otherwise(interpreter) -> None:
    """From Python 3.12 on, `sum` makes up for what is lost in adding floats."""
    whole = (
        "print(sum(n * 2 for n in [1, 2]), sum([[1], [2]], []), sum([3], start=4))\nprint(sum(map(int, '12')), sum([]))"
    )
    assert (await interpreter.run(whole, {})).printed == "3 0\n"
    for code in (
        "print(sum([0.1] * 10))",
        "print(sum([1, 2], 0.5))",
        "print(*map(sum, [[1]]))",
        "print(sum(*[[0.1] * 10]))",
    ):
        outcome = await interpreter.run(code, {})
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            exec(code, {})
        told = (outcome.error or "").startswith("NotImplementedError: ")
        assert told if sys.version_info >= (3, 12) else told or outcome.printed == shown.getvalue()
    for code in ("sum()", "sum([1], 2, 3)", "sum(x=3)", "sum(5)", "sum([1, 'a'])"):
        with pytest.raises(TypeError) as raised:
            exec(code, {})
        assert (await interpreter.run(code, {})).error == f"TypeError: {raised.value}"


@pytest.mark.parametrize(
    "code",
    [
        "import math\nprint(math.sumprod([1], [2]))", "from math import fma\nprint(fma(1, 2, 3))", "print('aa'.replace('a', 'b', count=1))",
        "print(zip)", "print([enumerate, map, filter, reversed, frozenset])",
    ],
)  # fmt: skip
async def test_the_subset_has_nothing_that_the_running_python_lacks(interpreter, code) -> None:
    outcome = await interpreter.run(code, {})
    shown, error = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(shown):
            exec(code, {})
    except (AttributeError, ImportError, TypeError) as raised:
        error = raised
    refused = (outcome.error or "").startswith("NotImplementedError: ")
    assert refused or (error is None and outcome.printed == shown.getvalue())


async def test_errors_are_the_same_in_every_run(interpreter) -> None:
    names = (await interpreter.run("class A:\n    pass\no = A()", {})).names
    errors = {(await interpreter.run("print(o)", names)).error for _ in range(2)}
    assert len(errors) == 1


# --- the namespace


def test_values_are_substituted_and_nothing_else_is_evaluated() -> None:
    names = Namespace({"x": "stone", "n": 3})
    assert names.substitute("get {n} {x} {x.__class__} {0} {n!r} {unknown} {{x}}") == (
        "get 3 stone {x.__class__} {0} {n!r} {unknown} {stone}"
    )


def test_a_value_too_long_to_be_written_out_is_refused() -> None:
    with pytest.raises(MalformedOutput):
        Namespace({"x": "a" * 100_000}).substitute("{x}")


def test_values_are_put_back_newest_binding_first_as_whole_words() -> None:
    names = Namespace()
    names.bind({"part": "oak planks", "whole": "oak planks sign"})
    names.bind({"again": "oak planks"})
    assert names.put_back("Got 3 oak planks.") == "Got 3 {again}."
    assert names.put_back("Crafted 1 minecraft:oak_planks.") == "Crafted 1 minecraft:{again}."
    assert names.put_back("Got 3 oak planksy, dark_oak_planks") == "Got 3 oak planksy, dark_oak_planks"


def test_sets_are_written_in_the_same_order_under_any_hash_seed() -> None:
    script = "from thread_cli.engine.namespace import as_text; print(as_text({'a', 'b', 'c', 'd', 1}))"
    assert len(outputs_under_hash_seeds(script)) == 1
    assert as_text([1, "a"]) == "[1, 'a']"


_names = st.dictionaries(st.sampled_from("abcde"), st.integers(), max_size=5)


@given(_names, _names, st.lists(_names, max_size=3))
def test_a_join_fills_in_what_the_parent_has_not_bound(inherited: Any, own: Any, children: Any) -> None:
    parent = Namespace(inherited)
    parent.bind(own)
    born = [parent.child() for _ in children]
    for child, bound in zip(born, children, strict=True):
        child.bind(bound)
    parent.join(born)
    for name, value in parent.values.items():
        if name in own:
            assert value == own[name]
        else:
            later = [bound[name] for bound in children if name in bound]
            assert value == (later[-1] if later else inherited[name])


@pytest.mark.parametrize("name", ["task", "observation"])
def test_the_engines_own_names_are_the_engines_in_every_other_thread(name: str) -> None:
    parent = Namespace()
    parent.tell("task", "the task")
    parent.tell("observation", "the task")
    child, sibling = parent.child(), parent.child()
    child.bind({name: "a loop variable", "found": 1})
    grandchild = child.child()
    assert child.values[name] == "a loop variable"
    assert grandchild.values[name] == sibling.values[name] == "the task"
    child.join([grandchild])
    parent.join([child, sibling])
    assert parent.values == {"task": "the task", "observation": "the task", "found": 1}
    assert parent.child().values[name] == "the task"


def test_the_newest_observation_travels_upwards_past_what_a_child_calls_so() -> None:
    parent = Namespace()
    parent.tell("observation", "first")
    child = parent.child()
    child.tell("observation", "second")
    child.bind({"observation": "third"})
    parent.join([child])
    assert parent.values["observation"] == "second"
    parent.bind({"observation": "mine"})
    other = parent.child()
    other.tell("observation", "fourth")
    parent.join([other])
    assert (parent.values["observation"], parent.child().values["observation"]) == ("mine", "fourth")
