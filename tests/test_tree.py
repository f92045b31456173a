"""The tree of an episode, from its events alone."""

from __future__ import annotations

from typing import Any

from later import Later
from rooms import Walls

from thread_cli.contracts.protocol import Child, Spawn, StopReason
from thread_cli.models.scripted import Role
from thread_cli.record.tree import tree_of


class Inherits(Later):
    """`start a|b =>` starts threads that go on from their parent's text."""

    def read(self, y: str, stop: StopReason) -> Any:
        move = super().read(y, stop)
        if not isinstance(move, Spawn):
            return move
        children = [line if isinstance(line, Child) else Child(line) for line in move.lines]
        return Spawn(tuple(child._replace(inherits=True, opening="\nGo on.\n") for child in children), waits=move.waits)


async def test_a_thread_has_read_the_handles_of_its_children_and_those_who_inherit_have_not(play) -> None:
    roles = [
        Role(path="0", text="go 1 =>\nstart a|b =>\nx = 1\nnow c =>\nawait =>\nprint('end')"),
        Role(path="0.*", text="print('ok')"),
    ]
    played = await play(roles, protocol=Inherits(), environment=Walls())
    threads = tree_of(played.events).threads
    assert {path: branch.y for path, branch in threads.items()} == {path: played.y(path) for path in threads}
    read = [part.text for part in threads["0"].segments if not part.writer]
    assert read == ["=> You are in room 1\n", "=> 0 1\n", "=> :ok\n", "=> 0:ok & 1:ok\n"]
    inherited = [branch.inherits for path, branch in threads.items() if path != "0"]
    assert ["".join(part.text for part in threads["0"].segments[:number]) for number in inherited] == [
        *["go 1 => You are in room 1\n\nstart a|b "] * 2,
        "go 1 => You are in room 1\n\nstart a|b => 0 1\n\nx = 1\nnow c ",
    ]
