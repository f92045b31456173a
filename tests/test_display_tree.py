"""The tree is right at every width and height, for any threads and any text."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import HOSTILE, Story, door, drawn, wide

from thread_cli.contracts.errors import Boundary, Status
from thread_cli.contracts.events import Acted, Failed
from thread_cli.display import TreeState, render_footer, render_tree
from thread_cli.display.layout import ASCII, UNICODE, CountRow, ThreadRow, latest_first, lay_out


def rows(state, limit):
    return lay_out(state, latest_first(state, limit), limit, UNICODE, 26)


def test_running_totals_agree_with_the_fork_and_join_of_the_story():
    story = Story(cost=0.5)
    story.begin()
    first, second = story.fork("0", ["a", "b"])
    story.say(first, "x", tokens=5)
    story.say(second, "y", tokens=70)
    (inner,) = story.fork(second, ["c"])
    story.say(inner, "z", tokens=20)
    state = story.state
    totals = state.totals
    assert (totals.calls, totals.generated_tokens, totals.prompt_tokens, totals.cached_tokens) == (5, 115, 500, 450)
    assert totals.token_latency == 10 + 70 + 10 + 20
    assert totals.depth == 2
    assert totals.cost == 2.5
    story.end(inner, "z")
    story.join(second, [inner], "z")
    story.end(first, "x")
    story.end(second, "y")
    story.join("0", [first, second], "x y")
    story.say("0", "done", tokens=3)
    assert story.state.totals.token_latency == 10 + 70 + 10 + 20 + 3


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
        began = time.process_time()
        for _ in range(5):
            drawn(render_tree_rows(state))
        return (time.process_time() - began) / 5

    def render_tree_rows(state):
        from thread_cli.display.render import render_rows

        return render_rows(rows(state, 40), 80, 1.0, UNICODE)

    small, large = wide(10, 2).state, wide(100, 2).state
    assert len(large.threads) == 10_101
    assert cost(large) < 4 * cost(small) + 0.005


def test_folding_takes_constant_time_per_event():
    events = wide(100, 2, finish=True).events
    began = time.process_time()
    state = TreeState.of(events)
    assert (time.process_time() - began) / len(events) < 100e-6
    state.settle()
    assert (state.main.total, state.main.done) == (10_101, 10_101)


def test_a_thread_names_the_threads_of_its_fork_that_still_run_and_these_have_their_paths():
    story = Story()
    story.begin()
    children = story.fork("0", ["a", "b", "c"])
    lines = drawn(render_tree(story.state, 80))
    assert "waits for 0.0, 0.1, 0.2" in lines[1]
    assert lines[3].rstrip() == "├─● 0.1 b"
    story.end(children[1], "ok")
    lines = drawn(render_tree(story.state, 80))
    assert "waits for 0.0, 0.2" in lines[1]
    assert lines[3].startswith("├─✓ b ")
    (only,) = story.fork(children[0], ["d"])
    lines = drawn(render_tree(story.state, 80))
    assert lines[3].rstrip() == "│ ╰─● d"
    assert "waits" not in lines[2]
    for child in (only, children[0], children[2]):
        story.end(child, "ok")
    story.join("0", children, "x")
    assert not any("waits" in line for line in drawn(render_tree(story.state, 80)))


def test_a_frame_of_ten_thousand_threads_costs_no_more_than_one_of_a_hundred():
    def seconds(count):
        story = Story()
        story.begin()
        children = story.fork("0", [f"part {n}" for n in range(count)])
        lines = drawn(render_tree(story.state, 80, limit=20))
        assert f"waits for {count:,} threads" in lines[1]
        for child in children[: count // 2]:
            story.end(child, "ok")
        state, least = story.state, 9.0
        for child in children[count // 2 : count // 2 + 20]:
            story.end(child, "ok")
            state.apply(story.events[-1])
            started = time.perf_counter()
            rows(state, 20)
            least = min(least, time.perf_counter() - started)
        return least

    assert seconds(10_000) < 5 * seconds(100) + 0.001
