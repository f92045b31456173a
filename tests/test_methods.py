"""Methods: what a model may do under each of them, in all environments."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from thread_cli.assembly.config import Config
from thread_cli.assembly.environments import open_environment
from thread_cli.assembly.playing import interpreter_for
from thread_cli.bench.methods import METHODS, method
from thread_cli.bench.methods.adapt import Adapt
from thread_cli.bench.methods.direct import Direct
from thread_cli.bench.methods.plan_and_execute import PlanAndExecute
from thread_cli.bench.methods.planning import steps_of
from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Request
from thread_cli.contracts.protocol import Act, End
from thread_cli.engine.executor import Executor
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import installed, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from thread_cli.contracts.events import Event
    from thread_cli.engine.episode import Episode

BASELINES = [name for name in METHODS if name not in {"thread", "self-consistency"}]
ENVIRONMENTS = [
    "none",
    "textcraft",
    "alfworld",
    "webshop",
    "dataqa/datacommons",
    "dataqa/icu",
    "countdown",
    "multiplication",
    "math",
]
BLOCK = re.compile(r"\n{6}Prompt:\n(.*?)\n{3}Response:\n#START#\n(.*?)#END#(?=\n{6}|\Z)", re.DOTALL)


@dataclass
class Played:
    episode: Episode
    events: list[Event] = field(default_factory=list)

    def of(self, kind: str, thread: str | None = None) -> list[Any]:
        return [event for event in self.events if event.kind == kind and thread in {None, event.thread}]

    @property
    def contexts(self) -> dict[str, str]:
        return {event.thread: event.context for event in self.of("thread_started")}


async def play(
    name: str,
    script: Any,
    environment_name: str = "none",
    *,
    index: int = 0,
    text: str = "Do it.",
    limits: Limits | None = None,
) -> Played:
    """An episode under a method, put together as the runner does it."""
    way, events = method(name), []
    spec = script if isinstance(script, str) else "scripted:x"
    config = Config.of(environment=environment_name, model=spec)
    environment = open_environment(environment_name, {})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(environment.close)
        tasks = environment.tasks(next(iter(environment.splits)))
        task = tasks[index] if tasks else Task("t", text)
        model = environment.teacher(task) if script == "teacher" else ScriptedModel(script)
        prompt = way.prompt(config, environment, task)
        interpreter = interpreter_for(config, environment, task)
        stack.push_async_callback(interpreter.close)
        executor = Executor(
            model=way.model(model),
            prompt=prompt,
            protocol=way.protocol(prompt),
            limits=way.limits(limits or Limits()),
            interpreter=interpreter,
            environment=environment,
            sinks=[events.append],
        )
        return Played(await executor.run(task, environment_name), events)


# --- all methods


def test_there_are_six_methods_and_no_others():
    assert list(METHODS) == ["thread", "react", "plan-and-execute", "adapt", "direct", "self-consistency"]
    assert all(METHODS[name].name == name for name in METHODS)
    with pytest.raises(UserError, match="no method 'lats'; there are thread, react"):
        method("lats")


def test_thread_has_the_prompt_and_the_format_of_thread_run():
    environment = open_environment("textcraft", {})
    task = environment.tasks("test")[0]
    config = Config.of(environment="textcraft", model="embedded:base", phi="last_line")
    prompt = method("thread").prompt(config, environment, task)
    assert prompt.name == "textcraft/default"
    assert prompt.rules.phi == "last_line"
    assert method("thread").protocol(prompt) is None
    assert method("thread").limits(Limits(depth=7)) == Limits(depth=7)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", BASELINES)
def test_every_example_of_a_prompt_is_what_its_method_lets_a_thread_write(name, environment):
    way = method(name)
    prompt = load(way.prompt_name, f"{environment}/methods")
    protocol = way.protocol(prompt)
    examples = BLOCK.findall(prompt.q)
    assert len(examples) == prompt.q.count("Prompt:\n") >= 3
    for context, written in examples:
        assert prompt.rules.phi != "line_and_task" or re.search(r"\n(Plan|Do): .+ =>\Z", context)
        y = ""
        for turn in re.split(r"(=>(?:.*?)<=\n\n)", written, flags=re.DOTALL):
            if turn.startswith("=>"):
                assert isinstance(protocol.read(y, "listen"), Act)
            y += turn
        assert isinstance(protocol.read(y.rstrip("\n"), "end"), End)
        assert not y.rstrip().endswith("<=")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_prompts_of_methods_are_no_prompts_of_the_environment(environment):
    known = {name for name, _ in installed(f"{environment}/methods")}
    assert known - {"specialist"} == {"react", "direct", "plan"}
    assert not {"react", "direct", "plan"} & {name for name, _ in installed(environment)}


def test_prompts_of_methods_may_come_from_another_distribution(tmp_path, monkeypatch):
    about = tmp_path / "others-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[thread_cli.prompts]\nhanoi/methods = hanoi_method_prompts\n")
    (tmp_path / "hanoi_method_prompts").mkdir()
    (tmp_path / "hanoi_method_prompts" / "react.jinja").write_text("+++\n+++\nMove disks, one at a time.\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    environment = open_environment("none", {})
    config = Config.of(environment="hanoi")
    assert method("react").prompt(config, environment, Task("t")).q == "Move disks, one at a time."
    with pytest.raises(UserError, match="no prompt for the method direct in hanoi"):
        method("direct").prompt(config, environment, Task("t"))


def test_a_plain_prompt_file_is_led_like_any_other(tmp_path):
    file = tmp_path / "plain.txt"
    file.write_text("Prompt:\nQuestion: a\nPlan: the task =>\n\n\nResponse:\n[START]\nprint('b')\n[END]\n")
    environment = open_environment("dataqa/icu", {})
    assert environment.rules["blank_line"] is False
    config = Config.of(environment="dataqa/icu", prompt=str(file))
    rules = method("adapt").prompt(config, environment, Task("test-0")).rules
    assert (rules.phi, rules.psi, rules.blank_line, rules.start) == ("line_and_task", "printed", True, "[START]")
    assert method("react").prompt(config, environment, Task("test-0")).rules.blank_line is False


@pytest.mark.parametrize("name", BASELINES)
def test_what_a_method_cannot_do_is_refused_in_one_line(name):
    environment = open_environment("textcraft", {})
    task = environment.tasks("test")[0]
    for settings, says in [
        ({"environment": "textcraft", "psi": "last_line"}, "has its own ϕ and ψ"),
        (
            {"environment": "textcraft", "model": "teacher"},
            "teachers play by the methods thread and self-consistency only",
        ),
        (
            {"environment": "textcraft", "model": "faulty:429=0.5+teacher"},
            "teachers play by the methods thread and self-consistency only",
        ),
        ({"environment": "hanoi", "model": "embedded"}, f"no prompt for the method {name} in hanoi"),
        (
            {"environment": "textcraft", "prompt": "small"},
            "installed for textcraft/methods: direct, plan, react, specialist",
        ),
    ]:
        with pytest.raises(UserError, match=re.escape(says)) as caught:
            method(name).prompt(Config.of(**settings), environment, task)
        assert "\n" not in caught.value.message


def test_methods_only_ever_lower_depth():
    for way in METHODS.values():
        limits = way.limits(Limits(depth=0, calls=3, repeats=20))
        assert limits == Limits(depth=0, calls=3, repeats=20)
        assert (
            way.limits(Limits()).depth
            == {"thread": 16, "react": 0, "plan-and-execute": 1, "adapt": 4, "direct": 0, "self-consistency": 16}[
                way.name
            ]
        )


# --- all environments


def in_one_thread(name: str, actions: list[str], answer: str) -> Callable[[Request], str]:
    """Carries out actions as a model would under a method: at once, or in the two steps of a plan."""
    half = len(actions) // 2

    def lines(chosen: list[str], request: Request) -> str:
        done = request.y.count("<=\n\n")
        end = answer if name == "direct" else f"print({answer!r})\n"
        return f"> {chosen[done]} =>" if done < len(chosen) else end

    def write(request: Request) -> str:
        context = request.c.rpartition("\n\n\nResponse:")[0]
        last = context.rpartition("\n")[2]
        if name in {"react", "direct"}:
            return lines(actions, request)
        if last == "Do: the task =>":
            return "print('failed: it is too much at once')\n#END#"
        if last == "Plan: the task =>":
            return "Two halves.\nprint('''1. the first half\n2. the second half''')\n#END#"
        if last == "Do: the first half =>":
            return lines(actions[:half], request)
        assert last == "Do: the second half =>"
        assert re.search(r"^Step 1 done: the first half: ", context, re.MULTILINE)
        return lines(actions[half:], request)

    return write


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("environment", ["textcraft", "alfworld", "webshop"])
async def test_each_method_solves_a_task_with_the_actions_of_the_teacher(environment, name):
    taught = await play("thread", "teacher", environment)
    actions = [event.action for event in taught.of("acted")]
    played = await play(name, in_one_thread(name, actions, "done"), environment)
    assert played.episode.status is Status.solved
    assert [event.action for event in played.of("acted")] == actions
    assert len(played.contexts) == {"react": 1, "direct": 1, "plan-and-execute": 4, "adapt": 7}[name]


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("environment", ["dataqa/datacommons", "dataqa/icu"])
async def test_each_method_answers_a_question_with_python(environment, name):
    opened = open_environment(environment, {})
    truth = opened.tasks("test")[0].data["answer"]
    actions = ["known = 6; print(known)", "print(known * 7)"]
    played = await play(name, in_one_thread(name, actions, f"Final Answer: {truth}"), environment)
    assert played.episode.status is Status.solved
    assert [event.observation for event in played.of("observed")] == ["6", "42"]
    assert played.episode.marks["strict"] == 1.0


@pytest.mark.parametrize("name", BASELINES)
async def test_each_method_answers_where_there_is_nothing_to_act_on(name):
    played = await play(name, in_one_thread(name, [], "42"))
    assert played.episode.status is Status.answered
    assert played.episode.answer == "42"


# --- react


async def test_a_thread_alone_may_take_the_same_step_ten_times():
    played = await play("react", [*["> get 1 oak logs =>"] * 12], "textcraft")
    assert len(played.of("observed")) == 10
    assert "11. time" in played.episode.message


async def test_one_thread_is_told_that_it_cannot_spawn():
    played = await play("react", ["First, ask somebody else =>", "print('7')"])
    assert played.episode.answer == "7"
    assert [event.text for event in played.of("corrected")] == [
        "=>error: there is no other thread to ask: act with a line that begins with >, or end<=\n\n"
    ]
    assert list(played.contexts) == ["0"]


# --- direct


async def test_acting_directly_leaves_no_line_to_reason_in():
    played = await play("direct", ["I think that\n> get 1 oak logs =>"], "textcraft")
    assert played.episode.status is Status.failed
    assert not played.of("acted")
    assert played.episode.answer == "I think that"


async def test_a_line_that_breaks_acts_as_one_that_listens():
    played = await play("direct", ["> get 1 oak logs\nand more", "> get 2 oak logs =>", "done"], "textcraft")
    assert [event.observation for event in played.of("observed")] == ["Got 1 oak logs", "Got 2 oak logs"]


async def test_blank_lines_before_a_line_are_passed_over_and_all_tokens_counted():
    asked: list[str] = []

    def write(request: Request) -> str:
        asked.append(request.y)
        return ["\n", " \n", "> get 1 oak logs =>", "done"][len(asked) - 1]

    played = await play("direct", write, "textcraft")
    assert asked == ["", "\n", "\n \n", "\n \n> get 1 oak logs =>Got 1 oak logs.<=\n\n"]
    generated = played.of("generated")
    assert [event.text for event in generated] == ["\n \n> get 1 oak logs ", "done"]
    assert generated[0].prompt_tokens > 2.9 * (generated[1].prompt_tokens - 10)
    assert not played.of("corrected")
    assert played.episode.answer == "done"


async def test_nothing_but_blank_lines_is_answered_and_for_long_ends_the_thread():
    played = await play("direct", [*["\n"] * 4, "7"])
    assert "the line is empty" in played.of("corrected")[0].text
    assert played.episode.answer == "7"
    assert (await play("direct", ["\n"] * 44)).episode.message.startswith("repetition")


async def test_code_in_an_answer_is_not_run():
    played = await play("direct", ["print(6 * 7)"])
    assert played.episode.answer == "print(6 * 7)"
    assert not played.of("code_ran")


# --- plan and execute


PLAN_OF_THREE = "print('''1. find a\n2) find b\n- add them''')\n"


async def test_a_plan_is_carried_out_in_order_by_a_thread_for_each_step():
    played = await play(
        "plan-and-execute", [PLAN_OF_THREE, "a = 3\nprint(a)", "b = 4\nprint(b)", "print(a + b)"], text="Add a and b."
    )
    assert played.episode.answer == "7"
    assert played.contexts == {
        "0": "Add a and b.",
        "0.0": "Add a and b.\nPlan: the task =>",
        "0.1": "Add a and b.\nDo: find a =>",
        "0.2": "Add a and b.\nStep 1 done: find a: 3\nDo: find b =>",
        "0.3": "Add a and b.\nStep 1 done: find a: 3\nStep 2 done: find b: 4\nDo: add them =>",
    }
    kinds = [(e.kind, e.thread) for e in played.events if e.kind in {"thread_started", "thread_ended"}]
    assert kinds[3:7] == [
        ("thread_started", "0.1"),
        ("thread_ended", "0.1"),
        ("thread_started", "0.2"),
        ("thread_ended", "0.2"),
    ]


async def test_the_methods_own_turns_cost_calls_but_no_tokens():
    played = await play("plan-and-execute", [PLAN_OF_THREE, *["print(1)"] * 3])
    own = played.of("generated", "0")
    assert (len(own), played.episode.totals.calls) == (5, 9)
    assert all((e.prompt_tokens, e.generated_tokens, e.cost) == (0, 0, 0.0) for e in own)
    written = [e for e in played.of("generated") if e.thread != "0"]
    assert played.episode.totals.generated_tokens == sum(e.generated_tokens for e in written) > 0
    assert played.episode.totals.token_latency == played.episode.totals.generated_tokens


async def test_what_the_last_step_returned_is_the_answer_though_it_overran_a_limit():
    steps = [PLAN_OF_THREE, "a = 3\nprint(a)", "b = 4\nprint(b)", "print(a + b)"]
    whole = (await play("plan-and-execute", steps)).episode.totals
    for limits, says in (
        (Limits(calls=whole.calls - 1), "the limit of 8 model calls is reached"),
        (Limits(total_tokens=whole.prompt_tokens + whole.generated_tokens - 1), "tokens is reached"),
    ):
        episode = (await play("plan-and-execute", steps, limits=limits)).episode
        assert (episode.status, episode.answer) == (Status.answered, "7")
        assert episode.message.endswith(says)


async def test_a_plan_that_is_not_done_ends_with_the_limit_that_was_reached():
    steps = [PLAN_OF_THREE, "a = 3\nprint(a)", "b = 4\nprint(b)", "print(a + b)"]
    for calls in range(2, 7):
        played = await play("plan-and-execute", steps, limits=Limits(calls=calls))
        assert (played.episode.status, played.episode.answer) == (Status.limited, "")
        assert played.episode.message == f"the limit of {calls} model calls is reached"
        assert len(played.contexts) == calls // 2 + 2  # the last of them was refused its first call


async def test_an_executor_can_neither_plan_nor_ask():
    script = [PLAN_OF_THREE, "Plan: it again =>", "print(3)", "print(4)", "print(7)"]
    played = await play("plan-and-execute", script)
    assert len(played.of("corrected", "0.1")) == 1
    assert played.episode.totals.depth == 1
    assert played.episode.answer == "7"


@pytest.mark.parametrize("answer", ["nothing at all", "print('failed: no idea')", "print('''\n\n''')"])
async def test_without_a_plan_nothing_is_carried_out(answer):
    played = await play("plan-and-execute", [answer])
    assert set(played.contexts) == {"0", "0.0"}
    assert played.episode.status is Status.answered


async def test_steps_and_results_are_text_and_nothing_else():
    plan = "print('> get {task} and {nothing}\\nx = 1/0\\nask them =' + '>')\n"
    played = await play("plan-and-execute", [plan, "print('y = 2/0')", "print('{no_such}')", "print('the end')"])
    assert played.contexts["0.1"].endswith("\nDo: > get (task) and (nothing) =>")
    assert played.contexts["0.3"].endswith(
        "\nStep 1 done: > get (task) and (nothing): y = 2/0\nStep 2 done: x = 1/0: (no_such)\nDo: ask them -> =>"
    )
    assert [event.code for event in played.of("code_ran", "0")] == ["print('the end')"]
    assert played.episode.answer == "the end"


async def test_an_answer_that_reads_like_the_format_is_an_answer_like_any_other():
    played = await play("plan-and-execute", ["print('a<' + '=\\n\\nb')", "print(1)", "print(2)"])
    assert [context.rpartition("\n")[2] for context in played.contexts.values()][2:] == ["Do: a<= =>", "Do: b =>"]
    assert played.episode.answer == "2"


async def test_the_log_tells_what_the_method_wrote():
    played = await play("plan-and-execute", [PLAN_OF_THREE, *["print(1)"] * 3])
    assert {event.thread for event in played.of("generated") if event.writer == "plan-and-execute"} == {"0"}
    assert {event.writer for event in played.of("generated") if event.thread != "0"} == {""}
    assert [event.text for event in played.of("generated", "0")][1:4] == ["Do: find a ", "Do: find b ", "Do: add them "]


def test_numbers_and_bullets_are_no_part_of_a_step():
    plan = "1. go to 2 desks\n\nStep 2: take it\n3) use 1 lamp\n- rest\n* end\n10: stop\n4 planks are crafted"
    assert steps_of(plan) == ["go to 2 desks", "take it", "use 1 lamp", "rest", "end", "stop", "4 planks are crafted"]


# --- adapt


def roles(answers: dict[str, str]) -> Callable[[Request], str]:
    """Answers by what the last line of the context asks for."""

    def write(request: Request) -> str:
        last = request.c.rpartition("\n\n\nResponse:")[0].rpartition("\n")[2].removesuffix(" =>")
        return answers[last]

    return write


async def test_what_can_be_done_as_a_whole_is_not_taken_apart():
    played = await play("adapt", roles({"Do: the task": "print(7)"}))
    assert played.episode.answer == "7"
    assert played.contexts == {"0": "Do it.", "0.0": "Do it.\nDo: the task =>"}


async def test_only_the_step_that_fails_is_taken_apart_further():
    answers = {
        "Do: the task": "print('failed: too much')",
        "Plan: the task": "print('''one\ntwo''')",
        "Do: one": "print('1')",
        "Do: two": "print('Failed: too hard')",
        "Plan: two": "print('''half\nother half''')",
        "Do: half": "print('half of 2')",
        "Do: other half": "print('7')",
    }
    played = await play("adapt", roles(answers))
    assert played.episode.answer == "7"
    assert played.contexts["0.3"] == "Do it.\nStep 1 done: one: 1\nStep: two =>"
    assert played.contexts["0.3.1"] == "Do it.\nStep 1 done: one: 1\nPlan: two =>"
    assert played.contexts["0.3.3.0"] == (
        "Do it.\nStep 1 done: one: 1\nStep 2 done: half: half of 2\nDo: other half =>"
    )
    assert len(played.contexts) == 12
    assert {e.thread for e in played.of("generated") if e.writer == "adapt"} == {"0", "0.2", "0.3", "0.3.2", "0.3.3"}


async def test_a_step_that_fails_fails_what_it_is_a_step_of():
    answers = {
        "Do: the task": "print('failed')",
        "Plan: the task": "print('''one\ntwo''')",
        "Do: one": "print('failed: never')",
        "Plan: one": "print('failed: no idea')",
    }
    played = await play("adapt", roles(answers))
    assert played.episode.answer == "failed: never"
    assert "two" not in "".join(played.contexts.values()).replace("Plan", "")


async def test_a_step_that_looks_like_one_of_the_methods_own_is_the_models():
    answers = {
        "Do: the task": "print('failed')",
        "Plan: the task": "print('Step: by step')",
        "Do: Step: by step": "print('failed')",
        "Plan: Step: by step": "print('failed')",
    }
    played = await play("adapt", roles(answers))
    assert played.contexts["0.2.0"] == "Do it.\nDo: Step: by step =>"
    assert played.of("generated", "0.2.0")[0].writer == ""


async def test_a_thread_that_the_engine_ends_counts_as_failed():
    answers = {"Do: the task": "I want to ask =>", "Plan: the task": "print('one')", "Do: one": "print('7')"}
    played = await play("adapt", roles(answers))
    assert played.of("failed", "0.0")[0].failure == "repetition"
    assert len(played.of("corrected", "0.0")) == 10
    assert played.episode.answer == "7"


async def test_tasks_are_taken_apart_three_times_at_most():
    def write(request: Request) -> str:
        last = request.c.rpartition("\n\n\nResponse:")[0].rpartition("\n")[2].removesuffix(" =>")
        return f"print('{last[6:]} of it')" if last.startswith("Plan: ") else "print('failed')"

    played = await play("adapt", write)
    assert played.episode.totals.depth == 4
    assert sum("\nPlan: " in context for context in played.contexts.values()) == 3
    assert played.episode.answer == "failed"


async def test_a_model_behind_a_method_stays_open():
    class Model(ScriptedModel):
        closed = False

        async def close(self) -> None:
            self.closed = True

    for way in (PlanAndExecute(), Adapt(), Direct()):
        model = Model(["x"])
        await way.model(model).close()
        assert not model.closed
