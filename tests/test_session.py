"""The analysis session computes with tables, keeps its threads apart, and is confined whatever its code tries."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import outputs_under_hash_seeds

from thread_cli.engine.errors import EnvironmentFailed, UserError
from thread_cli.engine.namespace import Namespace
from thread_cli.interpreters import HostError, SessionDead, Workspace, session
from thread_cli.interpreters.conformance import ATTACKS, CONTRACT, attacked, check
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.interpreters.session_folder import overfull
from thread_cli.interpreters.session_values import HEADER, Held, decoded, encoded, message, parsed, sizes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SMALL: dict[str, Any] = {"seconds": 1.0, "memory": 400_000_000, "disk": 20_000_000}


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., SessionInterpreter]]:
    """Makes interpreters that are closed at the end."""
    made: list[SessionInterpreter] = []

    def open_one(workspace: Workspace | None = None, **options: Any) -> SessionInterpreter:
        made.append(SessionInterpreter(workspace, **{**SMALL, **options}))
        return made[-1]

    yield open_one
    for each in made:
        await each.close()


@pytest.fixture
async def analysis(opened) -> SessionInterpreter:
    return opened()


async def ran(interpreter: SessionInterpreter, code: str, names: Any = None, thread: str = "0") -> dict[str, Any]:
    outcome = await interpreter.run(code, names or {}, thread=thread)
    assert outcome.error is None
    return dict(outcome.names)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def exists(path: str) -> bool:
    return Path(path).exists()


# --- the suite


@pytest.mark.parametrize("name", CONTRACT)
async def test_the_session_keeps_the_contract_of_interpreters(analysis, name) -> None:
    await CONTRACT[name](analysis)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_ends_its_own_session_at_most(opened, attack) -> None:
    await attacked(opened(seconds=0.5), attack, within=10)


@pytest.mark.parametrize(
    ("attack", "reason"),
    {
        "a crash": "SessionDead: the session ended under the code: it was ended by SIGSEGV",
        "leaving": "SessionDead: the session ended under the code: it exited with 0",
        "an endless loop": "TimeoutError: the code ran for more than 1 s, its session was ended",
        "a long power": "TimeoutError: the code ran for more than 1 s, its session was ended",
        "reading a file outside": "PermissionError: [Errno 13] Permission denied",
        "network by TCP": "PermissionError: [Errno 1] Operation not permitted",
        "a fork bomb": "PermissionError: [Errno 1] Operation not permitted",
        "killing the parent": "PermissionError: [Errno 1] Operation not permitted",
        "a long list": "MemoryError",
        "filling the disk": "SessionDead: the session ended under the code: it filled its folder",
        "a large file": "OSError: [Errno 27] File too large",
        "junk on the connection": "SessionDead: the session ended under the code: it wrote junk to its connection",
        "closing the connection": "SessionDead: the session ended under the code: it closed its connection",
        "a large table": "MemoryError: too large to be kept",
    }.items(),
)
async def test_the_thread_reads_why_its_code_failed(opened, attack, reason) -> None:
    interpreter = opened(seconds=1 if "TimeoutError" in reason else 10, memory=1_500_000_000)
    line = await attacked(interpreter, attack, within=20)
    assert (line or "").startswith(reason)


async def test_the_suite_finds_what_an_interpreter_does_not_hold() -> None:
    class Careless(SessionInterpreter):
        async def run(self, code: str, names: Any, *, thread: str = "") -> Any:
            outcome = await super().run(code, {**getattr(self, "seen", {}), **names}, thread=thread)
            self.seen = dict(outcome.names)
            return outcome

    wanted = ["no names but those given", "names go in and come out"]
    failures = await check(lambda: Careless(**SMALL), only=wanted)
    assert list(failures) == ["no names but those given"]


# --- values


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


async def test_what_cannot_be_kept_says_so_when_it_is_used(analysis) -> None:
    names = await ran(analysis, "g = (i for i in [1])\nf = open('a', 'w')\nx = 1")
    assert str(names["g"]) == "<generator, not kept>"
    outcome = await analysis.run("f.write('x')", names, thread="0")
    assert outcome.error == "AttributeError: a TextIOWrapper is not kept from one piece of code to the next"
    outcome = await analysis.run("next(g)", names, thread="1")
    assert outcome.error == "TypeError: a generator is not kept from one piece of code to the next"
    names = await ran(analysis, "import threading\ncall = threading.Lock().acquire")
    outcome = await analysis.run("call(True, timeout=1)", names, thread="1")
    assert (outcome.error or "").endswith("is not kept from one piece of code to the next")


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


async def test_reading_a_value_does_not_count_as_changing_it(opened) -> None:
    interpreter = opened(seconds=5)
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
    code = "class Loud:\n    def __setstate__(self, state):\n        open('loud', 'a').write('!')\n        self.x = 1\nloud = Loud()\nloud.x = 1\ndef f():\n    return loud.x"
    names = await ran(analysis, code)
    heard = "import os\nheard = os.path.exists('loud')"
    assert (await ran(analysis, heard, names, "1"))["heard"] is False
    assert (await ran(analysis, "x = f()\n" + heard, names, "2"))["heard"] is True


# --- sessions


async def test_names_outlive_their_sessions(analysis) -> None:
    threads = [str(number) for number in range(12)]
    names = {thread: await ran(analysis, f"t = pd.Series([{thread}])\nx = [1]", {}, thread) for thread in threads}
    for thread in threads:
        assert (await ran(analysis, "y = int(t.sum())", names[thread], thread))["y"] == int(thread)
    with pytest.raises(SessionDead):
        await analysis.run("import os\nos._exit(1)", names["3"], thread="3")
    assert (await ran(analysis, "y = int(t.sum())", names["3"], "3"))["y"] == 3


async def test_threads_run_side_by_side_and_one_thread_takes_its_turns(analysis) -> None:
    code = "import time\ntime.sleep(0.3)"
    await asyncio.gather(*(ran(analysis, "x = 1", {}, thread) for thread in "012"))
    began = time.monotonic()
    await asyncio.gather(*(ran(analysis, code, {}, thread) for thread in "012"))
    together = time.monotonic() - began
    began = time.monotonic()
    outcomes = await asyncio.gather(*(analysis.run(code, {}, thread="0") for _ in range(3)))
    assert together < 0.8 < time.monotonic() - began
    assert all(outcome.seconds < 0.6 for outcome in outcomes)


async def test_a_deleted_name_is_gone_for_its_piece_of_code_only(analysis) -> None:
    outcome = await analysis.run("del x\nx", {"x": 1}, thread="0")
    assert (dict(outcome.names), outcome.error) == ({}, "NameError: name 'x' is not defined")
    assert await ran(analysis, "y = x", {"x": 1}) == {"y": 1}


async def test_the_tools_are_there_and_those_that_code_binds_anew_are_its_own(analysis) -> None:
    code = "x = [m.__name__ for m in (pd, np, scipy, stats, math, json, re, statistics, datetime)] + [pearsonr([1, 2, 3], [1, 2, 4])[0] > 0.9, linregress([1, 2], [1, 3]).slope]"
    assert (await ran(analysis, code))["x"][-2:] == [True, 2.0]
    assert await ran(analysis, "pd = 3\ndel np") == {"pd": 3}
    assert (await ran(analysis, "x = pd.Series([1]).sum() + np.int64(1)"))["x"] == 2
    assert (await ran(analysis, "x = pd", {"pd": 3}))["x"] == 3


async def test_sessions_repeat_under_any_hash_seed() -> None:
    script = """
