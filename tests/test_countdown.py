"""Countdown: its problems, its checker, and a teacher that searches by threads."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from thread_cli.assembly.environments import open_environment
from thread_cli.conformance.environments import check
from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.limits import Limits
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.apr import apr_problems
from thread_cli.protocols.prompt import Prompt, load
from thread_envs.countdown import Countdown
from thread_envs.countdown.checking import is_solution
from thread_envs.countdown.problems import combinations, made

NUMBERS, TARGET = (92, 98, 30, 84), 60
PATH = """Moving to Node #0
Current State: 60:[92, 98, 30, 84], Operations: []
Exploring Operation: 98-92=6, Resulting Numbers: [30, 84, 6]
Generated Node #0,6: 60:[30, 84, 6] Operation: 98-92=6
Moving to Node #0,6
Current State: 60:[30, 84, 6], Operations: ['98-92=6']
Exploring Operation: 84-30=54, Resulting Numbers: [6, 54]
Generated Node #0,6,4: 60:[6, 54] Operation: 84-30=54
Moving to Node #0,6,4
Current State: 60:[6, 54], Operations: ['98-92=6', '84-30=54']
Exploring Operation: 6+54=60, Resulting Numbers: [60]
60,60 equal: Goal Reached"""


async def episode(environment: Any, task: Task, model: Any = None, prompt: Prompt | None = None) -> Any:
    interpreter, events = VariableInterpreter(), []
    executor = Executor(
        model=model or environment.teacher(task),
        prompt=prompt or load(None, "countdown"),
        environment=environment,
        interpreter=interpreter,
        limits=Limits(max_tokens=4096),
        sinks=[events.append],
    )
    played = await executor.run(task, "countdown")
    await interpreter.close()
    return played, events


# --- problems


def test_a_made_up_problem_is_the_same_everywhere_and_has_a_solution() -> None:
    assert made(0) == ((13, 2, 3, 38), 96)
    assert made(7) == made(7)
    for number in range(60):
        numbers, target = made(number)
        assert len(numbers) == 4
        assert all(1 <= one <= 99 for one in numbers)
        assert 10 <= target <= 100
        assert any(given == (target,) for given in everything(numbers))


def everything(numbers: tuple[int, ...]) -> set[tuple[int, ...]]:
    left = {numbers}
    while len(next(iter(left))) > 1:
        left = {tuple(sorted(after)) for before in left for _, after in combinations(before)}
    return left


def test_no_operation_gives_a_negative_number_or_a_fraction() -> None:
    found = {operation for pair in itertools.product(range(13), repeat=2) for operation, _ in combinations(pair)}
    for operation in found:
        done, result = operation.split("=")
        assert eval(done.replace("/", "//")) == int(result) >= 0
        assert "/" not in done or int(done.split("/")[0]) % int(done.split("/")[1]) == 0
    assert {operation for operation, _ in combinations((0, 5))} == {"0+5=5", "0*5=0", "5-0=5"}


def test_problems_are_read_from_aprs_files(task_data: Path) -> None:
    environment = Countdown(data=str(task_data / "countdown"))
    assert (len(environment.tasks("val")), len(environment.tasks("train"))) == (1000, 300)
    first = environment.tasks("val")[0]
    assert (first.id, first.text, first.data) == (
        "val-0",
        "make 60 of 92, 98, 30 and 84",
        {"numbers": [*NUMBERS], "target": TARGET},
    )
    assert environment.find("train-299").split == "train"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no '.*'; `data` names APR's folder of problems, or a file"),
        ("{", "is no JSON file"),
        ("{}", "is no list of problems"),
        ("[]", "is no list of problems"),
        ("[7]", "problem 0 has no `nums` and `target`"),
        ('[{"nums": [1, 2], "target": 3}, {"nums": [1], "target": 2}]', "problem 1 has no `nums` and `target`"),
        ('[{"nums": [1, "2"], "target": 3}]', "`nums` are 2 to 8 whole numbers from 0 on"),
        ('[{"nums": [1, -2], "target": 3}]', "`nums` are 2 to 8 whole numbers from 0 on"),
        ('[{"nums": [1, 2], "target": true}]', "has no `nums` and `target`"),
    ],
)
def test_a_file_that_holds_no_problems_is_refused_in_one_line(
    tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "val.json"
    if content is not None:
        file.write_text(content, "utf-8")
    with pytest.raises(UserError, match=message) as refused:
        list(Countdown(data=str(file)).tasks("val"))
    assert "\n" not in str(refused.value)


def test_a_folder_has_one_file_for_each_split(tmp_path: Path) -> None:
    problem = json.dumps([{"nums": [1, 2], "target": 3}])
    with pytest.raises(UserError, match=r"no file val\*\.json is in"):
        Countdown(data=str(tmp_path)).tasks("val")
    (tmp_path / "val1.json").write_text(problem, "utf-8")
    assert len(Countdown(data=str(tmp_path)).tasks("val")) == 1
    (tmp_path / "val2.json").write_text(problem, "utf-8")
    with pytest.raises(UserError, match=r"2 files val\*\.json are in"):
        Countdown(data=str(tmp_path)).tasks("val")


@pytest.mark.parametrize("name", ["val-1000", "train-1000", "test-0", "val", "val-01", "val--1", "7"])
def test_a_task_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"`countdown` has no task '{name}'; ids "):
        Countdown().find(name)


@pytest.mark.parametrize("width", [0, 101])
def test_a_width_out_of_range_is_refused(width: int) -> None:
    with pytest.raises(UserError, match="from 1 to 100"):
        Countdown(width=width)


# --- the checker


@pytest.mark.parametrize(
    "answer",
    [
        PATH,
        "98-92=6, 84-30=54, 6+54=60",
        "Step 1: 84 - 30 = 54\nStep 2: 98 − 92 = 6\nStep 3: 54 + 6 = 60",  # noqa: RUF001
        "(98-92)+(84-30)",
        "The numbers give it:\n(98 - 92) + (84 - 30) = 60.",
        "60 = 84 - 30 + (98 - 92)",
    ],
)
def test_a_solution_is_right_in_any_of_these_forms(answer: str) -> None:
    assert is_solution(NUMBERS, TARGET, answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "60",
        "nonsense",
        "60,60 equal: Goal Reached",
        "98-92=6, 84-30=54",
        "98-92=6, 84-30=54, 6+54=61",
        "98-92=6, 98-30=68, 68-6=62",
        "98-92=6, 84-30=54, 6+54=60, 60*1=60",
        "92-98=-6, 84-30=54, 54+6=60",
        "(98-92)+(84-30)+0",
        "(92-98)+(84-30)+12",
        "30*2",
        "98-92+84-30=61",
        "(98-92)+(84-30) = 60 = 60",
        "98/92=1, 84-30=54, 54+6=60",
        "__import__('os').getcwd()",
        "(" * 250 + "98" + ")" * 40,
        "9**9**9**9",
        PATH.replace("84-30=54, R", "84-30=55, R"),
        PATH.replace("Exploring Operation: 98-92=6", "Exploring Operation: so"),
        PATH + "\nExploring Operation: 60-0=60, Resulting Numbers: [60]",
    ],
)
def test_anything_else_is_wrong(answer: str) -> None:
    assert not is_solution(NUMBERS, TARGET, answer)


def test_each_number_is_used_as_often_as_it_is_there() -> None:
    assert is_solution((5, 5), 25, "5*5=25")
    assert not is_solution((5, 4), 25, "5*5=25")
    assert not is_solution((3, 1, 1), 3, "3*1=3")
    assert is_solution((0, 7), 0, "0/7=0")
    assert not is_solution((0, 7), 0, "7/0=0")


def test_long_answers_are_judged_at_once() -> None:
    assert not is_solution(NUMBERS, TARGET, "1" * 200_000)
    assert not is_solution(NUMBERS, TARGET, "1 + " * 50_000)
    assert not is_solution(NUMBERS, TARGET, "1+1=2 " * 50_000)


# --- the teacher


async def test_the_teacher_solves_problems_by_threads_on_a_shorter_critical_path_than_in_one_thread() -> None:
    latency = {True: 0, False: 0}
    for sequential in latency:
        environment = Countdown(sequential=sequential)
        for task in environment.tasks("val")[:60]:
            played, events = await episode(environment, task)
            assert (played.status, played.reward) == ("solved", 1)
            assert is_solution(task.data["numbers"], task.data["target"], played.answer)
            assert played.totals.repairs == 0
            assert (played.totals.threads == 1) is sequential
            assert all(not apr_problems(event.text) for event in events if event.kind == "generated")
            latency[sequential] += played.totals.token_latency
    assert latency[True] > 1.2 * latency[False]


@pytest.mark.slow
async def test_the_teacher_solves_all_of_aprs_validation_problems(task_data: Path) -> None:
    latency = {True: 0, False: 0}
    for sequential in latency:
        environment = Countdown(data=str(task_data / "countdown"), sequential=sequential)
        tasks = environment.tasks("val")
        assert len(tasks) == 1000
        for task in tasks:
            played, _ = await episode(environment, task)
            assert is_solution(task.data["numbers"], task.data["target"], played.answer), task.id
            latency[sequential] += played.totals.token_latency
    assert latency[True] > 1.2 * latency[False]


async def test_the_teacher_calls_more_searches_where_the_first_ones_find_nothing() -> None:
    environment = Countdown(width=2)
    counts = []
    for task in environment.tasks("val")[:12]:
        played, events = await episode(environment, task)
        assert played.reward == 1
        counts.append(len([event for event in events if event.kind == "joined"]))
    assert max(counts) > 1


async def test_the_teacher_says_so_where_there_is_no_solution(tmp_path: Path) -> None:
    file = tmp_path / "val.json"
    file.write_text(
        json.dumps([{"nums": [1, 1, 1, 1], "target": 99}, {"nums": [2, 3, 4, 5, 6], "target": 61}]), "utf-8"
    )
    environment = Countdown(data=str(file))
    played, _ = await episode(environment, environment.find("val-0"))
    assert (played.status, played.answer) == ("failed", "No solution found.")
    deeper, events = await episode(environment, environment.find("val-1"))
    assert deeper.reward == 1
    assert deeper.totals.depth == 2
    assert any("at level 2" in event.text for event in events if event.kind == "generated")


async def test_a_teacher_given_something_else_finds_no_solution(play) -> None:
    played = await play(Countdown().teacher(Task("val-0")), "What is the capital of France?")
    assert played.episode.answer == "No solution found."


# --- as an environment


async def test_it_passes_the_conformance_suite() -> None:
    failed = [verdict async for verdict in check("countdown") if verdict.outcome == "failed"]
    assert failed == []


async def test_there_is_nothing_to_act_on() -> None:
    environment = Countdown()
    with pytest.raises(Exception, match="no episode of countdown has begun"):
        await environment.step("look")
    await environment.reset(environment.tasks("val")[0])
    assert "nothing to act on" in (await environment.step("look")).observation


@pytest.mark.parametrize("name", ["direct", "react"])
def test_the_examples_of_other_methods_are_solutions(name: str) -> None:
    q = (Path(__file__).parents[1] / "prompts" / "countdown" / "methods" / f"{name}.jinja").read_text("utf-8")
    blocks = q.split("Current State: ")[1:]
    assert len(blocks) == 3
    for block in blocks:
        target, numbers = block.partition(",  Operations")[0].split(", Operations")[0].split(":", 1)
        answer = block.split("{{ start }}\n")[1].split("\n{{ end }}")[0].splitlines()[-1]
        assert is_solution(json.loads(numbers), int(target), answer.removeprefix("print('").removesuffix("')"))


def test_the_prompts_examples_are_in_the_format() -> None:
    prompt = load(None, "countdown")
    first, *rest = prompt.q.split("\n\n\n\n")[1:]
    assert first.startswith("Moving to Node #0\n")
    assert first.endswith("<End Calling Sub Searches>")
    assert all(not apr_problems(example) for example in (first, *rest))
    assert prompt.protocol().open("c") == "\n\n\n\nc"


def test_a_model_trained_on_traces_is_given_the_state_alone() -> None:
    prompt = load("trained", "countdown")
    assert prompt.q == ""
    assert prompt.protocol().open("c") == "c"


async def test_a_threads_answer_is_marked_in_any_format() -> None:
    environment = open_environment("countdown", {})
    task = environment.tasks("val")[0]
    assert environment.score(task, "13-3=10, 10*2=20") == {"correct": 0.0}
    model = ScriptedModel(["\nNo solution found."])
    played, _ = await episode(environment, task, model)
    assert (played.status, played.reward) == ("failed", 0)


def test_the_default_task_is_the_first_made_up_problem() -> None:
    async def context() -> str:
        environment = Countdown()
        return await environment.reset(environment.tasks("val")[0])

    assert asyncio.run(context()) == "Moving to Node #0\nCurrent State: 96:[13, 2, 3, 38], Operations: []"
