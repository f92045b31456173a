"""What the executor makes of unusual answers: of models that reason or cost too much, of code, of what ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from rooms import FOREVER, Fork, Walls

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import EnvironmentFailed, ModelError, Status, UserError
from thread_cli.contracts.interpreter import Names, Outcome, SessionDead
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Completion, Local, Request, Usage
from thread_cli.contracts.protocol import Act, End, Spawn
from thread_cli.engine.limits import before
from thread_cli.engine.namespace import Namespace


class Answers:
    """A model that gives the same answer to every call."""

    def __init__(self, completion: Completion) -> None:
        self._completion = completion

    async def complete(self, request: Request) -> Completion:
        return self._completion

    async def close(self) -> None: ...


# --- answers of models


async def test_a_call_that_failed_is_charged_with_what_it_took(play) -> None:
    def broken(request: Request) -> str:
        error = ModelError("the stream broke off")
        error.usage = Usage(prompt=100, generated=7)
        raise error

    played = await play(broken)
    (failed,) = played.of("failed")
    assert (failed.prompt_tokens, failed.generated_tokens) == (100, 7)
    assert played.episode.totals.generated_tokens == 7


async def test_a_limit_of_cost_needs_a_known_cost(play) -> None:
    played = await play(["print('x')"], limits=Limits(cost=1.0))
    assert played.episode.status is Status.limited
    assert "what a call costs is not known" in played.episode.message


async def test_a_prompt_that_is_longer_than_what_is_left_is_not_sent(play) -> None:
    looking = Answers(Completion("> look ", "listen", Usage(100, 0, 5)))
    played = await play(looking, limits=Limits(total_tokens=150))
    assert played.episode.message == "the limit of 150 tokens is reached"
    assert len(played.of("generated")) == 1


@pytest.mark.parametrize(
    ("limits", "within"), [({}, "within 5000 tokens"), ({"generated_tokens": 1200}, "within 1200 tokens")]
)
async def test_reasoning_that_is_cut_off_tells_how_to_allow_more(play, limits, within) -> None:
    thought = Completion("", "length", Usage(1, 0, 9, reasoning=9), reasoning="hm")
    played = await play(Answers(thought), limits=Limits(**limits))
    assert played.episode.status is Status.limited
    assert f"9 tokens of reasoning and no text {within}" in played.episode.message


async def test_reasoning_alone_is_no_answer(play) -> None:
    played = await play(Answers(Completion("", "end", Usage(1, 0, 9), reasoning="hm, well")))
    assert [event.failure for event in played.of("failed")] == ["only reasoning"]


async def test_a_text_that_is_cut_off_tells_how_to_allow_more(play) -> None:
    text = "".join(f"{n} squared is {n * n}\n" for n in range(40))
    played = await play(Answers(Completion(text, "length", Usage(1, 0, 400))))
    assert played.episode.status is Status.limited
    assert "-o limits.max_tokens=… allows more than 1000" in played.episode.message


def test_the_usage_of_a_call_includes_its_lost_tries() -> None:
    kept, lost = Usage(10, 4, 5, cost=0.5, note="a"), Usage(20, 1, 6, cost=0.25, note="b", estimated=True)
    assert kept.and_earlier(lost) == Usage(30, 5, 11, cost=0.75, note="a; b", estimated=True)
    assert Usage(generated=5).and_earlier(lost).prompt == 0
    assert kept.and_earlier(None) == kept
    made = Usage(1, local=Local(1, 2, 3)).and_earlier(Usage(local=Local(4, 5, 6))).and_earlier(Usage(repeated=7))
    assert made == Usage(1, repeated=7, local=Local(5, 7, 9))


# --- code


async def test_the_setup_of_a_prompt_is_there_for_all_threads(play) -> None:
    rules = {"setup": "def double(n):\n    return 2 * n\n"}
    played = await play(["Now, count =>", "print(double(21))", "print(double(4))"], rules=rules)
    assert "=>42<=" in played.y("0")
    assert played.episode.answer == "8"


async def test_a_setup_that_fails_is_the_prompts_fault(play) -> None:
    with pytest.raises(UserError, match="prompt test: setup: ZeroDivisionError"):
        await play(["print('x')"], rules={"setup": "1 / 0"})


async def test_an_action_that_is_no_python_is_answered_with_its_syntax_error(play) -> None:
    played = await play(["> print( =>", "print('ok')"], rules={"actions": "code"})
    assert played.of("observed")[0].observation.startswith("SyntaxError: ")


async def test_a_session_that_dies_is_an_error_of_the_code(play) -> None:
    class Dying:
        patience = 1.0

        async def run(self, code: str, names: Mapping[str, Any], *, thread: str = "") -> Outcome:
            raise SessionDead("the session was killed")

        async def close(self) -> None: ...

    played = await play(["x = 1\n"], interpreter=Dying())
    assert [event.error for event in played.of("code_ran")] == ["the session was killed"]


def test_what_an_interpreter_keeps_of_names_goes_from_child_to_parent() -> None:
    parent = Namespace()
    child = parent.child()
    child.bind(Names({"table": 1, "gone": 2}, {"table": "kept"}))
    child.bind({}, gone=["gone", "never there"])
    parent.join([child])
    assert parent.values == {"table": 1}
    assert parent.values.kept == {"table": "kept"}


# --- ends


async def test_without_an_environment_there_is_nothing_to_act_on(play) -> None:
    played = await play(["> look =>", "print('ok')"])
    assert [event.observation for event in played.of("observed")] == ["There is nothing here to act on"]


async def test_a_failed_child_is_tried_again_also_where_nothing_can_be_rewound(play) -> None:
    answers = {"0.0": "x = 1\n", "0.1": "print('ok')"}
    played = await play(lambda r: answers.get(r.thread, "" if r.y else "Now, try =>"), on_failure="retry")
    assert "=>ok<=" in played.y("0")


async def test_an_action_that_comes_after_the_end_of_the_environment_is_not_carried_out(play) -> None:
    class Slow(Walls):
        async def step(self, action: str) -> Step:
            await asyncio.sleep(0.01)
            return await super().step(action)

    class Acting(Fork):
        def read(self, y: str, stop: str) -> Spawn | Act | End:
            return Act(y[2:]) if y.startswith("> ") else super().read(y, stop)

    walls = Slow()
    played = await play(lambda r: "a|b=>" if r.thread == "0" else "> go 3=>", environment=walls, protocol=Acting())
    assert walls.actions == ["go 3"]
    assert played.episode.status is Status.solved


async def test_a_second_cancellation_does_not_keep_threads_from_being_recorded(play) -> None:
    class Stubborn:
        async def complete(self, request: Request) -> Completion:
            try:
                await asyncio.sleep(FOREVER)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)
                raise
            raise AssertionError

        async def close(self) -> None: ...

    events: list[Any] = []
    begun = asyncio.Event()

    def note(event: Any) -> None:
        events.append(event)
        if event.kind == "generating":
            begun.set()

    task = asyncio.ensure_future(play(Stubborn(), sinks=[note]))
    await begun.wait()
    await asyncio.sleep(0.05)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [event.kind for event in events[-2:]] == ["thread_ended", "episode_ended"]


async def test_a_cancellation_that_nobody_asked_for_is_a_fault_of_the_engine(play) -> None:
    def cancelling(event: Any) -> None:
        if event.kind == "generating":
            raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="something that a thread waited for was cancelled"):
        await asyncio.wait_for(play(["print('x')"], sinks=[cancelling]), 5)


async def test_a_time_out_that_is_not_the_deadlines_is_passed_on() -> None:
    with pytest.raises(TimeoutError, match="of a plug-in"), before(None):
        raise TimeoutError("of a plug-in")


class Marking(Walls):
    """An environment that marks the room that the episode has ended in, after a while, or breaks over it."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self._seconds = seconds

    async def marks(self, task: Task, answer: str) -> dict[str, float]:
        await asyncio.sleep(self._seconds)
        if self.room == 0:
            raise EnvironmentFailed("there is no such room")
        return {"room": self.room / 3, "told": float(answer == f"room {self.room}")}