import asyncio
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    interpreter = SessionInterpreter()
    first = await interpreter.run("x = {'b', 'a', 'c' + str(1)}\\ny = [np.random.random(), list(x)]\\nt = pd.DataFrame({'s': list(x)})", {})
    second = await interpreter.run("z = [list(x), t.s.tolist(), np.random.random()]", dict(first.names), thread="other")
    print(first.names["y"], second.names["z"], first.names["t"])
    await interpreter.close()
asyncio.run(main())
"""
    assert len(outputs_under_hash_seeds(script)) == 1


async def test_warnings_appear_nowhere(analysis, capfd) -> None:
    code = "import warnings\nwarnings.warn('look')\nx = float(np.log(np.array([-1.0]))[0])\nprint('said')"
    outcome = await analysis.run(code, {}, thread="0")
    assert (outcome.printed, outcome.error) == ("said\n", None)
    assert capfd.readouterr() == ("", "")


# --- the workspace


async def fetch(place: str, *, times: int = 1) -> Any:
    if place == "nowhere":
        raise HostError("there is no such place")
    if place == "slow":
        await asyncio.sleep(1.3)
    if place == "broken":
        raise ZeroDivisionError("oh")
    return {"place": place, "values": [1.5, None] * times}


async def test_code_calls_the_host(opened) -> None:
    interpreter = opened(
        Workspace("def both(a, b):\n    return fetch(a)['values'] + fetch(b)['values']", {"fetch": fetch})
    )
    assert (await ran(interpreter, "x = both('here', 'there')"))["x"] == [1.5, None, 1.5, None]
    assert (await ran(interpreter, "x = fetch('here', times=np.int64(2))['values']"))["x"] == [1.5, None] * 2
    for code, error in {
        "fetch('nowhere')": "RuntimeError: there is no such place",
        "fetch()": "TypeError: fetch(): missing a required argument: 'place'",
        "fetch('here', 3)": "TypeError: fetch(): too many positional arguments",
    }.items():
        assert (await interpreter.run(code, {}, thread="0")).error == error
    with pytest.raises(EnvironmentFailed, match=r"fetch\(\) failed: ZeroDivisionError: oh"):
        await interpreter.run("fetch('broken')", {}, thread="0")
    assert await ran(interpreter, "x = 1") == {"x": 1}


async def test_waiting_for_the_host_is_not_running(opened) -> None:
    interpreter = opened(Workspace(calls={"fetch": fetch}))
    outcome = await interpreter.run("x = fetch('slow')['place']", {}, thread="0")
    assert (dict(outcome.names), outcome.error) == ({"x": "slow"}, None)
    assert outcome.seconds < 1


async def test_the_setup_is_there_and_is_not_told_as_bound(opened) -> None:
    interpreter = opened(Workspace("K = 3\nlisted = [1]\ndef more(x):\n    return x + K"))
    assert await ran(interpreter, "y = more(1)") == {"y": 4}
    assert await ran(interpreter, "K = 4") == {"K": 4}
    assert await ran(interpreter, "y = more(1)", {"K": 4}) == {"y": 5}
    assert await ran(interpreter, "y = more(1)") == {"y": 4}


@pytest.mark.parametrize("setup", ["1 / 0", "x = = 1", "import nothing_of_this_name"])
async def test_a_setup_that_fails_is_the_fault_of_the_environment(opened, setup) -> None:
    with pytest.raises(EnvironmentFailed, match="the setup of the analysis session failed: "):
        await opened(Workspace(setup)).run("x = 1", {})


async def test_threads_share_one_folder_that_is_empty_at_first_and_gone_at_last(opened, tmp_path) -> None:
    (tmp_path / "given.csv").write_text("a\n1\n2\n")
    interpreter = opened(Workspace(readable=[tmp_path]))
    where = await ran(interpreter, "import os\nfolder, files = os.getcwd(), os.listdir()")
    assert where["files"] == []
    await ran(interpreter, "pd.DataFrame({'a': [1]}).to_csv('table.txt')", {}, "1")
    assert (await ran(interpreter, "x = int(pd.read_csv('table.txt').a.sum())", {}, "2"))["x"] == 1
    given = f"x = int(pd.read_csv({str(tmp_path / 'given.csv')!r}).a.sum())"
    assert (await ran(interpreter, given))["x"] == 3
    for code in (f"open({str(tmp_path / 'new')!r}, 'w')", f"open({str(tmp_path / 'given.csv')!r}, 'a')"):
        assert ((await interpreter.run(code, {})).error or "").startswith("PermissionError")
    await interpreter.close()
    assert not exists(where["folder"])


async def test_what_fills_the_folder_is_removed_and_what_was_there_stays(opened) -> None:
    interpreter = opened(seconds=10)
    folder = (await ran(interpreter, "import os\nfolder = os.getcwd()\nopen('mine', 'w').write('mine')"))["folder"]
    for attack in ("filling the disk", "many files"):
        with pytest.raises(SessionDead, match="it filled its folder"):
            await interpreter.run(ATTACKS[attack], {}, thread="attacker")
        assert not overfull(folder, SMALL["disk"])
        assert (await ran(interpreter, "x = open('mine').read()", {}, "1"))["x"] == "mine"


async def test_what_all_threads_hold_is_bounded(opened) -> None:
    interpreter = opened(seconds=5, memory=300_000_000)
    code = "x = np.ones(4 * 10**6)"
    names = [await ran(interpreter, code) for _ in range(9)]
    with pytest.raises(SessionDead, match="MemoryError: the values of all threads together"):
        await interpreter.run(code, {})
    names.clear()
    await ran(interpreter, code)


# --- what is left behind


def processes() -> list[psutil.Process]:
    """The sessions of this process."""
    return [each for parent in psutil.Process().children() for each in parent.children()]


async def test_closing_leaves_no_session_no_folder_and_no_descriptor(opened) -> None:
    await ran(opened(), "x = 1")
    before, descriptors = len(processes()), psutil.Process().num_fds()
    interpreter = opened()
    folder = (
        await ran(interpreter, "import os\nfolder = os.getcwd()\nos.makedirs('a/b')\nopen('a/b/c', 'w').close()")
    )["folder"]
    running = asyncio.create_task(interpreter.run("while True: pass", {}, thread="1"))
    await asyncio.sleep(0.1)
    assert len(processes()) >= before + 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await interpreter.close()
    assert not exists(folder)
    assert len(processes()) == before
    assert psutil.Process().num_fds() == descriptors


RUNNER = """
import asyncio
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    interpreter = SessionInterpreter(seconds=100)
    outcome = await interpreter.run("import os\\nx = [os.getpid(), os.getppid(), os.getcwd()]", {})
    busy = asyncio.create_task(interpreter.run("open('x', 'w').close()\\nwhile True: pass", {}, thread="1"))
    await asyncio.sleep(0.2)
    print(outcome.names["x"], flush=True)
    await busy
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_runner_that_is_killed(number) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert runner.stdout
    with runner.stdout as output:
        child, parent, folder = json.loads(output.readline().replace(b"'", b'"'))
    os.killpg(runner.pid, number)
    runner.wait(10)
    wait_until(lambda: not alive(parent) and not alive(child) and not exists(folder))


