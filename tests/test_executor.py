"""The executor plays THREAD: moves, names, limits, failures, and a clean end whatever happens."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from thread_cli.engine.errors import EnvironmentFailed, Status
from thread_cli.engine.limits import Budgets, Limits
from thread_cli.environments import Step, Task
from thread_cli.models import Completion, Request, Usage
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.protocols import Act, End, Result, Spawn

FOREVER = 3600


class Walls:
    """An environment of three rooms: `go N` earns a reward in room 3; `break` breaks it, `hang` hangs."""

    splits = {"all": "one task"}
    requires = ()
    extra = None
    graded = True
    rules: dict[str, Any] = {}

    def __init__(self) -> None:
        self.room = 1
        self.actions: list[str] = []

    def tasks(self, split: str) -> list[Task]:
        return [Task("0", "Go to room 3.")]

    async def reset(self, task: Task) -> str:
        return task.text

    async def step(self, action: str) -> Step:
        self.actions.append(action)
        if action == "break":
            raise EnvironmentFailed("the wall came down")
        if action == "hang":
            await asyncio.sleep(FOREVER)
        if action.startswith("go "):
            self.room = int(action.split()[1]) if action[3:].isdecimal() else 0
        return Step(f"You are in room {self.room}", float(self.room == 3), self.room == 3)

    async def close(self) -> None:
        pass

    async def snapshot(self) -> object:
        return self.room

    async def restore(self, snapshot: object) -> None:
        assert isinstance(snapshot, int)
        self.room = snapshot


class Fork:
    """A protocol with several children per fork: `a | b =>`."""

    stop = ("=>", "#END#")

    def open(self, context: str) -> str:
        return f"\n{context}\n"

    def read(self, y: str, stop: str) -> Spawn | Act | End:
        return End() if stop == "end" else Spawn(tuple(y.rpartition("\n")[2].split("|")))

    def body(self, text: str, stop: str) -> str:
        return text if stop == "end" else text.rpartition("\n")[0]

    def answer(self, observation: str) -> str:
        return f"=>{observation}<=\n"

    def join(self, results: list[Result]) -> str:
        return "=>" + " & ".join(result.text for result in results) + "<=\n"


def silent(answers: dict[str, str]) -> ScriptedModel:
    return ScriptedModel(lambda request: answers[request.thread])


async def test_a_line_that_listens_spawns_a_child_and_reads_what_it_prints(play) -> None:
    played = await play(["First, fetch water =>", "print('two buckets')", "print('done')"])
    assert played.y("0") == "First, fetch water =>two buckets<=\n\nprint('done')"
    assert played.of("thread_started", "0.0")[0].context == "fetch water =>"
    assert played.episode.answer == "done"
    assert played.episode.status is Status.answered


async def test_a_line_that_begins_with_an_angle_acts(play) -> None:
    walls = Walls()
    played = await play(["n = 3\n> go {n} =>"], environment=walls)
    assert walls.actions == ["go 3"]
    assert played.episode.status is Status.solved


async def test_the_end_of_the_environment_ends_every_thread(play) -> None:
    played = await play(["Now, go deeper =>", "Now, go deepest =>", "> go 3 =>"], environment=Walls())
    assert played.episode.status is Status.solved
    assert [e.thread for e in played.of("thread_ended")] == ["0.0.0", "0.0", "0"]
    assert played.events[-1].kind == "episode_ended"


async def test_the_critical_path_of_a_sequential_run_is_all_that_was_generated(play) -> None:
    played = await play(["Now, go deeper =>", "Now, go deepest =>", "> go 3 =>"], environment=Walls())
    assert played.episode.totals.token_latency == played.episode.totals.generated_tokens


async def test_the_critical_path_counts_the_longest_child_of_a_fork(play) -> None:
    def answer(request: Request) -> str:
        return {"0.0": "print('" + "x" * 80 + "')", "0.1": "print('y')"}.get(
            request.thread, "print('end')" if request.y else "a|b=>"
        )

    played = await play(answer, protocol=Fork())
    tokens = {e.thread: 0 for e in played.events}
    for event in played.of("generated"):
        tokens[event.thread] += event.generated_tokens
    assert played.episode.totals.token_latency == tokens["0"] + max(tokens["0.0"], tokens["0.1"])


async def test_a_child_starts_with_its_parents_names_and_fills_in_what_the_parent_has_not_bound(play) -> None:
    roles = [
        Role(path="0", text="x = 'mine'\nNow, do {x} =>\nprint(f'{x} {z}')"),
        Role(path="0.0", text="y = x + '!'\nx = 'theirs'\nz = 5\nprint('{y}')"),
    ]
    played = await play(roles)
    assert "=>{y}<=" in played.y("0")
    assert played.episode.answer == "mine 5"


async def test_siblings_in_one_fork_do_not_see_each_other_and_merge_in_spawn_order(play) -> None:
    def answer(request: Request) -> str:
        if request.thread == "0":
            return "print(f'{a} {b} {both}')" if request.y else "one|two=>"
        name = "a" if request.thread == "0.0" else "b"
        return f"seen = 'a' in locals() or 'b' in locals()\n{name} = seen\nboth = {name!r}\nprint('ok')"

    played = await play(answer, protocol=Fork())
    assert played.episode.answer == "False False b"


async def test_an_error_of_the_code_is_shown_in_place_of_the_line_that_needed_it(play) -> None:
    walls = Walls()
    played = await play(["n = 1 / 0\n> go {n} =>", "n = 3\n> go {n} =>"], environment=walls)
    assert "=>error: ZeroDivisionError: division by zero<=" in played.y("0")
    assert walls.actions == ["go 3"]


async def test_an_error_of_the_code_is_hidden_where_the_prompt_says_so(play) -> None:
    walls = Walls()
    await play(["n = 1 / 0\n> go {n} =>", "> go 3 =>"], environment=walls, rules={"code_errors": "hide"})
    assert walls.actions == ["go {n}", "go 3"]


async def test_the_newest_observation_and_the_task_are_variables(play) -> None:
    walls = Walls()
    script = ["> go 2 =>", "n = int(observation.split()[-1]) + len(task.split()) - 3\n> go {n} =>"]
    played = await play(script, "Go to room 3.", environment=walls)
    assert walls.actions == ["go 2", "go 3"]
    assert played.episode.status is Status.solved


async def test_an_observation_is_read_by_the_rules_of_the_prompt(play) -> None:
    rules = {"observation": {"names": True, "full_stop": True, "drop": ["^You are "]}}
    played = await play(["where = 'room 2'\n> go 2 =>", ""], environment=Walls(), rules=rules)
    assert "=>in {where}.<=" in played.y("0")


# --- failure signatures


async def test_an_action_may_be_code_whose_print_is_the_observation(play) -> None:
    played = await play(
        ["x = 20 + 1\n> print(2 * x) =>", "> print(y) =>", "print(observation)"],
        rules={"actions": "code"},
        environment=Walls(),
    )
    assert [event.observation for event in played.of("observed")] == ["42", "NameError: name 'y' is not defined"]
    assert played.episode.answer.startswith("NameError")


async def test_names_that_an_action_of_code_binds_are_the_threads_own(play) -> None:
    script = ["> items = [n * n for n in range(3)] =>", "> print(f'{items[2]} of {len(items)}') =>", "print(items)"]
    played = await play(script, rules={"actions": "code"})
    assert [event.observation for event in played.of("observed")] == ["", "4 of 3"]
    assert played.episode.answer == "[0, 1, 4]"


async def test_a_main_thread_that_prints_nothing_answers_with_its_last_line(play) -> None:
    played = await play(["It is larger.\n\nFinal Answer: higher\n"])
    assert played.episode.answer == "Final Answer: higher"


class Quiz(Walls):
    """An environment that marks the answer in two ways."""

    def score(self, task: Task, answer: str) -> dict[str, float]:
        return {"loose": float("42" in answer), "strict": float(answer == "42")}


async def test_the_first_mark_is_the_reward_and_all_are_recorded(play) -> None:
    played = await play(["print('about 42')"], environment=Quiz())
    assert played.episode.status is Status.solved
    assert played.episode.reward == 1
    assert played.of("episode_ended")[0].marks == {"loose": 1, "strict": 0}


async def test_endless_spawning_ends_in_an_error_after_the_second_repeat(play) -> None:
    played = await play(lambda request: "print('gave up')" if "<=" in request.y else "Now, do the same =>")
    assert [e.failure for e in played.of("failed")] == ["endless spawning"]
    assert played.episode.totals.depth == 2
    assert "error: endless spawning" in played.y("0.0.0") or "error: endless spawning" in played.y("0.0")


async def test_a_thread_that_repeats_itself_ends_in_an_error_that_its_parent_reads(play) -> None:
    walls = Walls()
    roles = [Role(path="0", text="Now, go somewhere =>\nprint('ok')"), Role(path="0.0", text="> go 2 =>" * 9)]
    played = await play(roles, environment=walls)
    assert walls.actions == ["go 2", "go 2"]
    assert "=>error: repetition:" in played.y("0")


async def test_repeated_steps_with_other_outcomes_are_no_repetition(play) -> None:
    class Counter(Walls):
        async def step(self, action: str) -> Step:
            self.room += 1
            return Step(f"{self.room}", 1.0 if self.room == 9 else 0.0, self.room == 9)

    played = await play(lambda r: "> on =>", environment=Counter())
    assert played.episode.status is Status.solved


async def test_a_child_that_returns_nothing_is_an_error_that_its_parent_reads(play) -> None:
    played = await play(["Now, think =>", "Nothing comes to mind.", "print('on')"])
    assert "=>error: returned nothing:" in played.y("0")


async def test_malformed_output_is_answered_with_an_error_and_the_thread_goes_on(play) -> None:
    played = await play(["=>", "x = 'a' * 60_000\nFirst, {x} =>", "print('ok')"])
    assert "=>error: a line listens without saying for what<=" in played.y("0")
    assert "too long to be written out<=" in played.y("0")
    assert played.episode.answer == "ok"


async def test_a_repair_is_counted(play) -> None:
    played = await play(["First, look\n=>", "print('seen')", "print('ok')"])
    assert played.of("thread_started", "0.0")[0].context == "look=>"
    assert played.episode.totals.repairs == 1


async def test_text_that_never_listens_or_ends_is_cut_off(play) -> None:
    class Babbling:
        async def complete(self, request: Request) -> Completion:
            return Completion("la\n" * request.max_tokens, "length", Usage(1, 0, request.max_tokens))

        async def close(self) -> None: ...

    played = await play(Babbling())
    assert played.of("failed")[0].failure == "repetition"
    assert played.episode.status is Status.failed


# --- limits


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"depth": 3}, "3 levels deep"),
        ({"calls": 5}, "5 model calls"),
        ({"threads": 4}, "4 threads"),
        ({"generated_tokens": 20}, "20 generated tokens"),
    ],
)
async def test_a_limit_ends_in_a_typed_result_and_is_never_exceeded(play, limits, limit) -> None:
    played = await play(
        lambda r: "print('back')" if "<=" in r.y else f"Now, level {len(r.thread)} =>", limits=Limits(**limits)
    )
    assert limit in " ".join(e.message for e in played.of("failed"))
    totals = played.episode.totals
    assert totals.depth <= limits.get("depth", 99)
    assert totals.calls <= limits.get("calls", 999)
    assert totals.threads <= limits.get("threads", 99)
    assert totals.generated_tokens <= limits.get("generated_tokens", 999) + 5


async def test_a_child_at_its_limit_returns_what_it_has_so_far(play) -> None:
    script = [
        Role(path="0", text="Now, count =>\nprint('ok')"),
        Role(path="0.0", text="print('one, two')\n> look =>\n> look again =>\n"),
    ]
    played = await play(script, child_limits=Budgets(calls=2))
    assert "=>error: limit reached: the limit of 2 model calls is reached. So far: one, two<=" in played.y("0")


async def test_lone_surrogates_from_escapes_in_code_can_be_recorded(play) -> None:
    played = await play(["x = '\\ud800'\nFirst, {x} =>", "print('\\ud800')", "print('ok')"])
    assert played.episode.answer == "ok"
    assert [event.model_dump_json() for event in played.events]


async def test_children_beyond_the_fan_out_are_refused_one_by_one(play) -> None:
    answer = lambda r: "print('x')" if r.y or r.thread != "0" else "a|b|c=>"  # noqa: E731
    played = await play(answer, protocol=Fork(), limits=Limits(fan_out=2))
    assert played.y("0").count("error: limit reached") == 1
    assert len(played.of("thread_started")) == 3


async def test_a_hung_child_leaves_its_parent_time_to_react(play) -> None:
    walls = Walls()
    played = await play(["Now, wait =>", "> hang =>", "> go 3 =>"], environment=walls, limits=Limits(wall_time=1.0))
    assert "=>error: limit reached: the time for this thread is up" in played.y("0")
    assert played.episode.status is Status.solved


async def test_limits_of_a_child_hold_for_all_below_it(play) -> None:
    played = await play(
        lambda r: "print('back')" if "<=" in r.y else f"Now, level {len(r.thread)} =>",
        limits=Limits(),
        child_limits=Budgets(calls=3),
    )
    assert played.episode.status is Status.answered
    assert "3 model calls" in " ".join(e.message for e in played.of("failed"))


# --- failures of the infrastructure, policies, cancellation


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


class ForkThatActs(Fork):
    """Children that act."""

    def read(self, y: str, stop: str) -> Spawn | Act | End:
        return Act(y[2:]) if y.startswith("> ") and stop != "end" else super().read(y, stop)


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
