"""What plug-ins of others hand to the executor that is of no use: it is told as their fault, and every log can be read."""

from __future__ import annotations

import asyncio
from math import inf, log, nan
from typing import Any

import pytest
from rooms import Walls

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.errors import Status
from thread_cli.contracts.model import Completion, Request, Usage
from thread_cli.record.lines import line_of, parse_event


class Answers:
    """A model that answers each call so."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def complete(self, request: Request) -> Any:
        return self._answer

    async def close(self) -> None: ...


class Steps(Walls):
    """An environment that answers each action so."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    async def step(self, action: str) -> Any:
        return self._answer


class Scoring(Walls):
    """An environment that gives each answer these marks."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self._given = given

    def score(self, task: Task, answer: str) -> Any:
        if isinstance(self._given, Exception):
            raise self._given
        return self._given


class Marking(Scoring):
    """An environment that gives each state these marks."""

    async def marks(self, task: Task, answer: str) -> Any:
        return self.score(task, answer)


def readable(events: list[Any]) -> bool:
    """Whether all events of an episode can be read again as they were, up to its end."""
    return [parse_event(line_of(event)) for event in events] == events and events[-1].kind == "episode_ended"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "it has no answer to an action"),
        ("in room 1", "AttributeError: 'str' object has no attribute 'observation'"),
        (Step(None), "its observation or its view is no text: (None, '')"),
        (Step("x", view=5), "its observation or its view is no text: ('x', 5)"),
        (Step("x", None), "its reward for an action is no number: None"),
        (Step("x", nan), "its reward for an action is no number: nan"),
        (Step("x", 10**400), "its reward for an action is no number: 1000"),
    ],
)
async def test_an_answer_to_an_action_that_is_none_is_a_fault_of_the_environment(play, answer, message) -> None:
    played = await asyncio.wait_for(play(["> look =>", "print('x')"], environment=Steps(answer)), 20)
    assert played.episode.status is Status.environment_error
    assert played.episode.message.startswith(f"environment failed: {message}")
    assert readable(played.events)


@pytest.mark.parametrize("environment", [Scoring, Marking])
@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (None, "its marks are no numbers by name: None"),
        ([("a", 1)], "its marks are no numbers by name: [('a', 1)]"),
        ({"a": 1.0, "b": nan}, "its mark 'b' is no number by a name: nan"),
        ({"a": inf}, "its mark 'a' is no number by a name: inf"),
        ({"a": "1"}, "its mark 'a' is no number by a name: '1'"),
        ({1: 1.0}, "its mark 1 is no number by a name: 1.0"),
        (KeyError("t"), "KeyError: 't'"),
    ],
)
async def test_marks_that_are_none_are_a_fault_of_the_environment(play, environment, marks, message) -> None:
    played = await play(["print('x')"], environment=environment(marks))
    assert (played.episode.status, played.episode.message) == (
        Status.environment_error,
        f"environment failed: {message}",
    )
    assert readable(played.events)


@pytest.mark.parametrize("answer", [None, "text", Completion(None, "end")])
async def test_an_answer_of_a_model_that_is_none_is_a_fault_of_the_model(play, answer) -> None:
    played = await play(Answers(answer))
    assert played.episode.status is Status.model_error
    assert played.episode.message.startswith(f"model error: what the model answered is no completion: {answer!r:.40}")
    assert readable(played.events)


async def test_a_token_without_any_probability_is_recorded_so_that_the_log_can_be_read(play) -> None:
    answer = Completion(
        "print('x')", "end", Usage(1, 0, 3), logprobs=[-inf, nan, log(0.5)], pieces=["pri", "nt", "('x')"]
    )
    played = await play(Answers(answer), logprobs=True)
    assert [number for _, number in played.of("generated")[0].tokens] == [-9999, -9999, log(0.5)]
    assert readable(played.events)
