"""Trajectories: what the model was sent and wrote, as data to learn from; and what is kept out of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from later import Later
from processes import thread

from thread_cli import Config
from thread_cli import play as play_task
from thread_cli.bench.methods import method
from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status, UserError
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.protocols.prompt import load as load_prompt
from thread_cli.record.lines import parse_event
from thread_cli.train.collecting import Choice, collect
from thread_cli.train.flatten import flattened
from thread_cli.train.recordings import Recording, recordings
from thread_cli.train.reserved import Reserved
from thread_cli.train.trajectories import Segment, Trajectory, read, threads_of, write
from thread_envs.textcraft import TextCraft
from thread_envs.textcraft_teacher import TextCraftTeacher

RULES = {"phi": "last_line_after_comma"}


class Witness:
    """A model that keeps what it was asked and what was written."""

    def __init__(self, script: Any) -> None:
        self.inner = ScriptedModel(script)
        self.pairs: dict[str, list[tuple[str, str]]] = {}

    async def complete(self, request):
        written = await self.inner.complete(request)
        stop = request.stop[0] if written.stop == "listen" else request.stop[1]
        self.pairs.setdefault(request.thread, []).append((request.prompt, written.text + stop))
        return written

    async def close(self):
        await self.inner.close()


def recording(*, environment="none", prompt=None, how="thread", task="t") -> Recording:
    prompt = prompt or Prompt("test", "Q", Rules(**RULES))
    protocol = method(how).protocol(prompt) or prompt.protocol()
    return Recording(Path(), "run/t", environment, Task(task), how, prompt, protocol, Status.solved)


def pairs(trajectory: Trajectory) -> list[tuple[str, str]]:
    texts = [segment.text for segment in trajectory.segments]
    return [
        ("".join(texts[:place]), segment.text) for place, segment in enumerate(trajectory.segments) if segment.learned
    ]


def learned(trajectory: Trajectory | str) -> list[str]:
    assert isinstance(trajectory, Trajectory), trajectory
    return [segment.text for segment in trajectory.segments if segment.learned]


# --- trajectories of threads


async def test_pairs_are_what_the_model_was_sent_and_what_it_wrote(play) -> None:
    script = [
        Role(path="0", text="n = 2 + 0\nFirst, count to {n} =>\n> look =>\nprint(f'{m}')"),
        Role(path="0.0", text="m = n * 2\nThen, count on =>\nprint(m)"),
        Role(path="0.0.0", text="print('é {n}\\nand more')"),
    ]
    model = Witness(script)
    played = await play(model)
    told = threads_of(recording(), played.events, examples=True)
    assert {each.thread: pairs(each) for each in told} == model.pairs
    assert [each.thread for each in told] == ["0", "0.0", "0.0.0"]


async def test_what_a_thread_reads_of_children_in_the_background_is_read_and_not_learned(play) -> None:
    roles = [
        Role(path="0", text="start a|b =>\nx = 1\nany =>\nprint('end')"),
        Role(path="0.*", text="print('ok')"),
    ]
    model = Witness(roles)
    played = await play(model, protocol=Later())
    found = threads_of(replace(recording(), protocol=Later()), played.events, examples=True)
    assert {found.thread: pairs(found) for found in found} == model.pairs
    assert [segment.text for segment in found[0].segments if not segment.learned][1:] == [
        "\nDo it.\n",
        " 0 1\n",
        " 0:ok\n",
    ]


async def test_without_examples_a_trajectory_begins_with_its_context(play) -> None:
    played = await play(["print('x')"])
    (told,) = threads_of(recording(), played.events, examples=False)
    context = "\n\n\n\n\n\nPrompt:\nDo it.\n\n\nResponse:\n#START#\n"
    assert told.segments == (Segment(context, learned=False), Segment("print('x')#END#", learned=True))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["x = 1 / 0\n> look =>", "print('no')"], ["print('no')#END#"]),
        (["> look\n=>", "print('no')"], ["print('no')#END#"]),
        (["  =>", "print('no')"], ["print('no')#END#"]),
        (["> look =>", "print('no')"], ["> look =>", "print('no')#END#"]),
    ],
    ids=["error", "repaired", "malformed", "right"],
)
async def test_turns_that_were_corrected_or_repaired_are_read_but_not_learned(play, answers, expected) -> None:
    played = await play(answers)
    (told,) = threads_of(recording(), played.events, examples=True)
    assert learned(told) == expected
    assert "".join(segment.text for segment in told.segments).endswith(f"{played.y('0')}#END#")


async def test_threads_that_failed_are_left_out_and_their_parents_are_not(play) -> None:
    script = [Role(path="0", text="Ask, for it =>\nprint('it')"), Role(path="0.0", text="x = 1")]
    played = await play(script)
    told = threads_of(recording(), played.events, examples=True)
    assert learned(told[0]) == ["Ask, for it =>", "\nprint('it')#END#"]
    assert told[1:] == ["failed"]


async def test_a_trajectory_ends_where_the_model_wrote_last(tmp_path) -> None:
    config = Config.of(environment="textcraft", model="teacher", task="rest:0", log=tmp_path / "run")
    played = await play_task(config)
    (recorded,) = recordings(played.folder.path)
    main, child, *_ = threads_of(recorded, recorded.events(), examples=False)
    assert learned(main)[-1].endswith("{how} =>"), "the episode was over before the main thread was answered"
    assert learned(child)[-1].startswith("Round 1 of 1.\n> craft")
    assert all(each.segments[-1].learned for each in (main, child))
    assert (main.environment, main.task, main.category) == ("textcraft", "200", "depth 2")
    assert main.episode == child.episode == "run/200"


async def test_what_a_method_writes_is_not_learned(tmp_path) -> None:
    suite(tmp_path, [("rest", 1)])
    (tmp_path / "answers.txt").write_text("print('1. Get it')\n---\nprint('failed')")
    options = ["--method", "plan-and-execute", "--model", "scripted:answers.txt", "--display", "none", "--log", "run"]
    done = thread("bench", "suite.toml", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (recorded,) = recordings(tmp_path / "run")
    told = threads_of(recorded, recorded.events(), examples=False)
    assert told[0] == "led by its method"
    assert learned(told[1])[0].startswith("print('1. Get it')")


def test_what_a_method_wrote_in_an_older_log_is_not_learned() -> None:
    """Logs of then name no writer; the first line of such a thread says who wrote it (as 37b8329 recorded it)."""
    said = "This thread is led by its method, which writes it without the model."
    about = {"episode": "t", "parent": None, "cause": None, "time": 0.0}
    used = dict.fromkeys(("prompt_tokens", "cached_tokens", "repeated_tokens", "generated_tokens", "retries"), 0)
    wrote = {"kind": "generated", "cost": 0.0, "seconds": 0.0, "waited": 0.0, **used}
    lines = [
        {"kind": "thread_started", "thread": "0", "depth": 0, "context": "Do it."},
        {**wrote, "thread": "0", "text": f"{said}\n\nPlan: the task ", "stop": "listen"},
        {"kind": "thread_started", "thread": "0.0", "depth": 1, "context": "Do it.\nPlan: the task =>"},
        {**wrote, "thread": "0.0", "text": "print('a')\n", "stop": "end"},
    ]
    events = [parse_event(json.dumps({**about, "n": n, **line})) for n, line in enumerate(lines)]
    told = threads_of(recording(how="plan-and-execute"), events, examples=False)
    assert told[0] == "led by its method"
    assert learned(told[1]) == ["print('a')\n#END#"]


# --- files


def test_trajectories_are_read_as_they_were_written(tmp_path) -> None:
    given = [
        Trajectory(
            "e", "t", "", "run/k", "0.1", (Segment("é\u2028\x00\n", learned=False), Segment("=>", learned=True))
        ),
        Trajectory("e", "u", "c", "run/l", "0", ()),
    ]
    write(tmp_path / "data.jsonl", given)
    assert read(tmp_path / "data.jsonl") == given
    assert len((tmp_path / "data.jsonl").read_bytes().split(b"\n")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_files_that_are_no_trajectories_are_told_by_line(tmp_path) -> None:
    write(tmp_path / "data.jsonl", [Trajectory("e", "t", "", "run/k", "0", ())])
    with (tmp_path / "data.jsonl").open("a") as file:
        file.write('{"environment": 3}\n')
    with pytest.raises(UserError, match=r"data\.jsonl, line 2 is no trajectory"):
        read(tmp_path / "data.jsonl")
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "nothing.jsonl")
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "no" / "data.jsonl", [])


# --- test sets


@pytest.mark.parametrize(
    ("environment", "task", "suite_name"),
    [
        ("textcraft", Task("199", "craft x", "test"), "textcraft-200"),
        ("textcraft", Task("17", "craft x", "all"), "textcraft-200"),
        ("textcraft", Task("made-up:3", "craft chiseled polished blackstone", "made-up"), "textcraft-200"),
        ("textcraft", Task("200", "craft golden boots", "rest"), None),
        ("textcraft", Task("made-up:3", "craft blue zorb", "made-up"), None),
        ("alfworld", Task("pick_and_place/trial_T1", "put a pot in shelf", "valid_unseen"), "alfworld-unseen"),
        ("alfworld", Task("/data/json_2.1.1/valid_seen/pick/trial_T1/game.tw-pddl"), "alfworld-seen"),
        ("alfworld", Task("pick_and_place/trial_T1", "put a pot in shelf", "train"), None),
        ("alfworld", Task("7", "put a pot in shelf", "generated"), None),
        ("webshop", Task("fixed_99", "a chair", "all"), "webshop-100"),
        ("webshop", Task("fixed_100", "a chair", "rest"), None),
        ("dataqa/icu", Task("any", "?", "test"), "icu-160"),
        ("dataqa/icu", Task("any", "?", "dev"), None),
        ("dataqa/datacommons", Task("any", "?", "test"), "datacommons-140"),
        ("none", Task("text", "1 + 1", ""), None),
    ],
)
def test_test_sets_are_known_by_split_by_task_and_by_text(environment, task, suite_name) -> None:
    assert Reserved().suite(environment, task) == suite_name


async def test_a_run_on_a_test_task_is_refused_by_whatever_name_it_was_played(tmp_path) -> None:
    config = Config.of(environment="textcraft", model="teacher", task="all:3", log=tmp_path / "run")
    await play_task(config)
    done = thread("data", "run", "-o", "data.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "refused: 1 episodes of textcraft-200" in done.stderr
    assert "there is nothing to learn from" in done.stderr
    assert not (tmp_path / "data.jsonl").exists()


# --- the command


def suite(folder: Path, parts: list[tuple[str, int]]) -> None:
    tables = [f'[[parts]]\nenvironment = "textcraft"\nsplit = "{split}"\ntasks = {tasks}\n' for split, tasks in parts]
    (folder / "suite.toml").write_text("\n".join(tables))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bench run of four tasks of which one is of a test set, played by the teacher."""
    folder = tmp_path_factory.mktemp("bench")
    suite(folder, [("test", 1), ("rest", 3)])
    done = thread(*["bench", "suite.toml", "--model", "teacher", "--display", "none", "--log", "run"], cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_data_of_a_bench_run_is_told_and_written(bench, tmp_path) -> None:
    done = thread("data", str(bench), "-o", "data.jsonl", "--no-examples", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "refused: 1 episodes of textcraft-200" in done.stderr
    assert "left out: 1 episodes of a test set; " in done.stdout
    told = read(tmp_path / "data.jsonl")
    assert f"data.jsonl: {len(told)} trajectories of 3 tasks" in done.stdout
    assert {each.task for each in told} == {"200", "201", "202"}
    assert len({each.segments for each in told}) == len(told)


def test_data_is_the_same_every_time(bench, tmp_path) -> None:
    for name in "ab":
        write(tmp_path / name, collect([bench, bench], Choice()).trajectories)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_trajectories_that_are_the_same_are_kept_once(bench) -> None:
    once, twice = (collect([bench] * times, Choice()) for times in (1, 2))
    assert twice.trajectories == once.trajectories
    assert twice.threads.total() == 2 * once.threads.total()
    same = "the same as another"
    assert twice.left_out_threads[same] == once.left_out_threads[same] + once.threads.total()


def test_what_is_not_solved_ended_or_short_enough_is_left_out(bench, rewritten) -> None:
    ended = {"200": "failed", "201": "model_error"}
    run = rewritten(bench, lambda result: {"status": ended.get(result.task, "solved")})
    assert {each.task for each in collect([run], Choice()).trajectories} == {"202"}
    assert {each.task for each in collect([run], Choice(successes=False)).trajectories} == {"200", "202"}
    collected = collect([run], Choice(examples=False, max_tokens=200))
    assert collected.left_out_episodes == {"of a test set": 1, "not solved": 1, "infrastructure failed": 1}
    assert collected.left_out_threads["too long"] == 1, "the main thread, which is shown all commands"
    assert all(each.thread != "0" for each in collected.trajectories)
    for log in (run / "episodes").iterdir():
        if json.loads(log.read_text().split("\n")[0])["task"] == "202":
            log.unlink()
    assert collect([run], Choice()).left_out_episodes["not ended"] == 1


def test_the_same_tasks_are_held_out_of_every_run(bench, tmp_path) -> None:
    for name, more in (("a", []), ("b", ["--flatten"])):
        done = thread("data", str(bench), "-o", f"{name}.jsonl", "--held-out", "0.5", *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    tasks = {path.name: {each.task for each in read(path)} for path in tmp_path.glob("*.jsonl")}
    assert tasks["a.jsonl"] == tasks["b.jsonl"]
    assert tasks["a.held-out.jsonl"] == tasks["b.held-out.jsonl"]
    assert tasks["a.jsonl"] | tasks["a.held-out.jsonl"] == {"200", "201", "202"}
    assert not tasks["a.jsonl"] & tasks["a.held-out.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no run at nothing"),
        (["run", "--held-out", "1"], "--held-out is a share of tasks"),
        (["run", "-o", "."], ". is a folder: choose a file for --output"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message) -> None:
    done = thread("data", "-o", "data.jsonl", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_prompt_that_has_changed_since_is_taken_from_the_run(bench, rewritten) -> None:
    run = rewritten(bench, lambda result: {})
    plan = (run / "bench.toml").read_text()
    (text,) = (run / "prompts").iterdir()
    text.rename(text.with_stem("0123456789abcdef")).write_text("An older prompt. #START# #END#")
    (run / "bench.toml").write_text(plan.replace(text.stem, "0123456789abcdef"))
    assert collect([run], Choice()).trajectories[0].segments[0].text == "An older prompt. #START# #END#"
    (run / "prompts" / "0123456789abcdef.txt").write_text("One with [START] and [END].")
    with pytest.raises(UserError, match="had other tokens when the run was recorded"):
        collect([run], Choice())


def test_a_damaged_run_is_told(tmp_path) -> None:
    (tmp_path / "run.toml").write_text('created = "now"')
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(UserError, match=r"run\.toml does not tell how the run was made"):
        collect([tmp_path], Choice())


# --- flattening


async def flat(script, task="200") -> tuple[list[Trajectory | str], list[Any]]:
    from thread_cli.engine.executor import Executor
    from thread_cli.interpreters.variables import VariableInterpreter

    prompt = load_prompt(None, "textcraft")
    events: list[Any] = []
    interpreter = VariableInterpreter()
    executor = Executor(
        model=script, prompt=prompt, interpreter=interpreter, environment=TextCraft(), sinks=[events.append]
    )
    await executor.run(Task(task), "textcraft")
    await interpreter.close()
    recorded = recording(environment="textcraft", prompt=prompt, task=task)
    return flattened(recorded, events, examples=False), events


async def test_a_flat_episode_plays_the_same_actions_with_a_thought_for_each_thread() -> None:
    (told,), events = await flat(TextCraftTeacher())
    actions = [event.action for event in events if event.kind == "acted"]
    assert [text.rpartition("\n")[2] for text in learned(told)] == [f"> {action} =>" for action in actions]
    thoughts = [line for text in learned(told) for line in text.split("\n")[:-1]]
    contexts = [event.context for event in events if event.kind == "thread_started" and event.thread != "0"]
    assert thoughts == [context.removesuffix(" =>") for context in contexts]
    given = [segment.text for segment in told.segments if not segment.learned]
    observed = [event.text.removeprefix("=>") for event in events if event.kind == "observed"]
    assert given[1:] == observed[:-1], "after the last one the model is not asked again"
    assert "=>" not in "".join(thoughts)


async def test_a_flat_episode_can_be_played_by_the_method_react() -> None:
    (told,), _ = await flat(TextCraftTeacher())
    from thread_cli.engine.executor import Executor
    from thread_cli.interpreters.variables import VariableInterpreter

    prompt = load_prompt("react", "textcraft/methods")
    answers = [text.removesuffix("=>").removesuffix("#END#") for text in learned(told)]
    model = Witness(lambda request: answers[request.y.count("<=")] + "=>")
    interpreter = VariableInterpreter()
    executor = Executor(
        model=model,
        prompt=Prompt("react", "", prompt.rules),
        interpreter=interpreter,
        environment=TextCraft(),
        protocol=method("react").protocol(prompt),
    )
    episode = await executor.run(Task("200"), "textcraft")
    await interpreter.close()
    assert episode.status is Status.solved
    assert model.pairs == {"0": pairs(told)}


async def test_a_flat_episode_that_goes_on_ends_with_its_result() -> None:
    (told,), _ = await flat(
        ScriptedModel(["Look, at what is there =>", "> inventory =>", "print('1 x')", "print('no')"])
    )
    assert learned(told) == ["at what is there\n> inventory =>", "print('no')\n#END#"]


async def test_episodes_without_a_prompt_for_one_thread_are_not_flattened(play) -> None:
    played = await play(["print('x')"])
    with pytest.raises(UserError, match="it has no prompt for the method react"):
        flattened(recording(environment="elsewhere"), played.events, examples=True)
    with pytest.raises(UserError, match="what their code computes"):
        flattened(recording(environment="dataqa/icu"), played.events, examples=True)
    with pytest.raises(UserError, match="has other observations"):
        flattened(recording(environment="textcraft"), played.events, examples=True)


def test_the_file_is_json_lines(bench, tmp_path) -> None:
    write(tmp_path / "data.jsonl", collect([bench], Choice(examples=False)).trajectories)
    first = json.loads((tmp_path / "data.jsonl").read_text().split("\n")[0])
    assert list(first) == ["environment", "task", "category", "episode", "thread", "segments"]
    assert list(first["segments"][0]) == ["text", "learned"]
