"""The analysis session keeps its contract and its threads apart, and has the workspace that it is given."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from processes import outputs_under_hash_seeds
from sessions import SMALL, exists, ran

from thread_cli.conformance.interpreters import ATTACKS, CONTRACT, attacked, check
from thread_cli.contracts.errors import EnvironmentFailed
from thread_cli.contracts.interpreter import HostError, SessionDead, Workspace
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.interpreters.session_folder import overfull

# --- the suite


@pytest.mark.parametrize("name", CONTRACT)
async def test_the_session_keeps_the_contract_of_interpreters(analysis, name) -> None:
    await CONTRACT[name](analysis)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_ends_its_own_session_at_most(open_session, attack) -> None:
    await attacked(open_session(seconds=0.5), attack, within=10)


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
async def test_the_thread_reads_why_its_code_failed(open_session, attack, reason) -> None:
    interpreter = open_session(seconds=1 if "TimeoutError" in reason else 10, memory=1_500_000_000)
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


async def test_a_deleted_name_is_gone_for_its_thread(analysis) -> None:
    outcome = await analysis.run("del x\nx", {"x": 1}, thread="0")
    assert (dict(outcome.names), list(outcome.gone), outcome.error) == ({}, ["x"], "NameError: name 'x' is not defined")
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


async def test_code_calls_the_host(open_session) -> None:
    interpreter = open_session(
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


async def test_waiting_for_the_host_is_not_running(open_session) -> None:
    interpreter = open_session(Workspace(calls={"fetch": fetch}))
    outcome = await interpreter.run("x = fetch('slow')['place']", {}, thread="0")
    assert (dict(outcome.names), outcome.error) == ({"x": "slow"}, None)
    assert outcome.seconds < 1


async def test_the_setup_is_there_and_is_not_told_as_bound(open_session) -> None:
    interpreter = open_session(Workspace("K = 3\nlisted = [1]\ndef more(x):\n    return x + K"))
    assert await ran(interpreter, "y = more(1)") == {"y": 4}
    assert await ran(interpreter, "K = 4") == {"K": 4}
    assert await ran(interpreter, "y = more(1)", {"K": 4}) == {"y": 5}
    assert await ran(interpreter, "y = more(1)") == {"y": 4}


@pytest.mark.parametrize("setup", ["1 / 0", "x = = 1", "import nothing_of_this_name"])
async def test_a_setup_that_fails_is_the_fault_of_the_environment(open_session, setup) -> None:
    with pytest.raises(EnvironmentFailed, match="the setup of the analysis session failed: "):
        await open_session(Workspace(setup)).run("x = 1", {})


async def test_threads_share_one_folder_that_is_empty_at_first_and_gone_at_last(open_session, tmp_path) -> None:
    (tmp_path / "given.csv").write_text("a\n1\n2\n")
    interpreter = open_session(Workspace(readable=[tmp_path]))
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


async def test_what_fills_the_folder_is_removed_and_what_was_there_stays(open_session) -> None:
    interpreter = open_session(seconds=10)
    folder = (await ran(interpreter, "import os\nfolder = os.getcwd()\nopen('mine', 'w').write('mine')"))["folder"]
    for attack in ("filling the disk", "many files"):
        with pytest.raises(SessionDead, match="it filled its folder"):
            await interpreter.run(ATTACKS[attack], {}, thread="attacker")
        assert not overfull(folder, SMALL["disk"])
        assert (await ran(interpreter, "x = open('mine').read()", {}, "1"))["x"] == "mine"


async def test_what_all_threads_hold_is_bounded(open_session) -> None:
    interpreter = open_session(seconds=5, memory=300_000_000)
    code = "x = np.ones(4 * 10**6)"
    names = [await ran(interpreter, code) for _ in range(9)]
    with pytest.raises(SessionDead, match="MemoryError: the values of all threads together"):
        await interpreter.run(code, {})
    names.clear()
    await ran(interpreter, code)


async def test_an_episode_computes_in_sessions(open_session, play) -> None:
    script = [
        "table = pd.DataFrame({'a': [1, 2, 3]})\nFirst, find the sum =>",
        "total = int(table.a.sum())\nprint(total)",
        "print('the total is', total)",
    ]
    played = await play(script, interpreter=open_session())
    assert played.episode.answer == "the total is 6"
    assert all(json.loads(event.model_dump_json()) for event in played.events)
