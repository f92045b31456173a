"""Prompts whose threads spawn lists of children, and children in the background, in THREAD's own format."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from later import Paced, joins
from pruning import ends

from thread_cli.contracts.limits import Limits
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role, ScriptedModel, load_script
from thread_cli.protocols.prompt import load
from thread_cli.record import first_difference

RULES = {"several": "- ", "background": "& "}
SLOW = {"0.0": 0.2, "0.1": 0.02, "0.2": 0.1}
"""Seconds that calls of these threads take."""


async def played(play: Any, main: str, pace: Any = SLOW, **options: Any) -> Any:
    """A main thread that writes this; its children print their numbers, or do what is given for their paths."""
    below = {path: options.pop(path) for path in [*options] if path.startswith("t0")}
    roles = [Role(path="0", text=main)]
    roles += [Role(path=path[1:].replace("_", "."), text=text) for path, text in below.items()]
    roles += [Role(path=f"0.{n}", text=f"print('{n}')") for n in range(9)]
    rules = {**RULES, **options.pop("rules", {})}
    return await play(Paced(roles, pace), rules=rules, **options)


async def test_a_list_of_lines_spawns_threads_that_run_at_once_and_join_in_its_order(play) -> None:
    done = await played(play, "x = 1\n- First, count {x}\n- Second, look\n- Third, go =>\nprint('end')")
    assert done.y("0") == (
        "x = 1\n- First, count {x}\n- Second, look\n- Third, go =>\n- 0\n- 1\n- 2\n<=\n\n\nprint('end')"
    )
    assert [event.context for event in done.of("thread_started")][1:] == ["count 1=>", "look=>", "go =>"]
    assert list(ends(done)) == ["0.1", "0.2", "0.0", "0"]
    assert done.of("joined")[0].children == ("0.0", "0.1", "0.2")
    assert done.episode.answer == "end"


async def test_names_of_a_list_join_in_its_order_and_fill_in_what_the_parent_has_not_bound(play) -> None:
    below = {f"t0_{n}": f"x = y = '{n}'\nz{n} = {n}\nprint(x)" for n in range(3)}
    done = await played(play, "x = 'mine'\n- a\n- b\n- c =>\nprint([x, y, z0, z1, z2])", **below)
    assert done.episode.answer == "['mine', '2', 0, 1, 2]"


async def test_children_of_a_list_do_not_see_what_each_other_bind(play) -> None:
    done = await played(
        play, "- a\n- b =>\nprint('end')", {"0.1": 0.2}, t0_0="seen = 1\nprint('0')", t0_1="print(seen)"
    )
    assert "- 0\n- error: returned nothing: the thread ended without returning anything (NameError" in done.y("0")


async def test_a_list_is_not_started_where_code_before_it_failed_or_a_name_is_unknown(play) -> None:
    done = await played(play, "x = 1 / 0\n- a\n- b =>\n- a {y}\n- b =>\n- a\n- b =>\nprint('end')", {})
    assert [event.text for event in done.of("corrected")] == [
        "=>error: ZeroDivisionError: division by zero<=\n\n",
        "=>error: NameError: name 'y' is not defined<=\n\n",
    ]
    assert len(done.of("thread_started")) == 3


async def test_threads_in_the_background_are_awaited_later_by_their_numbers(play) -> None:
    main = "& First, a\n& Second, b =>\n& Third, c =>\nx = 1\nawait 1 =>\nawait all =>\nprint('end')"
    done = await played(play, main)
    assert done.y("0") == (
        "& First, a\n& Second, b =>0 1<=\n\n\n& Third, c =>2<=\n\n\nx = 1\nawait 1 =>1: 1<=\n\n\n"
        "await all =>\n0: 0\n2: 2\n<=\n\n\nprint('end')"
    )
    assert joins(done) == [("0.1",), ("0.0", "0.2")]
    assert [event.context for event in done.of("thread_started")][1:] == ["a=>", "b =>", "c =>"]


async def test_any_comes_to_the_thread_that_ends_first_and_a_replay_follows_it(play) -> None:
    main = "& a\n& b\n& c =>\nawait any =>\nawait any 0 2 =>\nawait any =>\nprint('end')"
    first = await played(play, main)
    assert joins(first) == [("0.1",), ("0.2",), ("0.0",)]
    again = await play(ReplayModel(first.events), rules=RULES)
    assert first_difference(first.events, again.events) is None


async def test_names_merge_at_the_await_and_of_a_thread_that_nobody_awaits_not_at_all(play) -> None:
    main = "& a\n& b =>\nx = 'mine'\nawait 1 =>\nseen = [x, y]\nprint([*seen, y])"
    below = {"t0_0": "x = y = z = 'first'\nprint('0')", "t0_1": "x = y = 'second'\nprint('1')"}
    done = await played(play, main, **below)
    assert done.episode.answer == "['mine', 'second', 'second']"
    unread = await played(play, main.replace("y])", "z])"), **below)
    assert "NameError" in unread.of("code_ran", "0")[-1].error


@pytest.mark.parametrize("rule", ["awaited", "detached", "stopped"])
async def test_threads_that_nobody_awaits_end_by_the_rule_of_the_prompt(play, rule) -> None:
    done = await played(play, "& a\n& b =>\nprint('end')", {"0.0": 0.3}, rules={"orphans": rule})
    assert done.episode.answer == "end"
    assert (ends(done)["0.0"], list(ends(done))[-1]) == ("returned" if rule == "awaited" else "stopped", "0")


async def test_lists_stand_within_lists(play) -> None:
    below = {"t0_0": "- d\n- e =>\nprint('0')", "t0_0_0": "& f =>\nprint('d')"}
    below |= {"t0_0_1": "print('e')", "t0_0_0_0": "print('f')"}
    done = await played(play, "- a\n- b =>\nprint('end')", **below)
    assert done.y("0.0") == "- d\n- e =>\n- d\n- e\n<=\n\n\nprint('0')"
    assert done.episode.answer == "end"


async def test_a_list_longer_than_the_limit_says_so_in_place_of_each_thread_too_many(play) -> None:
    done = await played(play, "- a\n- b\n- c =>\nprint('end')", {}, limits=Limits(fan_out=2))
    assert "- 0\n- 1\n- error: limit reached: at most 2 children may be spawned at once\n<=" in done.y("0")


async def test_the_script_of_the_readme_runs_by_the_prompt_for_parallel_threads(play) -> None:
    path = Path(__file__).parent.parent / "docs" / "parallel.toml"
    roles = [Role.model_validate(role) for role in tomllib.loads(path.read_text("utf-8"))["thread"]]
    prompt = load("parallel", "none")
    done = await play(ScriptedModel(roles), rules=prompt.rules.model_dump())
    assert done.of("joined")[0].children == tuple(f"0.{n}" for n in range(8))
    assert done.episode.answer == "the Volga"
    assert prompt.q.count("#START#") == 4


async def test_a_script_says_how_long_each_word_takes(play, tmp_path) -> None:
    path = tmp_path / "script.toml"
    path.write_text("pace = 0.02\n[[thread]]\ntext = \"one two three\\nprint('end')\"\n")
    done = await play(load_script(path))
    assert done.of("generated")[0].seconds >= 0.08
