"""What stands beside the tree: the environment's view, the footer, one thread in full."""

import time
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console
from stories import HOSTILE, Story, door, drawn

from thread_cli.contracts.events import Conflicted
from thread_cli.display import (
    PlainDisplay,
    TreeDisplay,
    TreeState,
    export_svg,
    render_footer,
    render_thread,
    render_tree,
    render_view,
)


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
    lines = frame(story, 80, 31)
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


async def test_figures_that_are_estimates_are_shown_as_such(play):
    state = TreeState()
    played = await play(["First, say it =>", "print('ok')", "print('done')"])
    for event in played.events:
        state.apply(event)
    text = " ".join(drawn(render_footer(state, 80)))
    totals = played.episode.totals
    assert totals.estimated
    for part in (
        f"prompt ~{totals.prompt_tokens:,}",
        "cached unknown",
        f"generated ~{totals.generated_tokens}",
        f"critical path ~{totals.token_latency}",
    ):
        assert part in text


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


def test_a_thread_that_something_else_ended_is_not_shown_as_failed():
    story = Story()
    story.begin()
    for thread, how in zip(story.fork("0", "abc"), ("pruned", "stopped", "failed"), strict=True):
        story.end(thread, None, failed=True, how=how)
    state = story.state
    assert [str(thread.phase) for thread in state.main.children] == ["stopped", "stopped", "failed"]
    text = drawn(render_tree(state, 80))
    assert [line.split()[-1] for line in text if line.strip().startswith(("├", "╰"))] == ["pruned", "stopped", "failed"]
    plain = StringIO()
    display = PlainDisplay(plain)
    for event in story.events:
        display(event)
    assert [
        line.split(maxsplit=1)[1] for line in plain.getvalue().splitlines() if "=" in line and "=>" not in line
    ] == [
        "= pruned",
        "= stopped",
        "= failed",
    ]
    assert drawn(render_thread(story.events, "0.1"))[-1] == "■ stopped → nothing"


def test_a_child_whose_actions_were_dropped_at_the_join_is_shown_so():
    story = Story()
    story.begin()
    first, second = story.fork("0", "ab")
    for child in (first, second):
        story.act(child, "take the lamp", "Taken.")
        story.end(child, "it has the lamp")
    plain = StringIO()
    display = PlainDisplay(plain)
    story.add(Conflicted, child=second, action="take the lamp", seen="Taken.", now="There is no lamp.", actions=1)
    for event in story.events:
        display(event)
    told = [line for line in drawn(render_tree(story.state, 100)) if "the lamp" in line]
    assert "> take the lamp => Taken." in told[0]
    assert "conflict: no action kept: take the lamp" in told[1]
    (line,) = [line for line in plain.getvalue().splitlines() if "conflict" in line]
    assert line.split(maxsplit=1)[1] == "! conflict: no action of 0.1 is kept: take the lamp => There is no lamp."


def test_a_thread_that_was_pruned_as_the_episode_ended_is_not_shown_as_done():
    story = Story()
    story.begin()
    pruned, _ = story.fork("0", "ab")
    story.end(pruned, None, how="pruned", reason="disagrees")
    line = next(line for line in drawn(render_tree(story.state, 80)) if line.startswith("├─"))
    assert line.split()[:1] + line.split()[-2:] == ["├─■", "pruned:", "disagrees"]
    plain = StringIO()
    PlainDisplay(plain)(story.events[-1])
    assert plain.getvalue().split() == ["0.0", "=", "pruned"]


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
