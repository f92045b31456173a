"""Values travel between sessions: tables, functions, changes in place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sessions import ran

from thread_cli.engine.namespace import Namespace
from thread_cli.interpreters.session_values import HEADER, Held, decoded, encoded, message, parsed, sizes


async def test_tables_and_functions_travel_between_threads(analysis) -> None:
    code = """
from functools import partial
table = pd.DataFrame({'a': [1, 2, 3]})
array = np.arange(3)
factor = 10
def scaled(x):
    return x * factor
def counter():
    count = 0
    def step():
        nonlocal count
        count += 1
        return count
    return step
step = counter()
step()
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)
twice = lambda x: scaled(x) * 2
some = partial(scaled, 5)
class Shape:
    sides = 3
    def area(self):
        return scaled(self.sides)
shape = Shape()
"""
    names = await ran(analysis, code)
    held = {name: value.kind for name, value in names.items() if isinstance(value, Held)}
    assert held["table"] == "DataFrame"
    assert held["scaled"] == "function"
    results = "r = [int(table.a.sum()), int(array[2]), scaled(1), step(), factorial(5), twice(1), some(), shape.area(), isinstance(shape, Shape)]"
    assert (await ran(analysis, results, names, "1"))["r"] == [6, 2, 10, 2, 120, 20, 50, 30, True]
    changed = {**names, "factor": 100}
    assert (await ran(analysis, "r = [scaled(1), twice(1), some(), shape.area()]", changed, "2"))["r"] == [
        100,
        200,
        500,
        300,
    ]


async def test_scalars_of_numpy_arrive_as_numbers(analysis) -> None:
    names = await ran(
        analysis, "a = np.float64(1.5)\nb = [np.int64(2), {'k': np.bool_(True)}]\nc = pd.Series([1, 3]).mean()"
    )
    assert (names, [type(names["a"]), type(names["b"][0])]) == (
        {"a": 1.5, "b": [2, {"k": True}], "c": 2.0},
        [float, int],
    )


async def test_a_held_value_is_written_as_its_text(analysis) -> None:
    names = await ran(
        analysis,
        "t = pd.Series([1, 2], name='s')\ndef f(): pass\nd = datetime.date(2020, 1, 2)\nbig = pd.DataFrame(np.zeros((999, 300)))",
    )
    space = Namespace(names)
    assert space.substitute("{t} {f} {d}") == "0    1\n1    2\nName: s, dtype: int64 <function f> 2020-01-02"
    assert 0 < len(space.substitute("{big}")) <= 4000


async def test_what_cannot_be_copied_goes_on_in_its_thread_and_says_so_in_another(analysis) -> None:
    names = await ran(analysis, "g = (i for i in [1, 2])\nf = open('a', 'w')\nx = 1")
    assert await ran(analysis, "y = next(g)\nwritten = f.write('x')", names) == {"y": 1, "written": 1}
    uses = {"f.write('x')": "TextIOWrapper", "next(g)": "generator", "print(g)": "generator"}
    for code, kind in {**uses, "import pickle\npickle.dumps(g)": "generator"}.items():
        outcome = await analysis.run(code, names, thread="1")
        assert (outcome.error or "").startswith(f"RuntimeError: a {kind} cannot be copied: it is lost where")
    assert await ran(analysis, "z = x", names, "1") == {"z": 1}
    names = await ran(analysis, "import hashlib\ncall = hashlib.sha256().update")
    outcome = await analysis.run("call(b'x')", names, thread="1")
    assert (outcome.error or "").startswith("RuntimeError: a HASH cannot be copied")


async def test_functions_that_remember_their_results_travel(analysis) -> None:
    names = await ran(
        analysis,
        "import functools\nk = 2\n"
        "@functools.cache\ndef double(n): return k * n\n"
        "@functools.lru_cache(maxsize=3)\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nfib(5)",
    )
    code = "a, b, c = double(4), fib(20), fib.cache_parameters()['maxsize']"
    assert await ran(analysis, code, names, "1") == {"a": 8, "b": 6765, "c": 3}


READS = [
    "t.describe()", "t.a.mean(); t['b'] + 1", "t.groupby('c').sum()", "t.loc[1]; t.iloc[0]; t.at[0, 'a']", "t.merge(t, on='a')",
    "t.query('a > 1')", "t.sort_values('b')", "str(t); t.to_csv(); len(t)", "t.T; t.values; t.index; t.columns", "t.copy()['a'] = 3",
    "t.index.get_loc(1); t.c.unique(); t.a.rolling(2).mean()", "t.pivot_table(index='c', values='a')", "[row for row in t.itertuples()]",
    "n.sum(); n.T; n[0]; n.reshape(-1)", "o.n; o.get(); str(o)", "list(m); m.get('x'); sorted(m)",
]  # fmt: skip
MADE = """
t = pd.DataFrame({'a': [1, 2, 3], 'b': [1.5, None, 2.0], 'c': ['x', 'y', 'x']})
n = np.arange(6).reshape(2, 3)
class Thing:
    n = 1
    def get(self):
        return self.n
