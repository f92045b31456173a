"""The displays: what is on the screen is right at every width and height, for any tree and any text."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from thread_cli.display import (
    Display,
    JsonDisplay,
    PlainDisplay,
    TreeDisplay,
    TreeState,
    choose,
    export_svg,
    render_footer,
    render_thread,
    render_tree,
    render_view,
    replay,
)
from thread_cli.display.layout import ASCII, UNICODE, CountRow, ThreadRow, latest_first, lay_out
from thread_cli.display.text import clean, clean_lines, compact, cut, duration, headline
from thread_cli.engine.errors import Boundary, Status
from thread_cli.engine.events import (
    Acted,
    CodeRan,
    Corrected,
    EpisodeEnded,
    EpisodeStarted,
    Failed,
    Generated,
    Generating,
    Joined,
    Observed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
    Totals,
    parse_event,
)

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m \x9b1A[bold]not markup[/bold] \u202egnihton\u202c a\u200db\r\nnext\x08\x7f"
    "\ttab z" + "\u0301" * 500 + " 漢字かな交じり文" * 5 + " 👩‍👩‍👧👍🏽 \ud800 \x1b]8;;http://x\x1b\\link\x1b"
)


class Story:
    """Writes the events of an episode, as the engine would."""

    def __init__(self, cost=None):
        self.events, self.time, self.cost, self.totals = [], 0.0, cost, Totals()

    def add(self, kind, thread="0", **fields):
        self.time += 0.125
        parent = thread.rpartition(".")[0] or None
        cause = len(self.events) - 1 if self.events else None
        self.events.append(
            kind(episode="e", n=len(self.events), thread=thread, parent=parent, cause=cause, time=self.time, **fields)
        )

    def begin(self, context="Goal: craft oak door."):
        self.add(EpisodeStarted, environment="textcraft", task="0-17", category="depth 2", at="2025-01-01T00:00:00Z")
        self.start("0", context)

    def start(self, thread, context):
        self.add(ThreadStarted, thread, depth=thread.count("."), context=context)

    def say(self, thread, text, tokens=10):
        self.add(Generating, thread)
        self.add(
            Generated,
            thread,
            text=text,
            stop="listen",
            prompt_tokens=100,
            cached_tokens=90,
            repeated_tokens=0,
            generated_tokens=tokens,
            cost=self.cost,
            seconds=0.1,
            waited=0.0,
            retries=0,
        )

    def act(self, thread, action, observation):
        self.say(thread, f"> {action}")
        self.add(Acted, thread, action=action)
        self.observe(thread, observation)

    def observe(self, thread, observation, view=""):
        self.add(
            Observed,
            thread,
            observation=observation,
            text=f"=>{observation}<=\n",
            reward=0.0,
            done=False,
            seconds=0.01,
            view=view,
        )

    def fork(self, thread, contexts):
        self.say(thread, contexts[-1])
        children = tuple(f"{thread}.{place}" for place in range(len(contexts)))
        self.add(Spawned, thread, children=children)
        for child, context in zip(children, contexts, strict=True):
            self.start(child, context + "=>")
        return children

    def join(self, thread, children, text):
        self.add(Joined, thread, children=tuple(children), text=f"=>{text}<=\n")

    def end(self, thread, result, *, failed=False):
        self.add(ThreadEnded, thread, result=result, failed=failed)

    def finish(self, status=Status.solved, reward=1.0, message="", **totals):
        self.add(EpisodeEnded, status=status, reward=reward, message=message, totals=Totals(**totals))

    @property
    def state(self):
        return TreeState.of(self.events)


def door():
    """A small TextCraft episode, finished, with one thread that failed."""
    story = Story()
    story.begin("Crafting commands:\ncraft 4 oak planks using 1 oak logs\n\nGoal: craft oak door.")
    planks, door_ = story.fork("0", ["get 6 oak planks", "craft 1 oak door"])
    story.act(planks, "get 2 oak logs", "Got 2 oak logs")
    story.act(planks, "craft 4 oak planks using 1 oak logs", "Crafted 4 minecraft:oak_planks")
    story.add(CodeRan, planks, code="x = y", bound=(), printed=None, error="NameError: name 'y' is not defined")
    story.end(planks, "I have 8 oak planks.")
    story.add(Corrected, door_, text="=>error: a parent already works on this<=\n")
    story.add(Failed, door_, boundary=Boundary.protocol, failure="repetition", message="the same line three times")
    story.end(door_, None, failed=True)
    story.join("0", [planks, door_], "I have 8 oak planks.")
    story.end("0", "done")
    story.finish(
        status=Status.failed, reward=0.0, threads=3, calls=3, generated_tokens=30, prompt_tokens=300,
        cached_tokens=270, depth=1, token_latency=30, actions=2
    )  # fmt: skip
    return story


def wide(fan_out, depth, *, finish=False):
    """A tree where every thread but the leaves has `fan_out` children, all of them at work at once."""
    story = Story()
    story.begin()
    level = ["0"]
    order = []
    for _ in range(depth):
        nexts = []
        for thread in level:
            nexts += story.fork(thread, [f"get item {place} of {thread}" for place in range(fan_out)])
        order += level
        level = nexts
    for thread in [*level, *reversed(order)] if finish else level[: len(level) // 2]:
        story.act(thread, "get 1 stick", "Got 1 stick")
        story.end(thread, "ok")
    if finish:
        story.finish()
    return story


def drawn(lines):
    return [line.plain for line in lines]


def rows(state, limit):
    return lay_out(state, latest_first(state, limit), limit, UNICODE, 26)


# Text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x9b2Jclear", "clear"),
        ("\x1b]0;never closed", "0;never closed"),
        ("\x1bPdevice\x1b\\x", "x"),
        ("a\u202eb\u2066c\u200dd\u200be\ufefff", "abcdef"),
        ("one \r\n two\nthree\u2028four\x85five", "one⏎two⏎three⏎four⏎five"),
        ("a\tb", "a b"),
        ("bell\x07back\x08null\x00del\x7f", "bellbacknulldel"),
        ("\ud800", ""),
        ("e\u0301", "e\u0301"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("漢字 é ß 👍", "漢字 é ß 👍"),
    ],
)
def test_cleaned_text_holds_nothing_that_a_terminal_obeys(text, shown):
    assert clean(text) == shown


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b[]PX\\\x07\x9b\x9c;0m\n\u202e"))))
def test_cleaning_any_text_leaves_printable_characters_and_is_final(text):
    cleaned = clean(text)
    assert all(char.isprintable() or char.isspace() for char in cleaned)
    assert not set(cleaned) & set(map(chr, [*range(32), 127, *range(0x80, 0xA0)]))
    assert clean(cleaned) == cleaned


def test_cleaning_takes_time_in_proportion_to_the_text():
    began = time.perf_counter()
    for piece in ("\x1b]", "\x1b[", "\x1bP\x1b", "\x9d", "\u0301", " \n", " ", "\t"):
        clean("x\u00e9" + piece * 100_000 + "x")
        clean(piece * 100_000)
    assert time.perf_counter() - began < 5


def test_lines_keep_the_blanks_at_both_ends():
    assert clean_lines("  a\x1b[0m\n\n\tb  \r\nc") == ["  a", "", "    b  ", "c"]


@given(st.text(), st.integers(0, 40))
def test_cut_text_never_takes_more_cells_than_given(text, cells):
    assert cell_len(cut(clean(text), cells)) <= cells


def test_wide_characters_count_as_two_cells():
    assert cut("漢字かな", 6) == "漢字…"


def test_numbers_and_times_stay_short():
    numbers = [0, 999, 1_000, 9_949, 9_950, 999_499, 999_500, 10**9, 10**12, 10**15]
    assert [compact(number) for number in numbers[:6]] == ["0", "999", "1.0k", "9.9k", "10k", "999k"]
    assert all(len(compact(number)) <= 5 for number in numbers)
    assert [duration(seconds) for seconds in (0, 59.94, 59.96, 125, 11_220)] == [
        "0.0s",
        "59.9s",
        "1m00s",
        "2m05s",
        "3h07m",
    ]


def test_a_context_is_named_by_its_last_line():
    assert headline("Commands:\n...\n\nGoal: craft oak door.\n") == "Goal: craft oak door."
    assert headline("get 2 oak logs =>") == "get 2 oak logs"


# State


def test_running_totals_agree_with_the_fork_and_join_of_the_story():
    story = Story(cost=0.5)
    story.begin()
    first, second = story.fork("0", ["a", "b"])
    story.say(first, "x", tokens=5)
    story.say(second, "y", tokens=70)
    (inner,) = story.fork(second, ["c"])
    story.say(inner, "z", tokens=20)
    state = story.state
    assert (state.calls, state.generated_tokens, state.prompt_tokens, state.cached_tokens) == (5, 115, 500, 450)
    assert state.token_latency == 10 + 70 + 10 + 20
    assert state.depth == 2
    assert state.cost == 2.5
    story.end(inner, "z")
    story.join(second, [inner], "z")
    story.end(first, "x")
    story.end(second, "y")
    story.join("0", [first, second], "x y")
    story.say("0", "done", tokens=3)
    assert story.state.token_latency == 10 + 70 + 10 + 20 + 3


def test_the_phases_of_a_thread_follow_its_events():
    story = Story()
    story.begin()
    seen = [story.state.main.phase]
    (child,) = story.fork("0", ["a"])
    seen.append(story.state.main.phase)
    story.say(child, "> go")
    story.add(Acted, child, action="go")
    seen.append(story.state.threads[child].phase)
    story.observe(child, "gone")
    seen.append(story.state.threads[child].phase)
    story.end(child, "ok")
    seen.append(story.state.threads[child].phase)
    story.finish(status=Status.cancelled, reward=None)
    seen.append(story.state.main.phase)
    assert [str(phase) for phase in seen] == ["generating", "waiting", "acting", "generating", "done", "stopped"]


def test_a_thread_that_starts_again_is_counted_once():
    story = Story()
    story.begin()
    (child,) = story.fork("0", ["a"])
    story.end(child, None, failed=True)
    story.start(child, "a, once more")
    state = story.state
    state.settle()
    assert (state.main.total, state.main.done, state.main.failed) == (2, 0, 0)
    assert state.threads[child].title == "a, once more"


def test_a_new_episode_begins_a_new_tree():
    story = door()
    state = story.state
    again = Story()
    again.begin()
    for event in again.events:
        state.apply(event)
    assert list(state.threads) == ["0"]
    assert state.status is None


# The tree


@pytest.mark.parametrize("width", [1, 20, 39, 40, 60, 80, 200])
@pytest.mark.parametrize("story", [door(), wide(4, 3)], ids=["door", "wide"])
def test_no_line_is_wider_than_the_screen(width, story):
    state = story.state
    lines = [*render_tree(state, width, times=True), *render_footer(state, width, elapsed=1.0)]
    assert all(line.cell_len <= max(width, 20) for line in lines)
    assert all("\n" not in line.plain for line in lines)


@pytest.mark.parametrize("width", [20, 41, 80, 120])
def test_hostile_text_changes_neither_width_nor_height(width):
    story = Story()
    story.begin(HOSTILE)
    (child,) = story.fork("0", [HOSTILE])
    story.act(child, HOSTILE, HOSTILE)
    story.add(Failed, child, boundary=Boundary.protocol, failure="repetition", message=HOSTILE)
    story.end(child, HOSTILE, failed=True)
    story.end("0", HOSTILE)
    story.finish(message=HOSTILE)
    lines = [*render_tree(story.state, width), *render_footer(story.state, width)]
    assert len(lines) <= 3 + 12
    for line in lines:
        assert line.cell_len <= width
        assert all(char.isprintable() for char in line.plain)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab 漢か\u0301\n👍\x1b[1m"), max_size=120), st.integers(20, 90))
def test_wide_characters_never_push_a_line_beyond_the_edge(text, width):
    story = Story()
    story.begin(text)
    (child,) = story.fork("0", [text])
    story.act(child, text, text)
    story.end("0", text)
    assert all(line.cell_len <= width for line in render_tree(story.state, width))


def test_a_whole_tree_is_drawn_the_same_whatever_the_times():
    first, second = door(), door()
    slower = [event.model_copy(update={"time": event.time * 7}) for event in second.events]
    assert drawn(render_tree(first.state, 80)) == drawn(render_tree(TreeState.of(slower), 80))
    assert drawn(render_tree(first.state, 80, times=True)) != drawn(render_tree(TreeState.of(slower), 80, times=True))


def test_states_can_be_told_without_colour():
    text = "\n".join(drawn(render_tree(door().state, 140)))
    assert "├─✓ get 6 oak planks" in text
    assert "╰─✗ craft 1 oak door" in text
    assert "failed: repetition: the same line three times" in text
    assert "> craft 4 oak planks using 1 oak logs => Crafted" in text


def test_a_console_without_unicode_gets_ascii():
    text = "\n".join(drawn(render_tree(wide(5, 2).state, 80, limit=9, glyphs=ASCII)))
    assert text.isascii()


@settings(max_examples=60, deadline=None)
@given(fan_out=st.integers(1, 7), depth=st.integers(1, 4), limit=st.integers(1, 60), finish=st.booleans())
def test_rows_and_counts_account_for_every_thread_within_the_limit(fan_out, depth, limit, finish):
    state = wide(fan_out, min(depth, 3), finish=finish).state
    shown = rows(state, limit)
    assert len(shown) <= max(limit, 2)
    threads = [row.thread for row in shown if isinstance(row, ThreadRow)]
    counts = [row for row in shown if isinstance(row, CountRow)]
    assert threads[0] is state.main
    assert len(set(threads)) == len(threads)
    assert len(threads) + sum(row.total for row in counts) == len(state.threads)
    done = sum(thread.phase == "done" for thread in state.threads.values())
    assert sum(thread.phase == "done" for thread in threads) + sum(row.done for row in counts) == done


def test_the_threads_at_work_and_those_above_them_stay_on_screen():
    story = wide(30, 2, finish=False)
    story.act("0.3.28", "look", "nothing")
    story.start("0.3.28.0", "the only one at work")
    for path in [path for path, thread in story.state.threads.items() if not thread.phase.ended]:
        if path not in {"0", "0.3", "0.3.28", "0.3.28.0"} and path.count(".") == 2:
            story.end(path, "ok")
    shown = [row.thread.path for row in rows(story.state, 12) if isinstance(row, ThreadRow)]
    assert {"0", "0.3", "0.3.28", "0.3.28.0"} <= set(shown)


def test_finished_siblings_are_counted_in_one_line():
    story = Story()
    story.begin()
    children = story.fork("0", [f"get item {place}" for place in range(40)])
    for child in children[:37]:
        story.end(child, "ok")
    lines = drawn(render_tree(story.state, 80, limit=6))
    assert len(lines) == 1 + 6
    assert lines[-1] == "╰─… 36 more threads, 33 done"


def test_a_chain_of_a_thousand_threads_fits_any_screen():
    story = Story()
    story.begin()
    path = "0"
    for _ in range(1000):
        (path,) = story.fork(path, ["deeper"])
    state = story.state
    assert len(rows(state, 20)) <= 20
    lines = render_tree(state, 80)
    assert len(lines) == 1 + 1001
    assert all(line.cell_len <= 80 for line in lines)
    assert "1000…" in lines[-1].plain


def test_one_drawing_of_ten_thousand_threads_costs_no_more_than_of_a_hundred():
    def cost(state):
        rows(state, 40)
        began = time.perf_counter()
        for _ in range(5):
            drawn(render_tree_rows(state))
        return (time.perf_counter() - began) / 5

    def render_tree_rows(state):
        from thread_cli.display.render import render_rows

        return render_rows(rows(state, 40), 80, 1.0, UNICODE)

    small, large = wide(10, 2).state, wide(100, 2).state
    assert len(large.threads) == 10_101
    assert cost(large) < 4 * cost(small) + 0.005


def test_folding_takes_constant_time_per_event():
    events = wide(100, 2, finish=True).events
    began = time.perf_counter()
    state = TreeState.of(events)
    assert (time.perf_counter() - began) / len(events) < 100e-6
    state.settle()
    assert (state.main.total, state.main.done) == (10_101, 10_101)


# The environment's own view


def looked_at(*views, observation="You see a table."):
    story = Story()
    story.begin()
    for view in views:
        story.observe("0", observation, view)
    return story


def frame(story, width, height):
    """What is on the screen after the events of a story."""
    display = TreeDisplay(Console(file=StringIO(), width=width, height=height, force_terminal=True, _environ={}))
    for event in story.events:
        display(event)
    return drawn(display._frame().renderables)


def test_the_newest_view_stands_below_the_tree_under_the_environments_name():
    lines = frame(looked_at("an old view", "pegs\n  =   |\n === |", ""), 60, 20)
    assert len(lines) == 20
    title = lines.index("── textcraft " + "─" * 47)
    assert lines[title + 1 : title + 5] == ["pegs", "  =   |", " === |", "─" * 60]
    assert "old" not in "".join(lines)


def test_an_answer_of_several_lines_stands_in_for_a_view_until_there_is_one():
    story = looked_at("", observation="a | b\n1 | 2\n")
    assert drawn(render_view(story.state, 40, 10))[1:] == ["a | b", "1 | 2"]
    story.observe("0", "one line")
    assert drawn(render_view(story.state, 40, 10))[1:] == ["a | b", "1 | 2"]
    story.observe("0", "x", "the view")
    story.observe("0", "two\nlines")
    assert drawn(render_view(story.state, 40, 10))[1:] == ["the view"]
    assert render_view(looked_at("").state, 40, 10) == []


@pytest.mark.parametrize("width", [1, 10, 20, 40, 79, 120])
@pytest.mark.parametrize("height", [1, 5, 9, 12, 24, 50])
def test_a_view_of_any_text_fits_any_screen(width, height):
    story = looked_at("\n".join(["[red]no markup[/red]", HOSTILE * 20, "", "x" * 500, "\x0b".join("abc")] * 30))
    story.events[0] = story.events[0].model_copy(update={"environment": HOSTILE})
    for child in story.fork("0", [f"get item {place}" for place in range(30)]):
        story.act(child, "look", "nothing")
    lines = frame(story, width, height)
    assert len(lines) <= height
    assert all(cell_len(line) <= max(width, 20) for line in lines)
    shown = render_view(story.state, width, height)
    assert len(shown) <= height
    assert not any("\x1b" in line.plain or "\x0b" in line.plain for line in shown)
    assert any("[red]no markup" in line.plain for line in shown) == (width >= 20 and height >= 5)


def test_a_view_that_is_cut_tells_how_much_is_missing():
    shown = drawn(render_view(looked_at("\n".join(map(str, range(100)))).state, 40, 10))
    assert shown[1:] == [*map(str, range(8)), "… 92 more lines"]
    whole = drawn(render_view(looked_at("\n".join(map(str, range(9)))).state, 40, 10))
    assert whole[1:] == [*map(str, range(9))]


def test_a_view_leaves_the_tree_half_of_the_room():
    story = looked_at("\n".join(map(str, range(100))))
    for child in story.fork("0", [f"get item {place}" for place in range(30)]):
        story.act(child, "look", "nothing")
    lines = frame(story, 80, 30)
    assert sum("get item" in line for line in lines) >= 10
    assert "… 90 more lines" in lines


def test_a_drawing_costs_little_however_large_the_view():
    state = looked_at("\x1b[31mred \n" * 500_000).state
    began = time.perf_counter()
    render_view(state, 80, 20)
    assert time.perf_counter() - began < 0.1


def test_a_finished_tree_and_its_picture_keep_the_last_view(tmp_path):
    story = looked_at("pegs\n === |")
    story.finish()
    out = StringIO()
    with TreeDisplay(Console(file=out, width=80, _environ={})) as display:
        for event in story.events:
            display(event)
    assert "── textcraft ──" in out.getvalue()
    assert "\n === |\n" in out.getvalue()
    export_svg(story.state, tmp_path / "a.svg", "a title")
    assert "===" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_plain_lines_show_no_views():
    out = StringIO()
    display = PlainDisplay(out)
    for event in looked_at("pegs\n === |").events:
        display(event)
    assert "===" not in out.getvalue()


# The footer


def test_an_unpriced_run_costs_unknown_and_never_nothing():
    assert "cost unknown" in " ".join(drawn(render_footer(door().state, 80)))
    assert "cost unknown" in " ".join(drawn(render_footer(TreeState(), 80)))
    story = Story(cost=0.001)
    story.begin()
    story.say("0", "x")
    assert "cost $0.0010" in " ".join(drawn(render_footer(story.state, 80)))


def test_the_footer_tells_what_the_episode_has_used():
    text = " ".join(drawn(render_footer(door().state, 80, elapsed=2.0)))
    for part in (
        "✗ failed",
        "reward 0",
        "calls 3",
        "cached 90%",
        "depth 1",
        "critical path 30",
        "elapsed 2.0s",
        "✓ 2 done",
    ):
        assert part in text


# One thread


def test_a_thread_in_full_shows_its_whole_sequence_and_who_wrote_it():
    lines = drawn(render_thread(door().events, "0.0"))
    assert lines[0] == "thread 0.0 · depth 1"
    assert "+ > get 2 oak logs=>Got 2 oak logs<=" in lines
    assert "! NameError: name 'y' is not defined" in lines
    assert lines[-1] == "✓ done → I have 8 oak planks."
    failed = drawn(render_thread(door().events, "0.1"))
    assert "! protocol: repetition: the same line three times" in failed


def test_asking_for_a_thread_that_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        render_thread(door().events, "0.7")


# Plain and JSON


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
from test_display import door
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
