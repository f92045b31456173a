"""Multiplication: ThreadWeaver's toy task, with a teacher in threads and its sequential twin."""

from __future__ import annotations

import re
from typing import Any

import pytest

from thread_cli.conformance.environments import check
from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import EnvironmentFailed, UserError
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.replay import ReplayModel
from thread_cli.protocols.checking import weaver_problems
from thread_cli.protocols.prompt import load
from thread_cli.record import first_difference
from thread_cli.record.tree import tree_of
from thread_envs.multiplication import Multiplication


async def episode(environment: Multiplication, task: Task, model: Any = None, prompt: str | None = None) -> Any:
    interpreter, events = VariableInterpreter(), []
    executor = Executor(
        model=model or environment.teacher(task),
        prompt=load(prompt, "multiplication"),
        environment=environment,
        interpreter=interpreter,
        sinks=[events.append],
    )
    played = await executor.run(task, "multiplication")
    await interpreter.close()
    return played, events


def test_a_task_is_the_same_everywhere() -> None:
    first = Multiplication().tasks("test")[0]
    assert (first.id, first.text) == ("test-0", f"What is {first.data['first']} * {first.data['second']}?")
    assert Multiplication(seed=3).tasks("test")[0] == first == Multiplication().find("test-0")
    for task in Multiplication().tasks("train")[:50]:
        assert 4 <= len(str(task.data["first"])) <= 8
        assert 3 <= len(str(task.data["second"])) <= len(str(task.data["first"]))
        assert task.category == f"{len(str(task.data['second']))} digits"


@pytest.mark.parametrize("name", ["test-200", "train-1000", "dev-0", "test", "test-01", "3 * 4"])
def test_a_task_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(
        UserError, match=r"`multiplication` has no task '.*'; ids are test-0 to test-199 and train-0 to"
    ):
        Multiplication().find(name)
    with pytest.raises(UserError, match="has no split"):
        Multiplication().tasks("dev")


def test_the_last_number_of_an_answer_counts() -> None:
    environment = Multiplication()
    task = environment.tasks("test")[0]
    product = task.data["first"] * task.data["second"]
    for right in (f"{product}", f"It is {product:,}.", f"2 numbers give {product}", f"\\boxed{{{product}}}"):
        assert environment.score(task, right) == {"correct": 1}
    for wrong in ("", "unknown", f"{product + 1}", f"{product}0", f"{product} or 3", "9" * 100_000):
        assert environment.score(task, wrong) == {"correct": 0}


async def test_the_teacher_is_right_in_threads_and_in_one_and_threads_have_the_shorter_critical_path() -> None:
    latency = {True: 0, False: 0}
    for sequential in latency:
        environment = Multiplication(sequential=sequential)
        for task in environment.tasks("test"):
            played, events = await episode(environment, task)
            assert played.reward == 1
            assert played.answer == str(task.data["first"] * task.data["second"])
            assert played.totals.threads == (1 if sequential else 1 + len(str(task.data["second"])))
            assert played.totals.repairs == 0
            assert weaver_problems(tree_of(events).threads["0"].y) == ()
            latency[sequential] += played.totals.token_latency
    assert latency[True] > 1.2 * latency[False]


async def test_a_recorded_multiplication_is_played_again() -> None:
    environment = Multiplication()
    task = environment.tasks("test")[1]
    _, events = await episode(environment, task)
    again, now = await episode(environment, task, ReplayModel(events))
    assert again.reward == 1
    assert first_difference(events, now) is None


async def test_every_line_that_the_teacher_writes_is_true() -> None:
    environment = Multiplication(sequential=True)
    for task in environment.tasks("train")[:30]:
        _, events = await episode(environment, task)
        text = tree_of(events).threads["0"].y
        equations = re.findall(r"([\d+* ]+) ?= ?(\d+)", text)
        assert len(equations) > 10
        assert all(eval(re.sub(r"\b0+(?=\d)", "", done)) == int(result) for done, result in equations)


async def test_a_teacher_given_something_else_says_so(play) -> None:
    played = await play(
        Multiplication().teacher(Task("test-0")), "Who wrote it?", rules={"protocol": "weaver", "psi": "answer"}
    )
    assert played.episode.answer == "This is no product of two numbers."


async def test_a_product_whose_threads_failed_is_unknown() -> None:
    class Failing:
        """The teacher, but the model of one thread breaks off without a number."""

        def __init__(self, teacher: Any) -> None:
            self.teacher = teacher

        def course(self, turn: Any) -> Any:
            return self.silent() if turn.thread == "0.1" else self.teacher.course(turn)

        def silent(self) -> Any:
            yield " I cannot say."
            return ""

    from thread_cli.models.written import Written

    environment = Multiplication()
    task = environment.tasks("test")[0]
    played, _ = await episode(environment, task, Written(Failing(environment.teacher(task))))
    assert (played.reward, played.answer) == (0, "unknown")


async def test_it_passes_the_conformance_suite() -> None:
    assert [verdict async for verdict in check("multiplication") if verdict.outcome == "failed"] == []


async def test_there_is_nothing_to_act_on() -> None:
    environment = Multiplication()
    with pytest.raises(EnvironmentFailed, match="no episode of multiplication has begun"):
        await environment.step("look")
    await environment.reset(environment.tasks("test")[0])
    assert "nothing to act on" in (await environment.step("look")).observation


def test_the_examples_of_the_prompts_are_in_the_format_and_right() -> None:
    for name in ("default", "sequential"):
        _, *examples = load(name, "multiplication").q.split("\n\n\n\n\n\nPrompt:\n")
        assert len(examples) == 3
        for example in examples:
            question, _, y = example.partition("\n\n\nResponse:\n<think>\n")
            first, second = re.findall(r"\d+", question)
            assert weaver_problems(y) == ()
            assert y.removesuffix("#END#").split()[-1] == str(int(first) * int(second))
            assert ("<Parallel>" in y) is (name == "default")
