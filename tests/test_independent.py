"""Prompts whose threads are independent: results are variables, and a thread waits where it needs one."""

from __future__ import annotations

import random
from typing import Any

import pytest
from later import Paced, joins
from pruning import ends
from test_worlds import Crafts, Forks

from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.protocol import Child, Spawn
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role
from thread_cli.protocols.prompt import load
from thread_cli.protocols.thread import ThreadProtocol
from thread_cli.record import first_difference
from thread_cli.record.tree import tree_of

RULES = {"independent": True}
FORMAT = ThreadProtocol(start="#START#", end="#END#", independent=True)


async def played(play: Any, main: str, pace: Any = None, below: dict[str, str] | None = None, **options: Any) -> Any:
    roles = [Role(path=path, text=text) for path, text in {"0": main, **(below or {})}.items()]
    roles += [Role(path=f"0.{n}", text=f"print('{n}')") for n in range(9)]
    rules = {**RULES, **options.pop("rules", {})}
    return await play(Paced(roles, pace or {}), rules=rules, **options)


def test_a_line_with_a_name_spawns_a_thread_for_that_variable() -> None:
    assert FORMAT.read("x = 1\nage = Second, how old ", "listen") == Spawn(
        (Child("Second, how old ", name="age"),), waits=False
    )
    for line in ("Second, how old ", "two words = a ", "in = a ", "age =a ", "a.b = c "):
        assert FORMAT.read(line, "listen") == Spawn((line,))
    plain = ThreadProtocol(start="#START#", end="#END#")
    assert plain.read("age = Second, how old ", "listen") == Spawn(("age = Second, how old ",))


async def test_threads_run_at_once_until_one_of_their_results_is_needed(play) -> None:
    main = "a = First, x =>\nb = Second, y =>\nThe second one:\nc = Third, with {b} =>\nprint(a + b)"
    done = await played(play, main, {"0.0": 0.1, "0.1": 0.05, "0.2": 0.2})
    assert done.y("0") == (
        "a = First, x =>{a}<=\n\n\nb = Second, y =>{b}<=\n\n\nThe second one:\nc = Third, with {b} =>{c}<=\n\n\n"
        "print(a + b)"
    )
    assert [event.context for event in done.of("thread_started")][1:] == ["x =>", "y =>", "with 1 =>"]
    assert joins(done) == [("0.0", "0.1"), ("0.2",)]
    assert list(ends(done)) == ["0.1", "0.0", "0.2", "0"]
    assert done.episode.answer == "1"


async def test_results_are_numbers_where_they_are_written_as_python_writes_them(play) -> None:
    below = {"0.0": "print('12')", "0.1": "x = 0.5\nprint('{x}')", "0.2": "print('007')"}
    done = await played(play, "a = x =>\nb = y =>\nc = z =>\nprint([a, b, c])", below=below)
    assert done.episode.answer == "[12, 0.5, '007']"


async def test_a_result_whose_values_are_too_long_to_be_written_out_stays_as_it_was_printed(play) -> None:
    below = {"0.0": "x = 'a' * 60000\nprint('{x}')"}
    done = await played(play, "a = x =>\nprint(a)", below=below)
    assert done.of("code_ran", "0")[-1].printed.strip() == "{x}"


@pytest.mark.parametrize(
    ("line", "waits"),
    [
        ("print(len('x'))", False),
        ("mine = 1\nprint(mine)", False),
        ("mine = task", False),
        ("theirs = 1", False),
        ("print(theirs)", True),
        ("a = 5", True),
        ("x = a", True),
        ("mine += theirs", True),
        ("del mine", True),
        ("eval('a')", True),
        ("x = observation", True),
        ("prose about a", False),
    ],
)
async def test_code_waits_where_it_reads_what_a_child_may_bind(play, line, waits) -> None:
    main = f"mine = 3\na = x =>\n{line}\nb = y =>\nprint('end')"
    below = {"0.0": "theirs = 'bound'\nprint('0')"}
    done = await played(play, main, {"0.0": 0.1}, below)
    order = [event.thread for event in done.events if event.kind in {"joined", "thread_started"}]
    assert (order[:3] == ["0", "0.0", "0"]) == waits
    assert done.episode.answer == "end"


async def test_a_thread_waits_before_it_acts_spawns_otherwise_or_ends(play) -> None:
    for move in ("> look =>", "Now, z =>", "- p\n- q =>", "& p =>"):
        rules = {"several": "- ", "background": "& "}
        done = await played(play, f"a = x =>\n{move}\nprint('end')", {"0.0": 0.05}, rules=rules)
        kinds = [event.kind for event in done.events if event.kind in {"joined", "acted", "spawned"}]
        assert kinds[:2] == ["spawned", "joined"]
    done = await played(play, "a = x =>\nprint('{a}')", {"0.0": 0.05})
    assert done.of("joined")[0].n < done.of("thread_ended", "0")[0].n


