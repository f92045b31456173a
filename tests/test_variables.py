"""What a thread computes is what Python computes, in sessions that hold what attacks them."""

from __future__ import annotations

import ast
import contextlib
import io
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from cases import TABLE, label
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import outputs_under_hash_seeds, thread
from sessions import WITHOUT_LANDLOCK, computed

from thread_cli.conformance.interpreters import ATTACKS, CONTRACT, attacked
from thread_cli.contracts.interpreter import SessionDead
from thread_cli.engine.namespace import Namespace
from thread_cli.interpreters.simple import simple_outcome
from thread_cli.interpreters.variables import described


def test_there_are_enough_cases() -> None:
    assert sum(len(case) == 1 for case in TABLE) >= 400
    assert sum(len(case) == 2 for case in TABLE) >= 66
    assert len({str(case) for case in TABLE}) == len(TABLE)


@pytest.mark.parametrize("place", range(len(TABLE)), ids=lambda place: label(TABLE[place]))
async def test_threads_compute_what_python_computes(variables, python, place) -> None:
    assert await computed(variables, TABLE[place]) == python[place]


@pytest.mark.parametrize("name", CONTRACT)
async def test_the_interpreter_of_variables_keeps_the_contract(variables, name) -> None:
    await CONTRACT[name](variables)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_ends_its_own_session_at_most(variables, attack) -> None:
    await attacked(variables, attack, within=10)


# --- code that needs no session

_ATOMS = st.sampled_from(
    ["a", "b", "s", "missing", "0", "1", "7", "-3", "2.5", "True", "None", "'x y'", "''", "10**30"]
)
_EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner)
        | st.builds("f'{{{}}} of {{{}}}'".format, st.sampled_from("abs"), st.sampled_from("abs"))
        | st.builds("({}, {})".format, inner, inner)
    ),
    max_leaves=5,
)
_STATEMENTS = st.one_of(
    st.builds("{} = {}".format, st.sampled_from("abcs"), _EXPRESSIONS),
    st.builds("{}, {} = {}, {}".format, st.sampled_from("ab"), st.sampled_from("abc"), _EXPRESSIONS, _EXPRESSIONS),
    st.builds("print({})".format, _EXPRESSIONS),
)


@given(st.lists(_STATEMENTS, min_size=1, max_size=4).map("\n".join))
@settings(max_examples=500, deadline=None)
def test_what_is_read_instead_of_run_is_what_python_computes(code) -> None:
    given_ = {"a": 5, "b": -2.5, "s": "text"}
    outcome = simple_outcome(code, given_)
    if outcome is None:
        return
    names: dict[str, Any] = dict(given_)
    printed = None
    for statement in ast.parse(code).body:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(ast.Module([statement], []), "<string>", "exec"), names)
        printed = shown.getvalue() or printed
    assert outcome.printed == printed
    assert {name: repr(names[name]) for name in outcome.names} == {k: repr(v) for k, v in outcome.names.items()}
    assert all(names[name] == value for name, value in given_.items() if name not in outcome.names)


@pytest.mark.parametrize("code", ["x = {1}", "x = set()", "print(f())", "x = [y]", "print = 3\nprint(1)", "x = 1 / 0"])
def test_what_is_not_simple_is_run(code) -> None:
    assert simple_outcome(code, {}) is None


async def test_a_thread_that_does_no_more_than_sums_costs_no_session(variables) -> None:
    code = "item, need = 'oak planks', 2\nneed = need * 3\nhow = f'{need} {item}'\nprint(how)"
    assert await computed(variables, [code, "print('done')"]) == [("6 oak planks\n", None), ("done\n", None)]
    assert variables.sessions == 0
    await variables.run("x = [1][0]", {}, thread="1")
    assert variables.sessions == 1


# --- threads

FORK = """class Bag:
    def __init__(self):
        self.items = ['a']
bag, shared = Bag(), [1]
alias = shared
import random
random.seed(5)
numbers = (n for n in [1, 2, 3])
next(numbers)"""


async def test_a_child_has_a_copy_and_its_parent_goes_on(variables) -> None:
    parent = Namespace()

    async def ran(code: str, names: Namespace, thread: str) -> Any:
        outcome = await variables.run(code, names.values, thread=thread)
        names.bind(outcome.names, outcome.gone)
        return outcome.error or outcome.printed

    await ran(FORK, parent, "0")
    first, second = parent.child(), parent.child()
    change = "alias.append(2)\nbag.items.append('b')\nmine = Bag()\nprint(shared, bag.items, random.random())"
    assert await ran(change, first, "0.0") == "[1, 2] ['a', 'b'] 0.6229016948897019\n"
    assert await ran(change, second, "0.1") == "[1, 2] ['a', 'b'] 0.6229016948897019\n"
    lost = "RuntimeError: a generator cannot be copied: it is lost where a thread is spawned, and where a session ends"
    assert await ran("print(list(numbers))", first, "0.0") == lost
    assert await ran("del bag\nother = mine.items", second, "0.1") is None
    variables.ended("0.0")
    variables.ended("0.1")
    parent.join([first, second])
    assert await ran("print(shared, bag.items, list(numbers), random.random())", parent, "0") == (
        "[1] ['a'] [2, 3] 0.6229016948897019\n"
    )
    assert await ran("print(isinstance(mine, Bag), mine.items is other, other)", parent, "0") == "True True ['a']\n"


