"""The environment `math`: its questions, its marks, its teacher, and what it says about files that are none."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from thread_cli.assembly.environments import open_environment, task_of
from thread_cli.conformance.environments import check
from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status, UserError
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import load

pytest.importorskip("math_verify", reason="needs the extra `math`")

from thread_envs.math import Math
from thread_envs.math.verifying import Verifier

HUGE = r"9^{9^{9^9}} + \sqrt{2}"


def written(folder: Path, *rows: object, name: str = "own.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


async def marks(environment: Math, task: Task, answer: str) -> dict[str, float]:
    try:
        return dict(await environment.marks(task, answer))
    finally:
        await environment.close()


def asked(folder: Path, gold: str, question: str = "What is it?", **options) -> tuple[Math, Task]:
    environment = Math(file=written(folder, {"question": question, "answer": gold}), **options)
    return environment, environment.tasks("file")[0]


# --- conformance


async def test_it_conforms_to_the_suite_for_environments():
    assert [verdict async for verdict in check("math") if verdict.outcome == "failed"] == []


async def test_it_conforms_with_questions_of_the_users_own(tmp_path):
    options = {"file": written(tmp_path, {"question": "1+1?", "answer": 2}, {"question": "2+2?", "answer": "#### 4"})}
    assert [verdict async for verdict in check("math", options) if verdict.outcome == "failed"] == []


# --- marks


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("18", "She makes 9 * 2 = $18 every day.", 1),
        ("18", r"\boxed{18.0}", 1),
        ("18", "The answer is 12, 18.", 0),
        (r"\frac{\sqrt{3}}{3}", r"The answer is $\frac{1}{\sqrt{3}}$.", 1),
        (r"\frac{\sqrt{3}}{3}", r"The answer is $\frac{1}{\sqrt{2}}$.", 0),
        ("1000", "The answer is 1e3", 1),
        ("18", "", 0),
    ],
)
async def test_the_first_mark_says_whether_the_answer_is_right(tmp_path, gold, answer, right):
    assert await marks(*asked(tmp_path, gold), answer) == {"right": right, "undecided": 0}


async def test_percents_may_go_without_the_sign_where_the_question_asks_for_them(tmp_path):
    assert (await marks(*asked(tmp_path, "50", "What percent is it?"), "50%"))["right"] == 1
    assert (await marks(*asked(tmp_path, "50"), "50%"))["right"] == 0


async def test_an_answer_that_sympy_comes_to_no_end_over_is_wrong_in_time_and_said_to_be_undecided(tmp_path):
    environment, task = asked(tmp_path, r"3+\sqrt{2}", seconds=1.5)
    try:
        assert (await environment.marks(task, r"\boxed{\sqrt{2}+3}"))["right"] == 1  # SymPy is imported by now
        began = time.monotonic()
        assert dict(await environment.marks(task, rf"\boxed{{{HUGE}}}")) == {"right": 0, "undecided": 1}
        assert time.monotonic() - began < 30
        assert dict(await environment.marks(task, r"\boxed{\sqrt{2}+3}")) == {"right": 1, "undecided": 0}
    finally:
        await environment.close()


def test_answers_are_compared_off_the_main_thread(tmp_path):
    environment, task = asked(tmp_path, r"\sqrt{20}")
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(marks(environment, task, r"\boxed{2\sqrt{5}}"))))
    thread.start()
    thread.join(100)
    assert found == [{"right": 1, "undecided": 0}]


async def test_the_event_loop_goes_on_while_sympy_computes(tmp_path):
    environment, task = asked(tmp_path, r"3+\sqrt{2}", seconds=1.0)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.02)
            beats += 1

    beating = asyncio.create_task(beat())
    assert (await marks(environment, task, rf"\boxed{{{HUGE}}}"))["undecided"] == 1
    beating.cancel()
    assert beats > 20


# --- MATH-500 and GSM8K


def golds(task_data: Path) -> list[str]:
    return [row["answer"] for row in json.loads((task_data / "math" / "npr_math500.json").read_text())]


FORMS = [
    "{}",
    "${}$",
    "{}.",
    r"\[{}\]",
    r"Therefore we have \boxed{{{}}}.",
    r"Thus the final answer is $\boxed{{{}}}$. I hope it is correct.",
    "The answer is {}.",
    "The answer is ${}$.",
    "Work.\n\n**Answer:** ${}$",
    "#### {}",
]


@pytest.mark.parametrize("form", FORMS)
def test_every_gold_answer_of_math_500_is_right_in_every_form(task_data, form):
    from thread_envs.math.answers import answer_in

    verifier = Verifier(memory=None)
    wrong = [gold for gold in golds(task_data) if not verifier.same(gold, answer_in(form.format(gold)), False)]
    assert wrong == []


@pytest.mark.parametrize(
    ("sign", "other"),
    [
        (r"\frac", r"\dfrac"),
        (r"\frac", r"\tfrac"),
        (r"\left", ""),
        (r"\right", ""),
        ("pmatrix", "bmatrix"),
        (r"\!", ""),
    ],
)
def test_every_gold_answer_of_math_500_is_right_in_other_latex(task_data, sign, other):
    verifier = Verifier(memory=None)
    # Without \! the blank behind it would part a number.
    answers = [re.sub(r"\\!\s*", r"\\!", gold) for gold in golds(task_data)]
    assert len(answers) == 500
    assert [gold for gold in answers if not verifier.same(gold, gold.replace(sign, other), False)] == []


def perturbed(gold: str) -> set[str]:
    """Answers that say something else: other numbers, signs, brackets and words, and parts left out."""
    found = {
        f"{gold[: n.start()]}{int(n[0]) + add}{gold[n.end() :]}" for n in re.finditer(r"\d+", gold) for add in (1, 7)
    }
    found |= {f"{gold}+1", gold.replace("+", "-", 1), gold.replace(r"\sqrt", "", 1), gold.replace(r"\pi", "", 1)}
    if gold[0] in "([":
        found |= {"[(".replace(gold[0], "") + gold[1:], gold[:-1] + "])".replace(gold[-1], "")}
    if match := re.fullmatch(r"\\text\{(\w+)\}", gold):
        found |= {match[1][::-1], match[1][1:], f"not {match[1]}"}
    elif "-" not in gold and gold != "0":
        found.add(f"-{gold}")
    return found - {gold, ""}


def test_no_perturbed_answer_of_math_500_is_right(task_data):
    verifier = Verifier(memory=None)
    pairs = [(gold, other) for gold in golds(task_data) for other in sorted(perturbed(gold))]
    assert len(pairs) > 2000
    assert [pair for pair in pairs if verifier.same(*pair, False)] == []


def test_questions_of_math_500_go_by_subject_and_level(task_data):
    tasks = Math(data=str(task_data / "math")).tasks("math-500")
    assert len(tasks) == 500
    assert len({task.category for task in tasks}) == 35
    assert tasks[0].category == "Precalculus/2"


def test_questions_of_gsm8k_go_by_their_number_of_steps(task_data):
    tasks = Math(data=str(task_data / "math")).tasks("gsm8k")
    assert len(tasks) == 1319
    assert (tasks[0].id, tasks[0].category, tasks[0].data["answer"]) == ("gsm8k-0", "2 steps", "18")
    assert tasks[0].data["steps"] == [["16-3-4", "9"], ["9*2", "18"]]


def test_the_data_are_found_through_a_variable(task_data, monkeypatch):
    monkeypatch.setenv("THREAD_DATA", str(task_data))
    assert len(Math().tasks("gsm8k")) == 1319


# --- the teacher


@pytest.mark.parametrize(("split", "every"), [("generated", 1), ("gsm8k", 60), ("math-500", 25)])
async def test_the_teacher_answers_every_question(task_data, split, every):
    environment = Math(data=str(task_data / "math"))
    unsolved, threads = [], 0
    for task in environment.tasks(split)[::every]:
        interpreter = VariableInterpreter()
        executor = Executor(
            model=environment.teacher(task), prompt=load(None, "math"), interpreter=interpreter, environment=environment
        )
        episode = await executor.run(task, "math")
        await interpreter.close()
        threads += episode.totals.threads
        unsolved += [task.id] if episode.status is not Status.solved else []
    await environment.close()
    assert unsolved == []
    assert threads > len(environment.tasks(split)[::every]) or split == "math-500"


async def test_a_main_thread_of_several_lines_is_judged_by_its_last(tmp_path):
    environment, task = asked(tmp_path, r"\frac{1}{2}")
    interpreter = VariableInterpreter()
    model = ScriptedModel(["Half of one.\nSo it is 2/4.\nThe answer is $\\frac{1}{2}$.\n"])
    executor = Executor(
        model=model, prompt=load("react", "math/methods"), interpreter=interpreter, environment=environment
    )
    episode = await executor.run(task, "math")
    await interpreter.close()
    await environment.close()
    assert (episode.status, episode.marks) == (Status.solved, {"right": 1.0, "undecided": 0.0})


# --- files


def test_questions_come_from_columns_of_any_name(tmp_path):
    rows = [{"q": "1+1?", "a": 2, "kind": "sums"}, {"q": "2/4?", "a": "so\n#### 1/2", "kind": "fractions"}]
    environment = Math(file=written(tmp_path, *rows), question="q", answer="a", category="kind")
    assert [(task.text, task.data["answer"], task.category) for task in environment.tasks("file")] == [
        ("1+1?", "2", "sums"),
        ("2/4?", "1/2", "fractions"),
    ]
    assert next(iter(environment.splits)) == "file"
    assert task_of(environment, "math", None).id == "file-0"
    assert task_of(environment, "math", "file-1").text == "2/4?"


def test_a_json_list_and_a_byte_order_mark_are_read_as_well(tmp_path):
    path = tmp_path / "list.json"
    path.write_text("\ufeff" + json.dumps([{"question": "1+1?", "answer": 2}]), "utf-8")
    assert len(Math(file=str(path)).tasks("file")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no questions"),
        (b"{}\n", "line 1 has no column 'question'; it has none"),
        (b'{"question": "x", "answer": "1"}\n{"question": "y", "Answer": "1"}', "line 2 has no column 'answer'; it has 'question', 'Answer'"),
        (b'{"question": "x", "answer": ', "line 1 is no JSON"),
        (b'{"question": "x", "answer": null}', "line 1: 'answer' is to be a text or a number, not 'None'"),
        (b'{"question": " ", "answer": "1"}', "line 1: 'question' is to be a text or a number"),
        (b'{"question": "x", "answer": true}', "'answer' is to be a text or a number, not 'True'"),
        (b'{"question": "x", "answer": "so ####"}', "'answer' has no answer behind ####"),
        (b'["x"]', "item 1 is no object with a question and an answer"),
        (b"3\n", "line 1 is no object"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "is no UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "own.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Math(file=str(path)).tasks("file")
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("options", "split", "message"),
    [
        ({"file": "/nowhere/own.jsonl"}, "file", "math: /nowhere/own.jsonl cannot be read: No such file or directory"),
        ({"file": "/"}, "file", "math: / cannot be read: Is a directory"),
        ({}, "file", "math: the split `file` has the questions of -o options.file=FILE, and none is named"),
        ({"data": "/nowhere"}, "gsm8k", "math: no gsm8k_test.jsonl in /nowhere: `thread envs setup math` brings GSM8K"),
        (
            {"data": "/nowhere"},
            "math-500",
            "math: no math500.jsonl in /nowhere: `thread envs setup math` brings MATH-500",
        ),
    ],
)
def test_data_that_are_missing_are_said_in_one_line(options, split, message):
    with pytest.raises(UserError) as caught:
        Math(**options).tasks(split)
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message


def test_options_of_another_type_are_refused():
    with pytest.raises(UserError, match="option 'seconds' should be a valid number"):
        open_environment("math", {"seconds": "soon"})


@pytest.fixture
def mirror(task_data, tmp_path, monkeypatch):
    """A server of both sets, and an empty cache folder; the server's folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    rows = json.loads((task_data / "math" / "npr_math500.json").read_text())
    written(folder, *rows, name="math500.jsonl")
    (folder / "gsm8k_test.jsonl").write_bytes((task_data / "math" / "gsm8k_test.jsonl").read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("THREAD_MATH_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("THREAD_DATA", raising=False)
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_setup_brings_both_sets(mirror, tmp_path):
    told: list[str] = []
    assert Math.setup(told.append) == f"1319 questions of GSM8K and 500 of MATH-500 in {tmp_path / 'cache' / 'math'}"
    assert len(told) == 2
    assert len(Math().tasks("math-500")) == 500
    Math.setup(told.append)
    assert len(told) == 2


def test_setup_keeps_nothing_that_is_no_such_set(mirror, tmp_path):
    (mirror / "gsm8k_test.jsonl").write_text("<html>")
    with pytest.raises(UserError, match="is no JSON"):
        Math.setup(lambda _: None)
    (mirror / "gsm8k_test.jsonl").unlink()
    with pytest.raises(UserError, match="the server answers 404"):
        Math.setup(lambda _: None)
    assert [*(tmp_path / "cache" / "math").iterdir()] == []
