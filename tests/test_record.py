"""Logs: written line by line, read back byte for byte, replayed, compared."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.limits import Limits
from thread_cli.engine.executor import Executor
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role, ScriptedModel, load_script
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.record import RunFolder, first_difference, read_events
from thread_cli.record.lines import line_of, parse_event

NEW = {"limit", "used", "cap", "owner", "how", "policy"}
"""Fields that logs of earlier versions lack."""
SCRIPT = [
    Role(path="0", text="n = 2 + 0\nFirst, count to {n} =>\n> look =>\nprint(f'{m}')"),
    Role(path="0.0", text="m = n * 2\nprint('counted \x1b[31m é')"),
]


async def test_a_log_reads_back_to_the_same_events_byte_for_byte(play, tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run", "t", {"seed": 0, "nothing": None}, "Q")
    log = folder.log("a/b")
    played = await play(SCRIPT, sinks=[log])
    log.close()
    lines = folder.episode("a/b").read_bytes().splitlines(keepends=True)
    assert [line_of(parse_event(line)) for line in lines] == lines
    assert read_events(folder.episode(None)) == played.events


async def test_size_of_a_log_grows_linearly_with_the_run(play, tmp_path) -> None:
    async def size(steps: int) -> int:
        played = await play(lambda r: f"> step {r.y.count('<=')} =>" if r.y.count("<=") < steps else "print('x')")
        return sum(len(event.model_dump_json()) for event in played.events)

    small, large = await size(20), await size(80)
    assert large < 4.2 * small


async def test_a_replay_writes_the_same_events(play) -> None:
    first = await play(SCRIPT)
    again = await play(ReplayModel(first.events))
    assert first_difference(first.events, again.events) is None


async def test_a_recording_from_before_limits_were_told_is_compared_without_them(play) -> None:
    now = (await play(["> look =>", "> look again =>"], limits=Limits(calls=1))).events
    lines = [json.dumps({k: v for k, v in e.model_dump(mode="json").items() if k not in NEW}) for e in now]
    before = [parse_event(line) for line in lines]
    assert first_difference(before, now) is None
    assert first_difference(now, before) is None
    other = [e.model_copy(update={"owner": "0.0"}) if e.kind == "failed" else e for e in now]
    assert str(first_difference(other, now)) == "thread 0: recorded failed owner '0.0', now 'episode'"


async def test_a_replay_says_where_it_diverges(play) -> None:
    first = await play(SCRIPT)
    other = await play(ReplayModel(first.events), rules={"blank_line": False})
    assert other.episode.status is Status.model_error
    assert "diverges from its recording in thread 0, call 2" in other.episode.message
    assert str(first_difference(first.events, other.events)).startswith("thread 0: recorded joined text")
    end = first.events[-1].model_copy(update={"status": Status.cancelled})
    difference = first_difference([*first.events[:-1], end], first.events)
    assert str(difference) == "thread 0: recorded episode_ended status 'cancelled', now 'answered'"


async def test_a_torn_last_line_is_left_out_and_a_torn_line_before_it_is_not(play, tmp_path) -> None:
    played = await play(SCRIPT)
    path = tmp_path / "e.jsonl"
    text = "".join(event.model_dump_json() + "\n" for event in played.events)
    path.write_text(text[:-40])
    assert read_events(path) == played.events[:-1]
    path.write_text(text[:200] + text[240:])
    with pytest.raises(UserError, match=r"line \d is not an event"):
        read_events(path)


def test_tasks_with_long_names_have_files_of_their_own(tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run", "t", {}, "Q")
    one, other = "a/" * 400 + "1", "a/" * 400 + "2"
    for name in (one, other):
        folder.log(name).close()
    assert folder.episode(one) != folder.episode(other)


def test_nothing_recorded_is_overwritten(tmp_path) -> None:
    RunFolder.create(tmp_path / "run", "t", {}, "Q")
    with pytest.raises(UserError, match="already holds a run"):
        RunFolder.create(tmp_path / "run", "t", {}, "Q")


async def test_a_killed_run_loses_no_line_that_was_told(tmp_path) -> None:
    code = f"""
