"""Objects in processes of their own: whatever becomes of them, the runner goes on and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.environments.process import OwnProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TESTS = Path(__file__).parent


@pytest.fixture
async def worked() -> AsyncIterator[OwnProcess]:
    process = OwnProcess("adapters:Worked", 10, recycle_after=3, seconds=30)
    yield process
    await process.close()


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends within some seconds. One that waits for its parent to take note has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


async def message(process: OwnProcess, method: str, *arguments: Any) -> str:
    """What the call of a method fails with."""
    with pytest.raises(EnvironmentFailed) as failure:
        await process.call(method, *arguments)
    return failure.value.message


async def test_an_object_keeps_its_state_between_calls(worked) -> None:
    await worked.begin()
    assert [await worked.call("add", 1), await worked.call("add", 2)] == [11, 13]
    assert await worked.call("pid") == worked.pid != os.getpid()


async def test_arguments_and_results_are_of_any_size(worked) -> None:
    await worked.begin()
    for value in (b"x" * 5_000_000, "ü", {"a": [None, 1.5]}):
        assert await worked.call("back", value) == value


async def test_a_process_leads_a_session_of_its_own(worked) -> None:
    await worked.begin()
    assert worked.pid == os.getsid(worked.pid) == os.getpgid(worked.pid)


async def test_output_of_the_object_disturbs_nobody(worked, capfd) -> None:
    await worked.begin()
    assert await worked.call("print") == 7
    assert await worked.call("add", 1) == 11
    assert capfd.readouterr() == ("", "")


async def test_errors_of_a_method_arrive_as_one_line_and_the_object_lives_on(worked) -> None:
    await worked.begin()
    assert await message(worked, "fail") == "KeyError: 'no\\nsuch thing'"
    with pytest.raises((AttributeError, pickle.PicklingError)) as refused:
        pickle.dumps(unsendable := lambda: None)
    said = str(refused.value).replace(unsendable.__qualname__, "Worked.lose.<locals>.<lambda>")
    assert await message(worked, "lose") == f"{refused.type.__name__}: {said}"
    assert "no_such_method" in await message(worked, "no_such_method")
    assert "cannot be sent" in await message(worked, "back", lambda: None)
    with pytest.raises(UserError, match="give another file"):
        await worked.call("refuse")
    assert await worked.call("add", 1) == 11


async def test_the_trace_of_an_error_comes_with_it(worked) -> None:
    await worked.begin()
    with pytest.raises(EnvironmentFailed) as failure:
        await worked.call("fail")
    assert "in fail" in failure.value.__notes__[0]


async def test_what_cannot_be_made_fails_at_the_beginning() -> None:
    for factory, why in (("adapters:Nothing", "no attribute 'Nothing'"), ("no_such_module:Thing", "no_such_module")):
        process = OwnProcess(factory)
        with pytest.raises(EnvironmentFailed, match=why):
            await process.begin()
        assert process.pid is None


@pytest.mark.parametrize(
    ("method", "arguments", "why"),
    [
        ("kill", (), "its own process was killed by SIGKILL"),
        ("crash", (), "its own process was killed by SIGSEGV; it last wrote: crash"),
        ("exit", (3,), "its own process exited with code 3"),
    ],
)
async def test_a_death_is_told_and_the_next_episode_has_a_new_process(worked, method, arguments, why) -> None:
    await worked.begin()
    assert await message(worked, method, *arguments) == why
    assert worked.pid is None
    assert await message(worked, "add", 1) == why
    await worked.begin()
    assert await worked.call("add", 1) == 11


async def test_a_death_between_calls_is_noticed(worked) -> None:
    await worked.begin()
    os.kill(worked.pid, signal.SIGKILL)
    assert await message(worked, "add", 1) == "its own process was killed by SIGKILL"
    await worked.begin()
    os.kill(worked.pid, signal.SIGKILL)
    assert gone(worked.pid)
    await worked.begin()
    assert await worked.call("add", 1) == 11


async def test_a_death_is_noticed_although_a_forked_child_lives_on(worked) -> None:
    await worked.begin()
    child = await worked.call("fork")
    began = time.monotonic()
    assert "SIGKILL" in await message(worked, "kill")
    assert time.monotonic() - began < 5
    assert gone(child)


async def test_nothing_can_be_called_before_the_first_episode_or_after_closing(worked) -> None:
    assert await message(worked, "add", 1) == "no episode has begun"
    await worked.begin()
    await worked.close()
    await worked.close()
    assert await message(worked, "add", 1) == "its own process has been closed"


@pytest.mark.parametrize("method", ["hang", "hang_in_c"])
async def test_a_call_that_takes_too_long_ends_with_its_process_and_all_its_children(worked, method) -> None:
    await worked.begin()
    child, pid = await worked.call("child"), worked.pid
    worked.seconds = 0.5
    assert await message(worked, method) == f"{method} took longer than 0.5 seconds, and its own process was killed"
    assert gone(pid)
    assert gone(child)
    worked.seconds = 30
    await worked.begin()
    assert await worked.call("add", 1) == 11


async def test_a_stopped_process_counts_as_one_that_takes_too_long(worked) -> None:
    await worked.begin()
    os.kill(worked.pid, signal.SIGSTOP)
    worked.seconds = 0.5
    assert "took longer" in await message(worked, "add", 1)


async def test_a_cancelled_call_ends_with_its_process_and_all_its_children(worked) -> None:
    await worked.begin()
    child, pid = await worked.call("child"), worked.pid
    call = asyncio.ensure_future(worked.call("hang"))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert worked.pid is None
    assert gone(pid)
    assert gone(child)
    assert "interrupted" in await message(worked, "add", 1)
    await worked.begin()
    assert await worked.call("add", 1) == 11


async def test_cancelling_a_call_that_waits_for_its_turn_leaves_the_process_alone(worked) -> None:
    await worked.begin()
    first = asyncio.ensure_future(worked.call("back", b"x" * 20_000_000))
    second = asyncio.ensure_future(worked.call("add", 1))
    await asyncio.sleep(0.005)
    second.cancel()
    assert len(await first) == 20_000_000
    assert await worked.call("add", 1) == 11


async def test_closing_ends_a_call_that_is_running(worked) -> None:
    await worked.begin()
    call = asyncio.ensure_future(worked.call("hang"))
    await asyncio.sleep(0.1)
    await worked.close()
    with pytest.raises(EnvironmentFailed, match="SIGKILL"):
        await call


async def test_a_call_does_not_block_the_event_loop(worked) -> None:
    await worked.begin()
    worked.seconds = 0.5
    call = asyncio.ensure_future(message(worked, "hang"))
    ticks = 0
    while not call.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 10


async def test_a_fresh_process_takes_over_after_some_episodes(worked) -> None:
    pids = []
    for _ in range(7):
        await worked.begin()
        pids.append(worked.pid)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    assert gone(pids[0])


async def test_neither_zombies_nor_descriptors_are_left(worked) -> None:
    def held() -> tuple[int, list[int]]:
        return len(list(Path("/proc/self/fd").iterdir())), [child.pid for child in psutil.Process().children()]

    await worked.begin()
    await worked.close()
    before = held()
    for method in ("kill", "exit", "hang"):
        await worked.begin()
        worked.seconds = 0.2 if method == "hang" else 30
        await message(worked, method, *[5] * (method == "exit"))
        worked.seconds = 30
    for _ in range(4):
        await worked.begin()
    await worked.close()
    with pytest.raises(EnvironmentFailed):
        await OwnProcess("adapters:Nothing").begin()
    assert held() == before


@pytest.mark.parametrize("method", ["hang", "hang_in_c", "pid"])
def test_the_process_and_its_children_die_with_a_killed_runner(method) -> None:
    script = f"""
import asyncio
from thread_cli.environments.process import OwnProcess
async def main():
    process = OwnProcess("adapters:Worked")
    await process.begin()
    print(await process.call("child"), process.pid, flush=True)
    await process.call({method!r})
    await asyncio.sleep(100)
asyncio.run(main())
"""
    runner = subprocess.Popen([sys.executable, "-c", script], cwd=TESTS, stdout=subprocess.PIPE)
    pids = [int(pid) for pid in runner.stdout.readline().split()]
    time.sleep(0.2)
    runner.kill()
    runner.wait()
    runner.stdout.close()
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)
