"""Children in the background: spawned without waiting, awaited later by their handles, or by nobody."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from later import SLOW, Later, episode, joins, three
from pruning import ends
from rooms import Walls

from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.limits import Budgets, ChildLimits, Limits
from thread_cli.contracts.model import Completion, Request
from thread_cli.models.scripted import Role, ScriptedModel

# --- spawning and awaiting


async def test_a_thread_goes_on_while_its_children_run(play) -> None:
    played = await episode(play, three("x = 1\nawait 1 =>\nawait =>\nprint('end')"), pace=SLOW)
    assert played.y("0") == "start a|b|c => 0 1 2\n\nx = 1\nawait 1 => 1:1\n\nawait => 0:0 & 2:2\n\nprint('end')"
    assert joins(played) == [("0.1",), ("0.0", "0.2")]
    (spawned,) = played.of("spawned")
    assert (spawned.waits, spawned.text, spawned.children) == (False, "=> 0 1 2\n", ("0.0", "0.1", "0.2"))
    first_end = next(event.n for event in played.events if event.kind == "thread_ended")
    assert [event.text for event in played.of("generated", "0") if event.n < first_end][1:] == ["\nx = 1\nawait 1 "]


async def test_results_join_in_the_order_of_spawning_whatever_that_of_the_handles_or_of_the_ends(play) -> None:
    played = await episode(play, three("await 2 0 2 =>\nprint('end')"), pace=SLOW)
    assert played.of("joined")[0].text == "=> 0:0 & 2:2\n"


async def test_any_comes_to_the_child_that_ends_first_and_of_several_that_have_to_the_first_spawned(play) -> None:
    main = "any =>\nany =>\nany =>\nprint('end')"
    played = await episode(play, three(main), pace=SLOW)
    assert joins(played) == [("0.1",), ("0.2",), ("0.0",)]
    assert [(event.which, event.children) for event in played.of("awaiting")] == [("any", ())] * 3
    played = await episode(play, three("any 0 2 =>\n" + main), pace={"0": 0.3})
    assert joins(played) == [("0.0",), ("0.1",), ("0.2",)]
    assert played.of("awaiting")[0].children == ("0.0", "0.2")
    assert played.of("corrected")[0].text == "=> :error: there is no thread left to be awaited\n"


async def test_a_handle_that_is_unknown_or_was_awaited_already_is_an_error_that_the_thread_reads(play) -> None:
    main = "await 7 =>\nawait 0 7 =>\nawait 0 =>\nawait 0 =>\nawait =>\nawait =>\nawait =>\nawait =>\nprint('end')"
    played = await episode(play, three(main))
    assert [event.text.strip().partition(" :error: ")[2] for event in played.of("corrected")] == [
        "there is no thread '7' to await",
        "there is no thread '7' to await",
        "thread '0' was awaited already",
        *["there is no thread left to be awaited"] * 2,
    ]
    assert joins(played) == [("0.0",), ("0.1", "0.2")]
    assert played.of("failed")[0].failure == "repetition"


async def test_a_child_that_was_waited_for_at_once_has_no_handle_and_takes_a_place(play) -> None:
    roles = [
        Role(path="0", text="now a =>\nstart b =>\nawait 0 =>\nawait 1 =>\nprint('end')"),
        Role(path="0.*", text="print('ok')"),
    ]
    played = await episode(play, roles)
    assert "start b => 1\n\nawait 0 => :error: there is no thread '0' to await\n\nawait 1 => 1:ok\n" in played.y("0")


async def test_a_child_that_cannot_be_born_has_a_handle_and_tells_why_when_it_is_awaited(play) -> None:
    main = "start d =>\nawait 1 =>\nawait 3 =>\nany =>\nany =>\nprint('end')"
    roles = [*three(main), Role(path="0.*", text="print('more')")]
    played = await episode(play, roles, limits=Limits(fan_out=1))
    assert "start a|b|c => 0 1 2\n\nstart d => 3\n\nawait 1 => 1:error: limit reached: at most 1" in played.y("0")
    assert joins(played) == [("0.1",), ("0.3",), ("0.0",), ("0.2",)]
    assert [event.children for event in played.of("spawned")] == [("0.0",), ("0.3",)]
    assert played.episode.answer == "end"


async def test_a_wire_format_that_cannot_tell_handles_cannot_spawn_so(play) -> None:
    class Mute(Later):
        spawned: Any = None

    with pytest.raises(
        UserError, match="the wire format Mute cannot spawn without waiting: it has no method `spawned`"
    ):
        await episode(play, three(""), protocol=Mute())


async def test_a_line_that_awaits_is_not_carried_out_where_the_code_before_it_failed(play) -> None:
    played = await episode(play, three("x = 1 / 0\nawait =>\nawait =>\nprint('end')"))
    assert "await => :error: ZeroDivisionError: division by zero\n\nawait => 0:0 & 1:1 & 2:2\n" in played.y("0")


# --- names


async def test_a_child_has_a_copy_of_the_names_at_the_spawn_and_they_join_when_it_is_awaited(play) -> None:
    roles = three(
        "items.append(2)\nmine = 'parent'\nawait 1 =>\nseen = [theirs, mine, items]\nawait 0 =>\nprint([*seen, theirs])",
        **{"0_0": "theirs = 'first'\nprint(items)", "0_1": "theirs = mine = 'second'\nprint(items)"},
    )
    roles[0] = Role(path="0", text=f"items = [1]\n{roles[0].text}")
    played = await episode(play, roles, pace=SLOW)
    assert [event.text for event in played.of("joined")] == ["=> 1:[1]\n", "=> 0:[1]\n"]
    assert played.episode.answer == "['second', 'parent', [1, 2], 'first']"


async def test_a_child_that_nobody_awaits_merges_nothing(play) -> None:
    roles = three("await 1 =>\nprint(x)", **{"0_0": "x = 'nobody asked'\nprint('0')"})
    played = await episode(play, roles, pace={"0": 0.05})
    assert "NameError" in played.of("code_ran", "0")[-1].error


async def test_an_observation_of_the_parents_own_stays_and_else_the_childs_is_the_newest(play) -> None:
    walls = Walls()
    roles = three("go 2 =>\nawait 0 =>\nprint(observation)", **{"0_0": "go 1 =>\nprint('x')"})
    assert (await episode(play, roles, environment=walls)).episode.answer == "You are in room 2"
    roles = three("await 0 =>\nprint(observation)", **{"0_0": "go 1 =>\nprint('x')"})
    assert (await episode(play, roles, environment=walls)).episode.answer == "You are in room 1"


# --- failures


@pytest.mark.parametrize("policy", ["report", "retry"])
async def test_a_child_that_failed_tells_so_when_it_is_awaited_and_is_not_tried_again(play, policy) -> None:
    roles = three("await 1 =>\nawait 0 =>\nprint('end')", **{"0_0": "x = 1"})
    played = await episode(play, roles, on_failure=policy)
    assert "await 0 => 0:error: returned nothing: the thread ended" in played.y("0")
    assert len(played.of("thread_started")) == 4
    assert played.episode.answer == "end"


@pytest.mark.parametrize("main", ["now d =>\nprint('end')", "await 0 =>\nprint('end')", "print('end')"])
async def test_where_failures_abort_a_child_that_fails_ends_the_episode_at_once(play, main) -> None:
    roles = [*three(main, **{"0_0": "x = 1"}), Role(path="0.3", text="print('late')")]
    played = await episode(play, roles, on_failure="abort", pace={"0.3": 5, "0.1": 5})
    assert played.episode.status is Status.failed
    assert played.episode.message.startswith("child failed: error: returned nothing")
    assert sorted(ends(played)) == sorted(event.thread for event in played.of("thread_started"))
    assert "end" not in played.y("0") or main == "print('end')"


class InSteps(ScriptedModel):
    """A scripted model whose second answer to the main thread takes so many steps of the event loop."""

    def __init__(self, roles: list[Role], steps: int) -> None:
        super().__init__(roles)
        self._steps = steps

    async def complete(self, request: Request) -> Completion:
        for _ in range(self._steps if request.thread == "0" and request.y else 0):
            await asyncio.sleep(0)
        return await super().complete(request)


@pytest.mark.parametrize("main", ["& a =>\nprint('end')", "x = a =>\nprint('end')", "x = a =>\nprint(x)"])
@pytest.mark.parametrize("steps", range(4))
async def test_where_failures_abort_a_child_that_fails_as_its_parent_ends_ends_the_episode_too(
    play, main, steps
) -> None:
    model = InSteps([Role(path="0", text=main), Role(path="0.0", text="y = 1")], steps)
    played = await play(model, rules={"background": "& ", "independent": True}, on_failure="abort")
    assert played.episode.message.startswith("child failed: error: returned nothing")
    assert ends(played) == {"0": "stopped", "0.0": "failed"}


async def test_where_failures_abort_a_child_that_cannot_be_born_ends_the_episode(play) -> None:
    played = await episode(play, three("print('end')"), on_failure="abort", limits=Limits(fan_out=2))
    assert played.episode.message.startswith("child failed: error: limit reached: at most 2")


async def test_where_failures_abort_children_that_return_or_are_pruned_end_nothing(play) -> None:
    played = await episode(play, three("await =>\nprint('end')"), on_failure="abort")
    assert played.episode.answer == "end"


@pytest.mark.parametrize("rule", ["awaited", "detached", "stopped"])
async def test_where_a_parent_fails_its_children_are_stopped_whatever_the_rule(play, rule) -> None:
    below = {"0_0": "start d =>\nnothing", "0_0_0": "print('d')"}
    played = await episode(play, three("await 0 =>\nprint('end')", **below), pace={"0.0.0": 5}, rules={"orphans": rule})
    assert ends(played) == {"0.0.0": "stopped", "0.0": "failed", "0.1": "returned", "0.2": "returned", "0": "returned"}
    assert played.of("thread_ended", "0.0.0")[0].reason == "its parent failed"


# --- children that nobody awaits


async def test_a_parent_ends_after_the_children_that_it_has_not_awaited(play) -> None:
    played = await episode(play, three("await 1 =>\nprint('end')"), pace=SLOW)
    assert list(ends(played).items()) == [
        ("0.1", "returned"),
        ("0.2", "returned"),
        ("0.0", "returned"),
        ("0", "returned"),
    ]
    assert [event.children for event in played.of("awaiting")] == [("0.1",), ("0.0", "0.2")]
    assert joins(played) == [("0.1",)]
    assert played.episode.answer == "end"


@pytest.mark.parametrize(("rule", "reason"), [("detached", "its parent returned"), ("stopped", "its parent returned")])
async def test_children_of_the_main_thread_are_stopped_when_it_returns(play, rule, reason) -> None:
    below = {"0_0": "now d =>\nprint('0')", "0_0_0": "print('d')"}
    roles = three("await 1 =>\nprint('end')", **below)
    played = await episode(play, roles, pace={"0.0.0": 5, "0.2": 5}, rules={"orphans": rule})
    assert ends(played) == {"0.1": "returned", "0.0.0": "stopped", "0.0": "stopped", "0.2": "stopped", "0": "returned"}
    assert {event.thread: event.reason for event in played.of("thread_ended")} == {
        **dict.fromkeys(("0", "0.1", "0.0.0"), ""),
        **dict.fromkeys(("0.0", "0.2"), reason),
    }
    assert played.events[-2].thread == "0"
    assert played.episode.answer == "end"


async def test_detached_children_go_on_below_the_next_thread_above_that_is_alive(play) -> None:
    roles = [
        Role(path="0", text="now a =>\nnow wait =>\nprint('end')"),
        Role(path="0.0", text="start b =>\nprint('a')"),
        Role(path="0.0.0", text="start c|d =>\nprint('b')"),
        Role(path="0.0.0.0", text="print('c')"),
        Role(path="0.0.0.1", text="print('d')"),
        Role(path="0.1", text="print('waited')"),
    ]
    pace = {"0.0.0": 0.1, "0.0.0.0": 0.1, "0.0.0.1": 5, "0.1": 0.6}
    played = await episode(play, roles, pace=pace, rules={"orphans": "detached"})
    assert list(ends(played).items()) == [
        ("0.0", "returned"),
        ("0.0.0", "returned"),
        ("0.0.0.0", "returned"),
        ("0.1", "returned"),
        ("0.0.0.1", "stopped"),
        ("0", "returned"),
    ]
    assert played.episode.answer == "end"


# --- limits


async def test_a_deadline_of_a_child_holds_and_its_parent_reads_of_it(play) -> None:
    played = await episode(
        play, three("await =>\nprint('end')"), pace={"0.0": 60, "0.2": 60}, child_limits=Budgets(wall_time=0.5)
    )
    assert played.of("joined")[0].text.startswith(
        "=> 0:error: limit reached: the time for this thread is up & 1:1 & 2:"
    )
    assert {event.owner for event in played.of("failed")} == {"0.0", "0.2"}


async def test_the_time_of_an_episode_ends_it_while_it_waits_for_children(play) -> None:
    roles = three("await =>\nprint('end')")
    for main in ("await =>", "any =>", "print('end')"):
        roles[0] = Role(path="0", text=f"start a|b|c =>\n{main}\nprint('end')")
        played = await episode(
            play, roles, pace={"0.0": 60, "0.1": 60, "0.2": 60}, limits=Limits(wall_time=0.3, depth=1)
        )
        assert sorted(ends(played)) == ["0", "0.0", "0.1", "0.2"]
        assert {event.limit for event in played.of("failed")} == {"wall_time"}


async def test_children_share_what_their_parent_has_left_in_the_order_of_spawning(play) -> None:
    loop = "go 1 =>\ngo 2 =>\ngo 4 =>\ngo 5 =>\nprint('x')"
    roles = three("await =>\nprint('end')", **dict.fromkeys(("0_0", "0_1", "0_2"), loop))
    told = set()
    for seed in range(3):
        pick = random.Random(seed)
        played = await episode(
            play,
            roles,
            pace=lambda _, pick=pick: pick.random() / 100,
            environment=Walls(),
            limits=Limits(calls=20),
            child_limits=ChildLimits(share=0.2),
        )
        told.add(played.of("joined")[0].text)
    assert len(told) == 1
    assert "the limit of 3 model calls is reached" in told.pop()
