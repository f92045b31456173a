"""The displays: plain, JSON, the live tree, replays and pictures."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from stories import HOSTILE, Story, door, wide

from thread_cli.display import Display, JsonDisplay, PlainDisplay, TreeDisplay, choose, export_svg, replay
from thread_cli.record.lines import parse_event


def test_plain_lines_carry_path_and_depth_and_no_escape_codes():
    out = StringIO()
    with PlainDisplay(out) as display:
        for event in door().events:
            display(event)
    text = out.getvalue()
    assert "\x1b" not in text
    assert "0.0            > get 2 oak logs => Got 2 oak logs\n" in text
    assert "0.1            ✗ protocol: repetition: the same line three times\n" in text
    assert "cost unknown" in text


def test_plain_lines_are_safe_with_hostile_text():
    story = Story()
    story.begin(HOSTILE)
    story.act("0", HOSTILE, HOSTILE)
    story.end("0", HOSTILE)
    out = StringIO()
    display = PlainDisplay(out)
    for event in story.events:
        display(event)
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


def test_json_lines_are_the_events():
    out = StringIO()
    display = JsonDisplay(out)
    story = door()
    for event in story.events:
        display(event)
    assert [parse_event(line) for line in out.getvalue().splitlines()] == story.events


def test_json_lines_hold_ascii_only():
    story = Story()
    story.begin(HOSTILE.replace("\ud800", ""))
    out = StringIO()
    display = JsonDisplay(out)
    for event in story.events:
        display(event)
    assert out.getvalue().isascii()
    assert json.loads(out.getvalue().splitlines()[1])["context"] == HOSTILE.replace("\ud800", "")


# Choosing, replaying, drawing


def test_auto_is_the_tree_on_a_terminal_and_plain_elsewhere():
    terminal = Console(file=StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    dumb = Console(file=StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    pipe = Console(file=StringIO(), _environ={})
    assert isinstance(choose("auto", terminal), TreeDisplay)
    assert isinstance(choose("auto", dumb), PlainDisplay)
    assert isinstance(choose("auto", pipe), PlainDisplay)
    assert isinstance(choose("json", terminal), JsonDisplay)
    assert type(choose("none", terminal)) is Display


def test_a_tree_display_without_a_terminal_prints_the_final_tree_once():
    out = StringIO()
    with TreeDisplay(Console(file=out, width=80, _environ={})) as display:
        for event in door().events:
            display(event)
        assert out.getvalue() == ""
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count("get 6 oak planks") == 1


def test_a_final_tree_of_thousands_is_cut_to_a_page_or_so():
    out = StringIO()
    with TreeDisplay(Console(file=out, width=80, _environ={})) as display:
        for event in wide(100, 2, finish=True).events:
            display(event)
    lines = out.getvalue().splitlines()
    assert 150 < len(lines) < 210
    assert any("more threads" in line for line in lines)


async def test_a_replay_keeps_the_recorded_pace_times_speed():
    class Clocked(Display):
        def __init__(self):
            self.times = []

        def __call__(self, event):
            self.times.append(asyncio.get_running_loop().time())

    display = Clocked()
    events = door().events
    await replay(events, display, speed=10.0)
    assert display.times[-1] - display.times[0] == pytest.approx((events[-1].time - events[0].time) / 10, rel=0.3)
    at_once = Clocked()
    await replay(events, at_once, speed=float("inf"))
    assert at_once.times[-1] - at_once.times[0] < 0.1


async def test_a_replay_needs_a_speed_above_zero():
    with pytest.raises(ValueError, match="above 0"):
        await replay([], Display(), speed=0.0)


def test_a_picture_is_the_same_every_time(tmp_path):
    for name in ("a.svg", "b.svg"):
        export_svg(door().state, tmp_path / name, "thread run textcraft")
    picture = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert picture == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert "oak" in picture
    assert "<svg" in picture


DEMO = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from rich.console import Console
from stories import door
from thread_cli.display import choose
with choose(sys.argv[1], Console()) as display:
    for event in door().events:
        display(event)
        time.sleep(float(sys.argv[2]))
        print("a warning", file=sys.stderr) if event.n == 3 else None
"""


@pytest.mark.parametrize("mode", ["plain", "json", "tree"])
def test_a_closed_pipe_ends_in_silence(mode):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", DEMO, mode, "0"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"a warning\n")


def test_on_a_terminal_the_tree_is_redrawn_and_the_final_one_stays():
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", DEMO, "auto", "0.02"],
        stdin=follower,
        stdout=follower,
        stderr=subprocess.PIPE,
        env=environment,
    )
    os.close(follower)
    output = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        output += chunk
    os.close(leader)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"a warning\n")
    during, _, after = output.partition(b"\x1b[?1049l")
    assert during.count(b"\x1b[H") >= 3
    assert b"\x1b[?25h" in output
    assert output.index(b"\x1b[?7l") < output.index(b"\x1b[?7h")
    assert b"oak planks" in after
    assert b"failed" in after
