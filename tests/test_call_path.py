"""The way from `thread run` to the model's backend is short and goes down the house, counted in a real process.

A *room* is a folder of `thread_cli`, or a module beside the folders. A file is *entered* when a function in it is
called (`tracing.py` says what a call is). It is *left for another room* when, while one of its functions is at work, a
file of another room is entered. It is entered *again* when after that a file of another room calls into it; that a
call returns, or that an `async with` is gone on with, is not entering.

The way ends with the first call of the backend, which is not counted; nor are the files of its own room that a model
is loaded by. What a sink does with an event is not on the way either: displays and logs are called back by the
contract `Sink`, as often as something happens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import thread
from test_arrows import FLOOR

SCRIPT = '[[thread]]\ntext = "print(6 * 7)"\n'
MODELS = {"scripted:s.toml": "models/scripted.py", "embedded": "models/llama/"}
"""Models, and where the files of their backends are."""


@pytest.fixture(scope="module", params=[(model, display) for model in MODELS for display in ("none", "plain")])
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """For each call on the way, the file entered, and the files that wait for it, the nearest first."""
    model, display = request.param
    if model == "embedded":
        pytest.importorskip("llama_cpp")
    folder = tmp_path_factory.mktemp("way")
    (folder / "s.toml").write_text(SCRIPT)
    arguments = ["run", "textcraft", "--model", model, "--display", display, "--log"]
    if model == "embedded":  # its file is made, and the processor tried, only once: not by the run that is traced
        assert thread(*arguments, "first", "--max-tokens", "1", cwd=folder).returncode in {0, 1}
    ran = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("tracing.py")), "calls", *arguments, "run"],
        cwd=folder,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    *calls, arrival = map(json.loads, (folder / "calls").read_text().splitlines())
    assert arrival[0][0].startswith(MODELS[model])
    return [
        [file for file, _ in call]
        for call in calls
        if not call[0][0].startswith(MODELS[model]) and not any(map(is_sink, call, call[1:]))
    ]


def is_sink(called: list[str], caller: list[str]) -> bool:
    return caller == ["engine/episode.py", "Recorder.emit"] and called[1].endswith(".__call__")


def room(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def test_the_way_is_as_short_as_the_documentation_says(way, request) -> None:
    model, display = request.node.callspec.params["way"]
    told = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text("utf-8")
    (row,) = [line for line in told.splitlines() if line.startswith(f"| `--display {display}` |")]
    columns = dict(zip(MODELS, map(int, row.split("|")[2:4]), strict=True))
    files = list(dict.fromkeys(file for file, *_ in way))
    assert len(files) == columns[model], files
    assert len(files) < 38


def test_no_file_is_entered_again_after_it_was_left_for_another_room(way) -> None:
    left: set[str] = set()
    again: list[tuple[str, str]] = []
    for file, *waiting in way:
        if waiting and room(waiting[0]) != room(file):
            again += [(waiting[0], file)] * (file in left)
            left |= {*waiting} - {file}
    assert again == []


def test_all_calls_go_down_the_house_or_stay_on_their_floor(way) -> None:
    steps = {(waiting[0], file) for file, *waiting in way if waiting}
    assert [step for step in sorted(steps) if FLOOR[room(step[0])] < FLOOR[room(step[1])]] == []