async def test_a_variable_of_a_child_is_not_taken_for_that_of_its_parent_of_the_same_name(play) -> None:
    below = {"0.0": "a = deeper =>\nprint('{a}!')", "0.0.0": "print('deep')", "0.1": "print('{a}')"}
    done = await played(play, "a = x =>\nb = of {a} =>\nprint(a + ' ' + b)", below=below)
    assert done.episode.answer == "deep! deep!"


async def test_a_child_that_fails_or_cannot_be_born_gives_the_account_of_it_as_its_result(play) -> None:
    done = await played(play, "a = x =>\nb = y =>\nprint([a, b])", below={"0.1": "nothing"}, limits=Limits(threads=2))
    assert "'error: limit reached: the limit of" in done.episode.answer
    done = await played(play, "a = x =>\nb = y =>\nprint([a, b])", below={"0.1": "nothing"})
    assert "'error: returned nothing" in done.episode.answer


async def test_a_recording_of_independent_threads_plays_again_and_makes_a_tree(play) -> None:
    first = await played(play, "a = x =>\nb = y =>\nc = z of {a} =>\nprint([a, b, c])", {"0.0": 0.05})
    again = await play(ReplayModel(first.events), rules=RULES)
    assert first_difference(first.events, again.events) is None
    assert tree_of(first.events).threads["0"].y == first.y("0")


def drawn(pick: random.Random) -> tuple[str, dict[str, str]]:
    """A main thread that binds, reads, hands down and spawns at random, and children that bind and fail."""
    lines, below = ["v0 = v1 = v2 = 'main'"] if pick.random() < 0.5 else ["v0 = 'main'"], {}
    born = 0
    for _ in range(pick.randrange(2, 9)):
        match pick.choice(["spawn", "spawn", "spawn", "hand down", "bind", "read", "old"]):
            case "bind":
                lines.append(f"v{pick.randrange(4)} = 'later'")
            case "read":
                lines.append(f"seen = [v for v in [v{pick.randrange(2)}] if v]")
            case kind:
                line = "look {v0}" if kind == "hand down" else "look"
                lines.append(f"{'' if kind == 'old' else f'p{born} = '}{line} at {born} =>")
                bound = "".join(f"v{pick.randrange(4)} = '{born}'\n" for _ in range(pick.randrange(3)))
                below[f"0.{born}"] = f"{bound}{'nothing' if pick.random() < 0.2 else 'print(1)'}"
                born += 1
    lines.append("print([v0, v1, v2, v3])")
    return "\n".join(lines), below


@pytest.mark.parametrize("seed", range(30))
async def test_all_comes_out_as_if_each_thread_had_been_waited_for_at_once(play, seed) -> None:
    """The same lines, once by a prompt that waits for each: names, contexts, results and errors are the same."""
    pick = random.Random(seed)
    main, below = drawn(pick)
    told: list[Any] = []
    for independent in (True, True, False):
        done = await played(
            play,
            main,
            lambda _: pick.choice([0, 0.002, 0.01]),
            below,
            rules={"independent": independent, "phi": "last_line"},
        )
        contexts = {event.thread: event.context.rpartition(" = ")[2] for event in done.of("thread_started")}
        ran = [(event.code, event.printed, event.error) for event in done.of("code_ran", "0")]
        results = {event.thread: event.result for event in done.of("thread_ended")}
        told.append((contexts, ran, results, done.episode.answer))
    assert told[0] == told[1] == told[2]


def test_a_prompt_that_hands_down_all_its_text_cannot_have_independent_threads(tmp_path) -> None:
    (tmp_path / "prompt").write_text('+++\nindependent = true\nphi = "whole_sequence"\n+++\nq')
    with pytest.raises(UserError, match="independent threads are given a line"):
        load(str(tmp_path / "prompt"), "none")


async def test_what_independent_threads_do_to_worlds_of_their_own_is_kept_where_they_join(play) -> None:
    main = "a = First, x =>\nb = Second, y =>\n> inventory =>\nprint('{a} {b}')"
    below = {"0.0": "> get 3 cornflower =>\nprint('3')", "0.1": "> get 24 string =>\nprint('24')"}
    done = await played(play, main, {"0.0": 0.02}, below, environment=Crafts("0"))
    assert done.of("observed", "0")[0].observation.strip() == "Inventory: [cornflower] (3) [string] (24)"

    main = "a = First, x =>\nb = Second, y =>\nprint(b)"
    below = {"0.0": "> get 3 cornflower =>\nprint('3')", "0.1": "> inventory =>\nprint('empty')"}
    done = await played(play, main, {"0.0": 0.02}, below, environment=Crafts("0"))
    assert [event.child for event in done.of("conflicted")] == ["0.1"]
    assert done.episode.answer.startswith("error: conflict: the action 'inventory'")


async def test_an_independent_thread_that_reaches_the_goal_ends_the_episode_where_it_joins(play) -> None:
    done = await played(play, "a = First, x =>\nprint(a)", below={"0.0": "> go 3 =>\nprint('3')"}, environment=Forks())
    assert (done.episode.status, done.episode.reward) == (Status.solved, 1)
    assert not done.of("joined")