async def test_another_parent_is_started_where_the_first_was_killed(opened) -> None:
    first = opened()
    parent, child = (await ran(first, "import os\nx = os.getppid(), os.getpid()"))["x"]
    os.kill(parent, signal.SIGKILL)
    with pytest.raises(Exception, match=r"the parent of the analysis sessions is gone|the session ended"):
        for thread in "12":
            await first.run("x = 1", {}, thread=thread)
    await first.close()
    wait_until(lambda: not alive(child))
    assert await ran(opened(), "x = 1") == {"x": 1}


# --- users and places

HOMELESS = """
import asyncio, os
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    interpreter = SessionInterpreter(seconds=5)
    for code in (
        "import scipy.optimize, scipy.signal\\nx = scipy.optimize.brentq(lambda x: x - 1, 0, 3)",
        "open('/etc/passwd')", "import os\\nos.fork()", "import socket\\nsocket.socket()", "open('own', 'w').close()",
    ):
        outcome = await interpreter.run(code, {})
        print(os.getuid(), outcome.names.get("x"), (outcome.error or "")[:15])
    await interpreter.close()
asyncio.run(main())
"""


def test_a_user_without_name_home_and_rights_computes_in_confinement() -> None:
    stranger = ["unshare", "--user", "--map-user=12345", "env", "-u", "HOME"]
    try:
        subprocess.run([*stranger, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there are no user namespaces here")
    done = subprocess.run([*stranger, sys.executable, "-c", HOMELESS], capture_output=True, text=True, check=False)
    refused = "12345 None PermissionError"
    assert done.stdout.split("\n") == ["12345 1.0 ", refused, refused, refused, "12345 None ", ""], done.stderr


TEMPORARY = """
import asyncio, os, shutil
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    interpreter = SessionInterpreter()
    await interpreter.open()
    shutil.rmtree(os.environ["TMPDIR"])
    try:
        await interpreter.run("x = 1", {})
    except Exception as error:
        print(type(error).__name__, error)
    os.mkdir(os.environ["TMPDIR"])
    print((await interpreter.run("import os\\nx = os.getcwd()", {})).names["x"])
    await interpreter.close()
asyncio.run(main())
"""


def test_folders_are_made_where_tmpdir_says_and_where_they_cannot_be_the_runner_says_so(tmp_path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", TEMPORARY], env=environment, capture_output=True, text=True, check=False
    )
    failed, made, _ = done.stdout.split("\n")
    assert failed.startswith("InterpreterFailed no analysis session can be opened: [Errno 2] No such file or directory")
    assert Path(made).parent == folder
    assert list(folder.iterdir()) == []


# --- machines that cannot confine

WITHOUT_LANDLOCK = """
import asyncio, ctypes, struct
code = b"".join(struct.pack("HBBI", *step) for step in (
    (0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x00050000 | 38), (6, 0, 0, 0x7FFF0000)))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
buffer = ctypes.create_string_buffer(code, len(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.cast(buffer, ctypes.c_void_p))), 0, 0) == 0
from thread_cli.engine.errors import UserError
from thread_cli.interpreters.session import SessionInterpreter
async def main():
    for unsafe in (False, True):
        interpreter = SessionInterpreter(unsafe=unsafe, seconds=1)
        for code in ("x = int(pd.Series([1, 2]).sum())", "x = open('/etc/passwd').read()[:4]", "while True: pass", "x = 2"):
            try:
                outcome = await interpreter.run(code, {})
                print(dict(outcome.names), outcome.error)
            except Exception as error:
                print(type(error).__name__, error)
        await interpreter.close()
asyncio.run(main())
"""


def test_without_landlock_code_runs_only_where_unsafe_python_is_allowed() -> None:
    lines = subprocess.run(
        [sys.executable, "-c", WITHOUT_LANDLOCK], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert lines[0].startswith("UserError model-written Python cannot be confined on this machine (")
    assert "--unsafe-python" in lines[0]
    assert lines[4:8] == [
        "{'x': 3} None",
        "{'x': 'root'} None",
        "SessionDead TimeoutError: the code ran for more than 1 s, its session was ended",
        "{'x': 2} None",
    ]


async def test_unsafe_python_is_confined_where_the_machine_can(opened) -> None:
    outcome = await opened(unsafe=True).run("open('/etc/passwd')", {})
    assert (outcome.error or "").startswith("PermissionError")


async def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch) -> None:
    monkeypatch.setattr(session, "_PACKAGES", ("pandas", "no_such_package"))
    with pytest.raises(UserError, match=r"needs no_such_package: pip install .*'pandas"):
        SessionInterpreter()


# --- messages

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


async def test_an_episode_computes_in_sessions(opened, play) -> None:
    script = [
        "table = pd.DataFrame({'a': [1, 2, 3]})\nFirst, find the sum =>",
        "total = int(table.a.sum())\nprint(total)",
        "print('the total is', total)",
    ]
    played = await play(script, interpreter=opened())
    assert played.episode.answer == "the total is 6"
    assert all(json.loads(event.model_dump_json()) for event in played.events)