import asyncio, os, signal
from pathlib import Path
from thread_cli.engine.executor import Executor
from thread_cli.environments import Task
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.record import RunFolder
log = RunFolder.create(Path({str(tmp_path / "run")!r}), "t", {{}}, "Q").log("t")
def answer(request):
    if request.y.count("<=") == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"> step {{request.y.count('<=')}} =>"
executor = Executor(model=ScriptedModel(answer), prompt=Prompt("p", "Q", Rules()), interpreter=VariableInterpreter(), sinks=[log])
asyncio.run(executor.run(Task("t", "x")))
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    events = read_events(RunFolder.open(tmp_path / "run").episode(None))
    assert [event.kind for event in events].count("observed") == 5
    assert events[-1].kind == "generating"


def test_a_full_disk_is_one_line_and_exit_code_4(tmp_path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [
        sys.executable,
        "-m",
        "thread_cli",
        "run",
        "textcraft",
        "--model",
        "teacher",
        "--display",
        "none",
        "--log",
        str(tmp_path / "run"),
    ]
    full = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files, check=False)
    assert full.returncode == 4
    assert full.stderr.count("\n") == 1
    assert "the log cannot be written" in full.stderr


def test_runs_begun_in_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len({RunFolder.create(None, "t", {}, "Q").path for _ in range(5)}) == 5


def test_run_toml_holds_no_key(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    folder = RunFolder.create(tmp_path / "run", "t", {"model": {"spec": "openai:x", "price": None}}, "Q")
    text = (folder.path / "run.toml").read_text()
    assert "openai:x" in text
    assert "sk-secret" not in text


# --- scripts


async def test_a_plain_script_is_divided_by_dashes(play, tmp_path) -> None:
    path = tmp_path / "script.txt"
    path.write_text("First, go =>\n---\nprint('there')\n---\nprint('done')\n")
    played = await play(load_script(path))
    assert "=>there<=" in played.y("0")
    assert played.episode.answer == "done"


@pytest.mark.parametrize("text", ["[[thread]]\n", "thread = 1", "[[thread]]\ntext='x'\nother=1", "["])
def test_a_faulty_script_is_refused_in_one_line(tmp_path, text) -> None:
    path = tmp_path / "script.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_script(path)
    assert "\n" not in caught.value.message


async def test_a_script_that_ends_too_early_says_so(play) -> None:
    played = await play(["First, go =>"])
    assert played.episode.status is Status.model_error
    assert "the script ends after 1 answers" in played.episode.message


async def test_a_display_that_fails_does_not_lose_the_log(play, tmp_path, interpreter) -> None:
    folder = RunFolder.create(tmp_path / "run", "t", {}, "Q")
    log = folder.log("t")

    def broken(event: Any) -> None:
        if event.kind == "generated":
            raise RuntimeError("no screen")

    model = ScriptedModel(["print('x')"])
    executor = Executor(model=model, prompt=Prompt("p", "Q", Rules()), interpreter=interpreter, sinks=[log, broken])
    with pytest.raises(RuntimeError):
        await executor.run(Task("t", "x"))
    log.close()
    last = json.loads(folder.episode(None).read_text().splitlines()[-1])
    assert last["kind"] == "episode_ended"
    assert last["status"] == "engine_error"


async def test_a_line_leaves_out_what_reading_it_puts_back(play) -> None:
    played = await play(SCRIPT)
    for event in played.events:
        line = json.loads(line_of(event))
        assert ("parent" in line) == (event.kind == "thread_started")
        assert (
            not line.keys() & {"tokens", "writer", "segments", "waits", "opening", "reason"}
            or line["kind"] == "episode_ended"
        )
        assert parse_event(line_of(event)) == event
    line = b'{"episode":"1","n":0,"thread":7,"cause":null,"time":0,"kind":"generating"}'
    with pytest.raises(ValidationError, match="valid string"):
        parse_event(line)
