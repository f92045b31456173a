"""The executor comes to a clean end whatever fails: plug-ins, sinks, code, cancellation."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from rooms import FOREVER, Fork, ForkThatActs, Walls

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import Status
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Completion, Request
from thread_cli.models.scripted import Role, ScriptedModel


async def test_a_broken_environment_is_not_the_models_failure(play) -> None:
    played = await play(["> break =>"], environment=Walls())
    assert played.episode.status is Status.environment_error
    assert played.of("failed")[0].boundary == "environment"


async def test_an_exception_of_a_plug_in_belongs_to_its_boundary(play) -> None:
    class Faulty(Walls):
        async def step(self, action: str) -> Step:
            raise TimeoutError("in the adapter")

    played = await play(["> go 1 =>"], environment=Faulty())
    assert played.episode.status is Status.environment_error
    assert "TimeoutError: in the adapter" in played.episode.message

    def broken(request: Request) -> str:
        raise ZeroDivisionError("in the model")

    assert (await play(broken)).episode.status is Status.model_error


async def test_a_reset_that_hangs_is_recorded_as_a_failure(play) -> None:
    class Hanging(Walls):
        async def reset(self, task: Task) -> str:
            await asyncio.sleep(FOREVER)
            return ""

    played = await play([], environment=Hanging(), limits=Limits(wall_time=0.1))
    assert played.episode.status is Status.limited


async def test_a_sink_that_fails_at_any_event_ends_the_run_with_that_error(play) -> None:
    script = [
        Role(path="0", text="n = 2\nFirst, go on =>\n> go {n} =>\nprint('x')"),
        Role(path="0.0", text="> look =>"),
    ]
    complete = await play(script, environment=Walls())
    assert "failed" in {event.kind for event in complete.events}
    for place in range(len(complete.events)):

        def break_here(event: Any, place: int = place) -> None:
            if event.n >= place:
                raise OSError("no space")

        with pytest.raises(OSError, match="no space"):
            await asyncio.wait_for(play(script, environment=Walls(), sinks=[break_here]), 5)


async def test_what_a_name_is_read_for_does_not_make_it_the_parents_own(play) -> None:
    script = [
        "First, a =>",
        "items = [1]\nprint('ok')",
        "n = len(items)\nFirst, b =>",
        "items = [5]\nprint('ok')",
        "print(items)",
    ]
    assert (await play(script)).episode.answer == "[5]"


async def test_a_final_print_that_fails_returns_no_older_one(play) -> None:
    script = [
        "First, a =>",
        "print('working')\nNow, b =>",
        "print('5 apples')",
        "n = int('abc')\nprint(n)",
        "print('done')",
    ]
    played = await play(script)
    assert "=>error: returned nothing: the thread ended without returning anything (ValueError" in played.y("0")


async def test_the_length_of_substituted_text_counts_every_use(play) -> None:
    played = await play(["x = 'a' * 49000\n> " + "{x}" * 600 + " =>", "print('z')"], environment=Walls())
    assert max(len(event.model_dump_json()) for event in played.events) < 100_000


@pytest.mark.parametrize(
    "code",
    [
        "x = 0x" + "f" * 4000,
        "x = [10**i for i in range(4999, 5000)]",
        "x = " + "lambda: " * 1000 + "1",
        "x = " + "1 if a else " * 1600 + "1",
    ],
)
async def test_code_that_cannot_be_handled_is_an_error_of_the_thread(play, code) -> None:
    played = await play([f"{code}\nNow, get {{x}} =>", "print('ok')", "print('end')"])
    assert not played.episode.status.infrastructure


async def test_endless_loops_of_siblings_do_not_stop_the_event_loop(play) -> None:
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            before = asyncio.get_running_loop().time()
            await asyncio.sleep(0.01)
            gaps.append(asyncio.get_running_loop().time() - before)

    watching = asyncio.ensure_future(watch())
    answer = lambda r: "print('x')" if r.y else ("while True: pass" if r.thread != "0" else "a|b|c|d|e|f=>")  # noqa: E731
    await play(answer, protocol=Fork(), limits=Limits(wall_time=20))
    watching.cancel()
    assert max(gaps) < 0.5


async def test_a_cancellation_from_within_a_plug_in_ends_the_episode(play) -> None:
    def cancelled(request: Request) -> str:
        raise asyncio.CancelledError

    assert (await asyncio.wait_for(play(cancelled), 5)).episode.status is Status.model_error

    class Cancelling(Walls):
        async def step(self, action: str) -> Step:
            raise asyncio.CancelledError

    played = await asyncio.wait_for(play(["> go 1 =>"], environment=Cancelling()), 5)
    assert played.episode.status is Status.environment_error


async def test_code_of_siblings_does_not_wait_on_each_others_account(play) -> None:
    slow = "x = 0\nfor i in range(120000): x = x + i\nNow some prose.\ny = len('abc')\nprint(y)"
    answer = lambda r: "print('x')" if r.y else (slow if r.thread != "0" else "a|b|c|d|e|f|g|h=>")  # noqa: E731
    played = await play(answer, protocol=Fork())
    assert "=>" + " & ".join(["3"] * 8) + "<=" in played.y("0")


def four_act(request: Request) -> str:
    if "<=" in request.y:
        return "print('x')"
    return "> act =>" if request.thread != "0" else "a|b|c|d=>"


class OneByOne(Walls):
    """An environment that notes how many threads act at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.acting = self.most = 0

    async def step(self, action: str) -> Step:
        self.acting += 1
        self.most = max(self.most, self.acting)
        await asyncio.sleep(0.05)
        self.acting -= 1
        return Step("done")