@pytest.mark.parametrize(
    ("script", "status", "marks"),
    [
        (["> go 2 =>", "print('room 2')"], Status.failed, {"room": 2 / 3, "told": 1}),
        (["> go 3 =>"], Status.solved, {"room": 1, "told": 0}),
        (["> go away =>", "print('gone')"], Status.environment_error, {}),
    ],
)
async def test_marks_look_at_the_state_in_which_an_episode_ended(play, script, status, marks) -> None:
    played = await play(script, environment=Marking())
    assert (played.episode.status, dict(played.episode.marks)) == (status, marks)
    assert played.of("episode_ended")[0].marks == marks


async def test_marks_may_take_what_the_episode_has_time_left(play) -> None:
    played = await play(["print('room 1')"], environment=Marking(FOREVER), limits=Limits(wall_time=0.2))
    assert (played.episode.status, played.episode.error.limit) == (Status.limited, "wall_time")
    assert played.episode.answer == "room 1"


async def test_an_episode_that_is_cancelled_while_it_is_marked_is_recorded_so(play) -> None:
    events, ended = [], asyncio.Event()
    sinks = [events.append, lambda event: ended.set() if event.kind == "thread_ended" else None]
    playing = asyncio.ensure_future(play(["print('room 1')"], environment=Marking(FOREVER), sinks=sinks))
    await ended.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert (events[-1].kind, events[-1].status) == ("episode_ended", Status.cancelled)


async def test_the_braces_of_a_fenced_action_are_its_own(play) -> None:
    walls = Walls()
    script = ["room = 2\n```\necho {room} {unknown}\n``` =>", "> go {room} =>", "print('there')"]
    await play(script, environment=walls, rules={"fence": "```"})
    assert walls.actions == ["echo {room} {unknown}", "go 2"]
