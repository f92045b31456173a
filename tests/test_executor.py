"""The executor plays THREAD: moves, names, failure signatures, limits."""

from __future__ import annotations

import pytest
from rooms import Fork, Walls

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import Status
from thread_cli.contracts.limits import Budgets, ChildLimits, Limits
from thread_cli.contracts.model import Completion, Request, Usage
from thread_cli.display import TreeState
from thread_cli.models.scripted import Role
from thread_cli.record.critical import CriticalPath


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


async def test_the_critical_path_counts_both_tries_of_a_child_and_can_be_had_from_the_log_alone(play) -> None:
    script = ["First, a =>", "x = 1", "x = 12345", "print('ok')"]
    played = await play(script, on_failure="retry")
    assert len(played.of("thread_ended")) == 3
    totals = played.episode.totals
    assert totals.token_latency == totals.generated_tokens
    path = CriticalPath()
    for event in played.events:
        path.add(event)
    assert path.tokens == totals.token_latency == TreeState.of(played.events).totals.token_latency


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
    assert "error: endless spawning" in played.y("0.0.0")
    assert "error: endless spawning" not in played.y("0.0") + played.y("0")


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
    (failed,) = played.of("failed")
    assert (failed.limit, failed.used, failed.cap, failed.owner) == ("calls", 2, 2, "0.0")


async def test_limits_of_the_episode_are_told_as_its_own(play) -> None:
    script = lambda r: "print('back')" if "<=" in r.y else f"Now, level {len(r.thread)} =>"  # noqa: E731
    played = await play(script, limits=Limits(depth=2))
    assert [(e.limit, e.used, e.cap, e.owner) for e in played.of("failed")] == [("depth", 2, 2, "episode")]
    wide = await play(
        lambda r: "print('x')" if r.y or r.thread != "0" else "a|b=>", protocol=Fork(), limits=Limits(fan_out=1)
    )
    assert [(e.limit, e.used, e.cap, e.owner) for e in wide.of("failed")] == [("fan_out", 2, 1, "episode")]


async def test_children_may_be_given_a_share_of_what_is_left(play) -> None:
    def script(request: Request) -> str:
        return (
            f"> look {len(request.y)} =>" if request.thread != "0" else "print('ok')" if request.y else "Now, look =>"
        )

    played = await play(script, limits=Limits(calls=21), child_limits=ChildLimits(share=0.25))
    (failed,) = played.of("failed")
    assert (failed.used, failed.cap, failed.owner) == (5, 5, "0.0")


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
    (failed,) = played.of("failed")
    assert failed.owner == "episode"
    assert 0 < failed.cap <= failed.used < 1


async def test_time_may_be_limited_to_a_share_of_what_is_left(play) -> None:
    options = {"limits": Limits(wall_time=20), "child_limits": ChildLimits(share=0.01), "environment": Walls()}
    played = await play(["Now, wait =>", "> hang =>", "> go 3 =>"], **options)
    (failed,) = played.of("failed")
    assert (failed.limit, failed.owner) == ("wall_time", "0.0")
    assert failed.cap == pytest.approx(0.2, abs=0.01)


async def test_limits_of_a_child_hold_for_all_below_it(play) -> None:
    played = await play(
        lambda r: "print('back')" if "<=" in r.y else f"Now, level {len(r.thread)} =>",
        limits=Limits(),
        child_limits=Budgets(calls=3),
    )
    assert played.episode.status is Status.answered
    assert "3 model calls" in " ".join(e.message for e in played.of("failed"))