class Halls(OneByOne):
    """An environment on which they may."""

    parallel = True


@pytest.mark.parametrize(("environment", "most"), [(Halls, 4), (OneByOne, 1)])
async def test_threads_act_at_the_same_time_only_where_the_environment_allows(play, environment, most) -> None:
    opened = environment()
    await play(four_act, protocol=ForkThatActs(), environment=opened)
    assert opened.most == most


async def test_waiting_for_another_threads_action_is_no_work(play) -> None:
    class Slow(Walls):
        async def step(self, action: str) -> Step:
            await asyncio.sleep(0.1)
            return Step("done")

    played = await play(four_act, protocol=ForkThatActs(), environment=Slow())
    last = played.of("observed")[-1]
    (acted,) = played.of("acted", last.thread)
    assert len(played.of("observed")) == 4
    assert last.seconds < (last.time - acted.time) / 2


async def test_a_second_try_does_not_keep_the_rewards_of_the_first(play) -> None:
    class Halves(Walls):
        async def step(self, action: str) -> Step:
            return Step("half", 0.5, done=False)

    script = ["Now, go =>", "> go 2 =>", "no result", "> go 2 =>", "print('back')", "print('end')"]
    played = await play(script, environment=Halves(), on_failure="retry")
    assert played.episode.reward == 0.5


async def test_the_main_threads_partial_result_is_in_the_stream(play) -> None:
    played = await play(["print('so far')\n> look =>", "> look again =>", "print('ok')"], limits=Limits(calls=2))
    assert played.episode.answer == "so far"
    assert played.of("thread_ended", "0")[0].result == "so far"


async def test_a_failed_child_is_tried_again_with_the_environment_rewound(play) -> None:
    walls = Walls()
    script = ["Now, go =>", "> go 2 =>", "no result", "> go 1 =>", "print('back')", "print('end')"]
    played = await play(script, environment=walls, on_failure="retry")
    assert [e.children for e in played.of("spawned")] == [("0.0",), ("0.1",)]
    assert "=>back<=" in played.y("0")


async def test_a_failed_child_ends_the_episode_where_the_policy_says_so(play) -> None:
    played = await play(["Now, go =>", "no result"], on_failure="abort")
    assert played.episode.status is Status.failed
    assert "returned nothing" in played.episode.message


async def test_cancelling_at_any_event_records_an_end_and_leaves_nothing_running(play) -> None:
    script = [
        Role(path="0", text="n = len('ab')\nNow, go to room {n} =>\n> go 3 =>"),
        Role(path="0.0", text="m = n + 1 - 1\n> go {m} =>\nprint('there')"),
    ]
    complete = await play(script, environment=Walls())
    assert complete.episode.status is Status.solved
    over = complete.of("observed")[-1].n
    for place in range(over):
        events: list[Any] = []

        def cancel_here(event: Any, events: list[Any] = events, place: int = place) -> None:
            events.append(event)
            if event.n == place:
                task.cancel()

        task = asyncio.ensure_future(play(script, environment=Walls(), sinks=[cancel_here]))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events[-1].kind == "episode_ended"
        assert events[-1].status is Status.cancelled
        assert len([e for e in events if e.kind == "thread_ended"]) == len(
            [e for e in events if e.kind == "thread_started"]
        )
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_run_of_depth_1000_and_one_of_10000_threads_with_fan_out_100_finish(play) -> None:
    deep = Limits(depth=1000, threads=None, calls=None)

    def descend(request: Request) -> str:
        level = int(request.c.split("level ")[1].split()[0])
        return "print('bottom')" if level == 0 else "print('up')" if request.y else f"Now, level {level - 1} =>"

    played = await play(descend, "level 1000 =>", limits=deep)
    assert played.episode.totals.depth == 1000
    assert played.episode.answer == "up"

    def spread(request: Request) -> str:
        if request.y or request.thread.count(".") == 2:
            return "print('ok')"
        return "|".join(f"part {i} of {request.thread}" for i in range(100)) + "=>"

    played = await play(spread, protocol=Fork(), limits=Limits(threads=None, calls=None))
    assert played.episode.totals.threads == 1 + 100 + 100 * 100
    assert played.y("0").count("ok &") == 99
    gc.collect()


async def test_cancelling_a_run_of_depth_1000_is_clean(play) -> None:
    reached = asyncio.Event()

    class Descending(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            if request.thread.count(".") == 1000:
                reached.set()
                await asyncio.sleep(FOREVER)
            return await super().complete(request)

    model = Descending(lambda r: f"Now, level {r.thread.count('.')} =>")
    task = asyncio.ensure_future(play(model, limits=Limits(depth=1000, threads=None, calls=None)))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_end_of_each_thread_says_how_it_came_to_it(play) -> None:
    script = [
        Role(path="0", text="First, a =>\nThen, b =>\nLast, c =>"),
        Role(path="0.0", text="print('ok')"),
        Role(path="0.1", text="x = 1"),
        Role(path="0.2", text="> break =>"),
    ]
    broken = await play(script, environment=Walls())
    assert [(e.thread, e.how, e.failed) for e in broken.of("thread_ended")] == [
        ("0.0", "returned", False),
        ("0.1", "failed", True),
        ("0.2", "failed", True),
        ("0", "stopped", True),
    ]
    solved = await play(["First, a =>", "> go 3 =>"], environment=Walls())
    assert [(e.how, e.failed) for e in solved.of("thread_ended")] == [("stopped", False)] * 2