async def test_what_a_session_held_outlives_it_but_for_what_cannot_be_copied(variables) -> None:
    names = Namespace()
    for code in (FORK, "shared.append(5)"):
        names.bind((await variables.run(code, names.values, thread="0")).names)
    with pytest.raises(SessionDead):
        await variables.run("import os\nos._exit(1)", names.values, thread="0")
    outcome = await variables.run("print(alias, alias is shared, bag.items)", names.values, thread="0")
    assert (outcome.printed, outcome.error) == ("[1, 5] True ['a']\n", None)
    assert ((await variables.run("next(numbers)", names.values, thread="0")).error or "").startswith("RuntimeError")


async def test_a_generator_that_is_dropped_ends_when_python_ends_it(variables) -> None:
    begin = "def g():\n    try: yield 1\n    finally: print('closed')\na = g()\nnext(a)"
    told = await computed(variables, [begin, "a = None", "a = g()\nnext(a)\nprint('on')", "a = 5"])
    assert told == [(None, None), ("closed\n", None), ("on\n", None), ("closed\n", None)]


SPIES = {
    "objects": "import gc\nfound = [o for o in gc.get_objects() if isinstance(o, dict) and 'secret_name' in o]\nprint(len(found))",
    "modules": "import math\nprint(hasattr(math, 'secret'))",
    "deletions": "import math\nprint(not hasattr(math, 'tau'))",
    "classes": "from collections import Counter\nprint(hasattr(Counter, 'secret'))",
    "main": "import sys\nprint(hasattr(sys.modules['__main__'], 'secret_name'))",
    "frames": "import sys\nframe = sys._getframe()\nseen = []\nwhile frame:\n    seen += [k for k in frame.f_locals if k == 'secret_name']\n    frame = frame.f_back\nprint(len(seen))",
    "names": "print(len([k for k in globals() if k == 'secret_name']))",
}


@pytest.mark.parametrize("spy", SPIES)
async def test_threads_do_not_find_what_others_have(variables, spy) -> None:
    for secret in (
        "secret_name = ['a']\nx = len(secret_name)",
        "import math\nmath.secret = 1\nsecret_name = [1]\nimport gc",
        "import math\ndel math.tau\nsecret_name = [1]",
        "from collections import Counter\nCounter.secret = 1\nsecret_name = [1]",
        "import collections as c\ndef put(kind):\n    kind.secret = 1\nput(c.Counter)\nsecret_name = [1]",
    ):
        await variables.run(secret, {}, thread="one")
        for number in range(3):
            outcome = await variables.run(SPIES[spy], {}, thread=f"spy {number}")
            assert (outcome.printed, outcome.error) in {("0\n", None), ("False\n", None)}
            variables.ended("one")
        for number in range(3):
            variables.ended(f"spy {number}")


def test_the_same_is_computed_under_any_hash_seed() -> None:
    script = """
import asyncio
from thread_cli.engine.namespace import Namespace
from thread_cli.interpreters.variables import VariableInterpreter
async def main():
    interpreter, names = VariableInterpreter(), Namespace()
    for code in ("from math import ceil, floor, sqrt", "s = {'a', 'b', None, 'c', len}\\nx, y, z = list(map(str, s))[:3]", "print(x, y, z, s, object())"):
        outcome = await interpreter.run(code, names.values, thread="0")
        names.bind(outcome.names)
        print(list(outcome.names), outcome.printed, outcome.error)
    await interpreter.close()
asyncio.run(main())
"""
    assert len(outputs_under_hash_seeds(script)) == 1


# --- machines that cannot confine

UNCONFINED = (
    WITHOUT_LANDLOCK
    + """
import asyncio
from thread_cli.interpreters.variables import VariableInterpreter, described
async def main():
    for unsafe in (False, True):
        print(described(unsafe=unsafe))
        interpreter = VariableInterpreter(unsafe=unsafe)
        for code in ("x = sorted([3, 1])[0]", "class A: pass", "x = open('/etc/passwd').read()[:4]"):
            outcome = await interpreter.run(code, {}, thread="0")
            print(outcome.names.get("x"), (outcome.error or "")[:30])
        await interpreter.close()
asyncio.run(main())
"""
)


def test_without_landlock_a_subset_computes_and_says_so_unless_unsafe_python_is_allowed() -> None:
    done = subprocess.run([sys.executable, "-c", UNCONFINED], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("a subset (pydantic-monty ")
    assert lines[0].endswith("as Python cannot be confined here: the kernel has no Landlock")
    assert lines[1:4] == ["1 ", "None NotImplementedError: a class c", "None NotImplementedError: `open` ca"]
    assert lines[4].endswith(", not confined: the kernel has no Landlock")
    assert lines[5:] == ["1 ", "None ", "root "]


def test_users_are_told_which_python_computes(tmp_path) -> None:
    assert described() in thread("envs", cwd=tmp_path).stdout
    (tmp_path / "script.txt").write_text("print('ok')\n")
    ran = thread(
        "run", "none", "x", "--model", "scripted:script.txt", "--display", "none", "--log", "run", cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["variables"] == described()
