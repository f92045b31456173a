"""`--max-parallel auto`: as many threads at once as the model has room for, and as pay by its measured speeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import thread
from servers import Server, completion

from thread_cli.assembly.width import GAIN, fitted, paying
from thread_cli.contracts.model import Profile, Request
from thread_cli.models.limiter import Limiter
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.retry import Retrying
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import Prompt, Rules, load

PROMPT = Prompt("p", "Q", Rules())


async def width_for(model: Any) -> int | None:
    return (await fitted("auto", model, PROMPT))[1]


def prompt_of(tmp_path: Path, text: str) -> Prompt:
    (tmp_path / "asking.jinja").write_text(f"+++\n+++\n{text}")
    return load(str(tmp_path / "asking.jinja"), "none")


async def test_a_prompt_may_ask_for_the_profile_as_text(tmp_path) -> None:
    class Measured(ScriptedModel):
        async def profile(self) -> Profile:
            return Profile(16, {1: 10.04, 2: 18, 4: 31.0, 8: 33})

    asking = prompt_of(tmp_path, "Up to {{ parallel.width }} threads ({{ parallel.profile }}).")
    assert asking.asks_for_width
    profile = "1: 10 tokens per second, 2: 18 tokens per second, 4: 31 tokens per second, 8: 33 tokens per second"
    for wanted, told, permits in ((None, 4, None), ("auto", 4, 4), (7, 7, 7)):
        prompt, width = await fitted(wanted, Measured([]), asking)
        assert prompt.q == f"Up to {told} threads ({profile})."
        assert width == permits
    prompt, width = await fitted(None, ScriptedModel([]), asking)
    assert (prompt.q, width) == ("Up to any number threads (not measured).", None)
    assert not prompt_of(tmp_path, "Many threads.").asks_for_width


def test_the_run_records_the_prompt_as_the_model_read_it(tmp_path) -> None:
    (tmp_path / "asking.jinja").write_text("+++\n+++\nSpawn {{ parallel.width }} threads.")
    script = tmp_path / "script.txt"
    script.write_text("print('hello')")
    options = ("--prompt", "asking.jinja", "--max-parallel", "3", "--log", "run")
    ran = thread("run", "none", "Say.", "--model", f"scripted:{script}", *options, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "run/prompt.txt").read_text() == "Spawn 3 threads."


@pytest.mark.parametrize(
    ("free", "speeds", "width"),
    [
        (16, {}, 16),
        (16, {1: 10, 2: 19, 4: 34, 8: 50, 16: 54}, 8),
        (16, {1: 10, 2: 19, 4: 34, 8: 50, 16: 55.1}, 16),
        (3, {1: 10, 2: 19, 4: 34, 8: 50, 16: 54}, 3),
        (64, {1: 10, 2: 10, 4: 9}, 1),
        (64, {1: 10, 2: 9, 4: 20, 8: 12}, 4),
    ],
)
def test_the_smallest_width_is_chosen_beyond_which_little_is_gained(free, speeds, width) -> None:
    assert GAIN == 0.1
    assert paying(Profile(free, speeds)) == width


async def test_a_model_that_tells_nothing_has_room_for_any_number() -> None:
    assert await width_for(ScriptedModel(["x"])) is None


SLOTS = [{"id": number, "is_processing": number < 3} for number in range(8)]


@pytest.mark.parametrize(
    ("answers", "width"),
    [
        ({"/slots": SLOTS}, 5),
        ({"/slots": [{"id": 0, "is_processing": True}]}, 1),
        ({"/slots": {"error": "off"}, "/props": {"total_slots": 4}}, 4),
        ({"/props": {"total_slots": 4}}, 4),
        ({"/props": {"total_slots": "many"}}, 16),
        ({}, 16),
    ],
)
async def test_a_server_is_asked_for_its_slots(answers, width) -> None:
    with Server(lambda _: completion("a"), answers) as server:
        model = OpenAIModel("m", server.url)
        assert (await model.profile()).free == width
        limiter = Limiter(initial=4)
        retrying = Retrying(model, limiter=limiter)
        assert await width_for(retrying) == min(width, 4)
        async with limiter.permit():
            assert await width_for(retrying) == min(width, 3)
        await retrying.close()


async def test_a_model_behind_retries_that_tells_nothing_has_room_for_one() -> None:
    assert await width_for(Retrying(ScriptedModel(["x"]))) == 1


# --- local models


async def test_a_local_model_is_measured_once_and_writes_the_same_afterwards(
    embedded_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path))
    request = Request(q="Count: ", c="1 2 3 ", y="", stop=(), max_tokens=8, thread="0")
    model = LlamaModel(LlamaOptions(embedded_model, context=2048))
    try:
        profile = await model.profile()
        assert profile.free == 2048 // 256
        sizes = [1, 2, 4, 8, 16, 32, 64]  # on a busy machine, measuring ends early
        assert [*profile.speeds] == sizes[: max(1, len(profile.speeds))]
        assert all(speed > 0 for speed in profile.speeds.values())
        assert 1 <= (await width_for(model) or 0) <= 8
        measured = await model.complete(request)
    finally:
        await model.close()
    (file,) = (tmp_path / "widths").iterdir()
    kept = json.loads(file.read_text())
    assert kept["model"] == embedded_model.name
    assert {int(size): speed for size, speed in kept["speeds"].items()} == profile.speeds
    kept["speeds"] = {"1": 1.0, "2": 2.0}
    file.write_text(json.dumps(kept))
    other = LlamaModel(LlamaOptions(embedded_model, context=2048))
    try:
        assert (await other.complete(request)).text == measured.text
        assert (await other.profile()).speeds == {1: 1.0, 2: 2.0}
    finally:
        await other.close()


async def test_a_model_at_work_is_not_measured(embedded_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("THREAD_CACHE", str(tmp_path))
    model = LlamaModel(LlamaOptions(embedded_model, context=2048))
    try:
        await model.complete(Request(q="a ", c="b ", y="", stop=(), max_tokens=2, thread="0"))
        assert (await model.profile()).speeds == {}
    finally:
        await model.close()
    assert not (tmp_path / "widths").exists()


def test_the_command_line_takes_auto(tmp_path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("print('hello')")
    ran = thread("run", "none", "Say.", "--model", f"scripted:{script}", "--max-parallel", "auto", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
