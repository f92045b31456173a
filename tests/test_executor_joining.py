"""A spawn may say how its results join, that the thread ends with that, and what was repaired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rooms import Fork

from thread_cli.contracts.protocol import Child, End, Joining, Result, Segment, Spawn
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role
from thread_cli.record import first_difference

Join = Callable[[Sequence[Result]], Any]


class Joins(Fork):
    """A format whose main thread spawns these children once, and joins them so; a child's `!` is its end."""

    stop = ("=>", "!")

    def __init__(self, join: Join, *children: Child, repairs: tuple[str, ...] = ()) -> None:
        self.spawn = Spawn(children, join=join, repairs=repairs)

    def read(self, y: str, stop: str) -> Any:
        return self.spawn if stop == "listen" else End(closed="whole" in y)

    def body(self, text: str, stop: str) -> str:
        return ""


ROLES = [
    Role(path="0", text="spawn =>went on"),
    Role(path="0.0", text="whole!"),
    Role(path="0.1", text="broken"),
    Role(path="0.2", text="!"),
]
HEIRS = (Child(inherits=True, opening=":"), Child(inherits=True, opening=":"))


async def test_a_spawn_may_join_its_own_results(play) -> None:
    seen: list[Result] = []

    def join(results: Sequence[Result]) -> list[Segment]:
        seen.extend(results)
        return [Segment("<"), *(Segment(result.y, place) for place, result in enumerate(results)), Segment(">")]

    options = {"protocol": Joins(join, *HEIRS), "rules": {"psi": "whole_sequence"}}
    played = await play(ROLES, **options)
    assert played.y("0") == "spawn <wholebroken>went on"
    assert [event.segments for event in played.of("joined")] == [(("", 1), ("0.0", 5), ("0.1", 6), ("", 1))]
    assert [(result.y, result.closed) for result in seen] == [("whole", True), ("broken", False)]
    assert first_difference(played.events, (await play(ReplayModel(played.events), **options)).events) is None


async def test_a_thread_may_end_with_the_text_in_which_results_join(play) -> None:
    protocol = Joins(lambda results: Joining(f"{len(results)} said", ends=True, repairs=("unclosed",)), *HEIRS)
    played = await play(ROLES, protocol=protocol, rules={"psi": "whole_sequence"})
    assert played.episode.answer == "spawn 2 said"
    assert [event.repair for event in played.of("repaired")] == ["unclosed"]
    assert len(played.of("generated", "0")) == 1


async def test_each_named_repair_is_counted(play) -> None:
    protocol = Joins(lambda results: ".", *HEIRS, repairs=("misnumbered", "double"))
    played = await play(ROLES, protocol=protocol, rules={"psi": "whole_sequence"})
    assert [event.repair for event in played.of("repaired", "0")] == ["misnumbered", "double"]
    assert played.episode.totals.repairs == 2


async def test_a_spawn_of_nobody_lets_the_thread_go_on_with_its_text(play) -> None:
    played = await play(ROLES, protocol=Joins(lambda results: "nobody, "), rules={"psi": "whole_sequence"})
    assert played.episode.answer == "spawn nobody, went on"
    assert (played.episode.totals.threads, [event.children for event in played.of("spawned")]) == (1, [()])


async def test_a_child_that_inherits_need_not_write_anything(play) -> None:
    child = Child(inherits=True, opening=":")
    protocol = Joins(lambda results: repr([result.text for result in results]), child, child, child)
    played = await play(ROLES, protocol=protocol, rules={"psi": "whole_sequence"})
    assert played.episode.answer == "spawn ['whole', 'broken', '']went on"
    assert played.of("failed") == []
