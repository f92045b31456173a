"""The export of a timeline as a trace: its rules, its size, and what speedscope reads in it."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from processes import thread as thread_command
from steps import fork, made

from thread_cli.display import export_trace
from thread_cli.record import read_events

LOGS = Path(__file__).parent / "logs"
FILES = sorted(LOGS.rglob("*.jsonl"))
PACKAGE = Path(os.environ.get("THREAD_SPEEDSCOPE", Path(__file__).parents[1] / "build/npm/node_modules/speedscope"))
NESTED = (
    *("0 [", "0 (", "0 .", "0 + 100", "0 < 0.0 0.1", "0.0 (", "0.1 (", "0.0 .", "0.0 + 90", "0.1 .", "0.1 + 10"),
    *(*fork("0.1", 30, 60), "0.1 !", "0.1 ^", "0.1 )", "0.0 )", "0 & 0.0 0.1", "0 .", "0 + 7", "0 )"),
)


def exported(events: list[Any], folder: Path) -> list[dict[str, Any]]:
    export_trace(events, folder / "trace.json")
    return json.loads((folder / "trace.json").read_bytes())["traceEvents"]


def of(trace: list[dict[str, Any]], phase: str) -> list[dict[str, Any]]:
    return [event for event in trace if event["ph"] == phase]


def test_each_thread_is_a_thread_of_the_trace_in_the_order_of_the_tree(tmp_path) -> None:
    trace = exported(made(*NESTED), tmp_path)
    names = {event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    assert [name.split()[0] for _, name in sorted(names.items())] == ["0", "0.0", "0.1", "0.1.0", "0.1.1"]
    lives = {event["args"]["path"]: event for event in of(trace, "X") if event["cat"] == "thread"}
    assert lives["0.1"]["args"]["subtree_generated_tokens"] == 100
    assert (lives["0.0"]["ts"], lives["0.0"]["dur"]) == (5_000_000, 19_000_000)
    calls = [event for event in of(trace, "X") if event["name"] == "model call" and event["tid"] == 1]
    assert [event["args"]["generated_tokens"] for event in calls] == [100, 7]


@pytest.mark.parametrize("events", [made(*NESTED), made(*NESTED, spacing=1e-6)], ids=["seconds", "microseconds"])
def test_arrows_lead_from_spawns_and_to_joins_and_stand_on_slices(events: list[Any], tmp_path) -> None:
    _arrows_stand(exported(events, tmp_path), arrows=8)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parts[-2]}/{file.stem}")
def test_slices_of_older_logs_nest_and_arrows_stand_on_them(file: Path, tmp_path) -> None:
    events = read_events(file)
    trace = exported(events, tmp_path)
    _arrows_stand(trace)
    by_thread = defaultdict(list)
    for event in of(trace, "X"):
        by_thread[event["tid"]].append(event)
    for life, *parts in by_thread.values():
        assert life["cat"] == "thread"
        at = life["ts"]
        for part in parts:
            assert at <= part["ts"] <= part["ts"] + part["dur"] <= life["ts"] + life["dur"]
            at = part["ts"] + part["dur"]


def _arrows_stand(trace: list[dict[str, Any]], arrows: int | None = None) -> None:
    lives = {event["tid"]: event for event in of(trace, "X") if event["cat"] == "thread"}
    starts, ends = ({event["id"]: event for event in of(trace, phase)} for phase in "sf")
    assert starts.keys() == ends.keys()
    assert arrows in {None, len(starts)}
    for number, start in starts.items():
        end = ends[number]
        assert (start["name"], start["cat"], end["bp"]) == (end["name"], end["cat"], "e")
        assert start["ts"] <= end["ts"]
        for each in (start, end):
            life = lives[each["tid"]]
            assert life["ts"] <= each["ts"] < life["ts"] + max(life["dur"], 1)


def test_a_counter_tells_how_many_calls_are_under_way(tmp_path) -> None:
    counts = [
        event["args"]["under way"] for event in of(exported(made("0 (", *fork("0", 1, 2, 3), "0 )"), tmp_path), "C")
    ]
    assert counts == [1, 2, 3, 2, 1, 0]


def test_text_of_a_model_is_text_in_a_trace(tmp_path) -> None:
    events = made("0 (", "0 )")
    hostile = events[0].model_copy(update={"context": '"},{"ph":"X\x1b[31m\u202e \ud83d' + "x" * 100_000})
    trace = exported([hostile, events[1]], tmp_path)
    (name,) = [event["args"]["name"] for event in trace if event["name"] == "thread_name"]
    assert name.startswith('0 "},{"ph":"X')
    assert len(name) < 100


def many(threads: int) -> list[Any]:
    return made("0 [", "0 (", "0 .", "0 + 5", *fork("0", *range(threads)), "0 )", spacing=0.001)


def test_a_trace_of_ten_thousand_threads_grows_with_their_number(tmp_path) -> None:
    seconds, sizes = [], []
    for threads in (1_000, 10_000):
        events = many(threads)
        began = time.process_time()
        export_trace(events, tmp_path / "trace.json")
        seconds.append(time.process_time() - began)
        sizes.append((tmp_path / "trace.json").stat().st_size)
    assert sizes[1] < 10.5 * sizes[0]
    assert seconds[1] < 30 * seconds[0]
    assert sizes[1] < 10_000 * 1_500


def test_the_command_writes_a_trace_and_says_where_it_cannot(tmp_path) -> None:
    run = str(LOGS / "teacher-textcraft")
    assert thread_command("show", run, "--trace", "trace.json", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "trace.json").read_bytes())["otherData"]["environment"] == "textcraft"
    refused = thread_command("show", run, "--trace", "nowhere/trace.json", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("thread: the trace cannot be written: nowhere/trace.json: ")
    for folder in ("", "."):
        refused = thread_command("show", run, "--trace", folder, cwd=tmp_path)
        assert (refused.returncode, "is a folder" in refused.stderr) == (2, True)


def test_speedscope_reads_the_slices_of_every_thread(browser, tmp_path) -> None:
    """Speedscope is npm's; it runs in a browser, and is asked to save what it has read in its own format."""
    index = PACKAGE / "dist/release/index.html"
    if not index.is_file():
        pytest.skip("speedscope is not installed: npm install --prefix build/npm speedscope")
    export_trace(made(*NESTED), tmp_path / "trace.json")
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(f"file://{index.resolve()}")
    page.set_input_files("input[type=file]", tmp_path / "trace.json")
    with page.expect_download() as download:
        page.get_by_text("Export").click()
    download.value.save_as(tmp_path / "read.json")
    page.close()
    assert complaints == []
    read = json.loads((tmp_path / "read.json").read_bytes())
    frames = [frame["name"] for frame in read["shared"]["frames"]]
    profiles = {profile["name"]: profile for profile in read["profiles"]}
    assert [name.split(", ")[1].split()[0] for name in profiles] == ["0", "0.0", "0.1", "0.1.0", "0.1.1"]
    main = next(profile for name, profile in profiles.items() if ", 0 do 0" in name)
    assert main["unit"] == "microseconds"
    assert main["endValue"] - main["startValue"] == 27_000_000
    told = [(event["type"], frames[event["frame"]].split(" {")[0]) for event in main["events"]]
    assert told == [
        ("O", "do 0"),
        *(("O", "model call"), ("C", "model call")),
        *(("O", "waiting"), ("C", "waiting")),
        *(("O", "model call"), ("C", "model call")),
        ("C", "do 0"),
    ]
    assert any('"generated_tokens":100' in frame for frame in frames)