o = Thing()
m = {'x': [1], 'y': {2}}
"""


async def test_reading_a_value_does_not_count_as_changing_it(open_session) -> None:
    interpreter = open_session(seconds=5)
    names = await ran(interpreter, MADE)
    for thread in ("0", "another"):
        for code in READS:
            assert await ran(interpreter, code, names, thread) == {}, code


CHANGES = {
    "t['d'] = 1": "t",
    "t.loc[0, 'a'] = 9": "t",
    "t.drop(columns='b', inplace=True)": "t",
    "t.index = list('xyz')": "t",
    "n[0, 0] = 9": "n",
    "o.n = 2": "o",
    "m['x'].append(2)": "m",
    "for key in ['z']:\n    m[key] = 1": "m",
    "change()": "m",
    "globals()['m']['w'] = 1": "m",
    "def local():\n    m['v'] = 1\nlocal()\ndel local": "m",
}


@pytest.mark.parametrize("code", CHANGES)
async def test_a_change_in_place_comes_out(analysis, code) -> None:
    names = await ran(analysis, MADE + "def change():\n    m['q'] = 1")
    for thread in ("0", "another"):
        changed = await ran(analysis, code, names, thread)
        assert set(changed) - {"key"} == {CHANGES[code]}


async def test_only_what_code_can_reach_is_given_to_a_session(analysis) -> None:
    code = "class Loud:\n    x = 0\n    def __hash__(self):\n        self.x and open('loud', 'a').write('!')\n        return 1\nloud = {Loud(): 1}\nnext(iter(loud)).x = 1\ndef f():\n    return len(loud)"
    names = await ran(analysis, code)
    heard = "import os\nheard = os.path.exists('loud')"
    assert (await ran(analysis, heard, names, "1"))["heard"] is False
    assert (await ran(analysis, "x = f()\n" + heard, names, "2"))["heard"] is True


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.sets(st.integers() | st.text(max_size=3), max_size=4)
    ),
    max_leaves=20,
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["dict", "held", "bytes", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dict", "tuple", "set", "bytes", "held", "names", "x"]), inner, max_size=3)
    ),
    max_leaves=15,
)


@given(_values)
@settings(max_examples=200, deadline=None)
def test_plain_values_survive_the_journey(value) -> None:
    said = message({"a": 1}, {"x": encoded(value)})
    body, rest = sizes(said[: HEADER.size])
    content, names = parsed(said[HEADER.size : HEADER.size + body], said[HEADER.size + body :])
    assert (content, rest) == ({"a": 1}, 0)
    assert repr(names["x"]) == repr(decoded(encoded(value)))
    assert type(names["x"]) is type(value)


@given(_json)
@settings(max_examples=500, deadline=None)
def test_no_message_does_more_than_to_be_refused(content) -> None:
    for body in (content, {"names": content}, {"names": {"x": content}}):
        try:
            parsed(json.dumps(body).encode(), b"abc")
        except (ValueError, TypeError):
            continue
