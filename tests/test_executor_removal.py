"""Joined results may stand in place of the end of the text that spawned, and events tell what each prompt was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from later import Later, Paced

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.model import Request
from thread_cli.contracts.protocol import Await, Child, End, Joining, Move, Result, Segment, Spawn, StopReason
from thread_cli.display.transcript import render_thread
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.protocols.spans import spans
from thread_cli.record import first_difference
from thread_cli.record.tree import Removal, tree_of
from thread_cli.record.tree import Segment as Part


class Replaces(Later):
    """`(a|b =>` spawns, and all from the last bracket on is replaced by the results; `start a =>` spawns and goes on."""

    def read(self, y: str, stop: StopReason) -> Move:
        before, bracket, rest = y.rpartition("(")
        if stop == "end" or not bracket:
            return super().read(y, stop)
        children = tuple(Child(context=line, inherits=line == "heir") for line in rest.strip().split("|"))
        return Spawn(children, join=lambda results: Joining(self._parts(results), kept=len(before)))

    def _parts(self, results: Sequence[Result]) -> list[Segment]:
        parts = [Segment(result.text, place) for place, result in enumerate(results)]
        return [Segment("["), *parts, Segment("]")]


class Asked(ScriptedModel):
    """A scripted model that keeps what it was asked, and numbers each character that it writes."""

    def __init__(self, script: Any) -> None:
        super().__init__(script)
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Any:
        self.asked.append(request)
        written = await super().complete(request)
        told = {"pieces": [*written.text], "logprobs": [-1.0] * len(written.text)} if request.logprobs else {}
        return replace(written, tokens=[*map(ord, written.text)], **told)

    async def stream(self, request: Request) -> Any:
        yield await self.complete(request)

    def prompts(self, thread: str) -> list[str]:
        return [request.y for request in self.asked if request.thread == thread]


ROLES = [
    Role(path="0", text="one (a|b => two (a => three"),
    Role(path="0.*", text="X"),
]


async def test_a_parent_goes_on_from_its_text_without_the_end_that_spawned(play) -> None:
    model = Asked(ROLES)
    played = await play(model, protocol=Replaces(), rules={"psi": "whole_sequence"}, logprobs=True)
    assert model.prompts("0") == ["", "one [XX]", "one [XX] two [X]"]
    assert played.episode.answer == played.y("0") == "one [XX] two [X] three"
    assert [event.kept for event in played.of("removed")] == [4, 13]


async def test_a_replay_asks_the_same_prompts(play) -> None:
    first, second = Asked(ROLES), []
    options = {"protocol": Replaces(), "rules": {"psi": "whole_sequence"}}
    played = await play(first, **options)

    class Replayed(ReplayModel):
        async def complete(self, request: Request) -> Any:
            second.append(request.y)
            return await super().complete(request)

        stream = None

    again = await play(Replayed(played.events), **options)
    assert again.episode.answer == "one [XX] two [X] three"
    assert first_difference(played.events, again.events) is None
    assert second == [request.y for request in first.asked]


async def test_the_tree_has_what_was_removed_and_where(play) -> None:
    played = await play(Asked(ROLES), protocol=Replaces(), rules={"psi": "whole_sequence"}, logprobs=True)
    main = tree_of(played.events).threads["0"]
    assert main.y == played.y("0")
    assert [(removal.at, "".join(part.text for part in removal.segments)) for removal in main.removals] == [
        (1, "(a|b "),
        (6, "(a "),
    ]
    prompt = [part.text for part in main.segments[: main.removals[1].at]]
    assert prompt == ["one ", "[", "X", "X", "]", " two "]
    kept, (removed,) = main.segments[0], main.removals[0].segments
    assert [token for token, _ in kept.tokens] == [*"one "]
    assert [token for token, _ in removed.tokens] == [*"(a|b "]
    assert (kept.stop, removed.stop) == (None, "listen")


async def test_a_cut_between_two_segments_divides_none(play) -> None:
    roles = [Role(path="0", text="one (a => (b => two"), Role(path="0.*", text="X")]
    played = await play(roles, protocol=Replaces(), rules={"psi": "whole_sequence"})
    main = tree_of(played.events).threads["0"]
    assert main.y == played.y("0") == "one [X] [X] two"
    whole = [Role(path="0", text="(a =>one"), Role(path="0.*", text="X")]
    main = tree_of((await play(whole, protocol=Replaces())).events).threads["0"]
    assert main.removals == [Removal(0, (Part("(a ", "0", "listen"),))]


async def test_a_prompt_divides_by_origin_after_a_removal(play) -> None:
    model = Asked(ROLES)
    await play(model, protocol=Replaces(), rules={"psi": "whole_sequence"})
    last = [request for request in model.asked if request.thread == "0"][-1]
    parts = [(part.origin, part.text, part.tokens is not None) for part in spans(last)[2:]]
    assert parts == [
        ("written", "one ", False),
        ("engine", "[XX]", False),
        ("written", " two ", False),
        ("engine", "[X]", False),
    ]
    assert "".join(part.text for part in spans(last)) == last.prompt


async def test_a_removal_may_reach_into_what_was_read(play) -> None:
    class Long(Replaces):
        def read(self, y: str, stop: StopReason) -> Move:
            move = super().read(y, stop)
            return Spawn((Child(context="c"),), join=lambda _: Joining("!", kept=1)) if y.endswith("all ") else move

    model = Asked([Role(path="0", text="one (a => all =>end"), Role(path="0.*", text="X")])
    played = await play(model, protocol=Long(), rules={"psi": "whole_sequence"})
    assert model.prompts("0") == ["", "one [X]", "o!"]
    last = [request for request in model.asked if request.thread == "0"][-1]
    assert "".join(part.text for part in spans(last)) == last.prompt
    assert tree_of(played.events).threads["0"].y == "o!end"


async def test_a_child_that_inherits_after_a_removal_goes_on_from_what_is_left(play) -> None:
    roles = [Role(path="0", text="one (a => two (heir => end"), Role(path="0.*", text="X")]
    model = Asked(roles)
    played = await play(model, protocol=Replaces(), rules={"psi": "whole_sequence"})
    (heir,) = [request for request in model.asked if request.thread == "0.1"]
    assert heir.prompt == "Q\nDo it.\none [X] two (heir \nheir\n"
    assert "".join(part.text for part in spans(heir)) == heir.prompt
    again = await play(ReplayModel(played.events), protocol=Replaces(), rules={"psi": "whole_sequence"})
    assert first_difference(played.events, again.events) is None


async def test_text_that_a_child_in_the_background_goes_on_from_cannot_be_removed(play) -> None:
    class Inherits(Replaces):
        def read(self, y: str, stop: StopReason) -> Move:
            if stop == "end":
                return End()
            if y.endswith("start "):
                return Spawn((Child(context="heir", inherits=True),), waits=False)
            if y.endswith("await "):
                return Await()
            return Spawn((Child(context="a"),), join=lambda _: Joining("!", kept=1))

    roles = [Role(path="0", text="start =>now =>end"), Role(path="0.*", text="X")]
    with pytest.raises(UserError, match="removes text of a thread from which a child in the background goes on"):
        await play(Paced(roles, {"0.0": 5}), protocol=Inherits(), rules={"psi": "whole_sequence"})


async def test_a_thread_is_shown_with_a_note_where_text_was_replaced(play) -> None:
    played = await play(ROLES, protocol=Replaces(), rules={"psi": "whole_sequence"})
    lines = [line.plain for line in render_thread(played.events, "0")]
    assert [line for line in lines if "is replaced" in line] == [
        "· the text from character 4 of Y on is replaced",
        "· the text from character 13 of Y on is replaced",
    ]
