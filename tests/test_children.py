"""Children with contexts, openings, stop strings and wire formats of their own, and those that inherit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rooms import Fork

from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Request
from thread_cli.contracts.protocol import Child, End, Result, Segment, Spawn
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.replay import ReplayModel
from thread_cli.models.scripted import Role
from thread_cli.protocols.thread import ThreadProtocol
from thread_cli.record import first_difference


class Spawning(Fork):
    """A wire format whose main thread spawns these children, once; results join as segments."""

    def __init__(self, *children: Child | str, nested: Child | None = None) -> None:
        self.children, self.nested = children, nested

    def read(self, y: str, stop: str) -> Any:
        if stop == "end" or y.endswith("<="):
            return End()
        return Spawn((self.nested,) if self.nested and "deeper" in y else self.children)

    def join(self, results: Any) -> Any:
        return [Segment("=>"), *(Segment(result.text, place) for place, result in enumerate(results)), Segment("<=\n")]


def record(asked: dict[str, Request], answers: dict[str, str]) -> Any:
    def script(request: Request) -> str:
        if request.thread not in asked:
            asked[request.thread] = request
            return answers[request.thread]
        return "print('end')"

    return script


async def test_a_child_may_have_a_context_an_opening_stop_strings_and_a_wire_format_of_its_own(play) -> None:
    asked: dict[str, Request] = {}
    thread = ThreadProtocol(start="#START#", end="#END#")
    children = (
        Child("a", context="its {own}"),
        Child("b", opening="\nBegin: ", stop=("!",)),
        Child("c", protocol=thread),
        "d",
    )
    answers = {
        "0": "spawn =>",
        "0.0": "print('1')",
        "0.1": "print('2')",
        "0.2": "Now, e =>",
        "0.2.0": "print('3')",
        "0.3": "print('4')",
    }
    played = await play(record(asked, answers), protocol=Spawning(*children), rules={"phi": "last_line"})
    assert [asked[f"0.{n}"].c for n in range(4)] == ["\nits {own}\n", "\nBegin: ", thread.open("c=>"), "\nd=>\n"]
    assert [asked[path].stop for path in ("0.1", "0.2", "0.2.0", "0.3")] == [
        ("!",),
        thread.stop,
        thread.stop,
        Fork.stop,
    ]
    assert [event.opening for event in played.of("thread_started")] == [None, None, "\nBegin: ", None, None, None]
    (joined,) = played.of("joined", "0")
    assert joined.text == "=>12end4<=\n"
    assert joined.segments == (("", 2), ("0.0", 1), ("0.1", 1), ("0.2", 3), ("0.3", 1), ("", 3))


async def test_a_child_that_could_not_be_born_has_a_result_and_no_path(play) -> None:
    answers = {"0": "spawn =>", "0.0": "print('1')"}
    played = await play(record({}, answers), protocol=Spawning("a", "b"), limits=Limits(fan_out=1))
    (joined,) = played.of("joined", "0")
    assert [path for path, _ in joined.segments] == ["", "0.0", "", ""]
    assert joined.children == ("0.0",)


async def test_what_a_child_inherits_grows_with_its_ancestors_and_replays(play) -> None:
    asked: dict[str, Request] = {}
    answers = {"0": "one\nspawn =>", "0.0": "two\ndeeper =>", "0.0.0": "print('three')"}
    child = Child(inherits=True, opening="=> part:\n")
    options = {"protocol": Spawning(child, nested=Child(context="last", inherits=True)), "limits": Limits(repeats=1)}
    played = await play(record(asked, answers), **options)
    assert asked["0.0"].prompt == "Q\nDo it.\none\nspawn => part:\n"
    assert asked["0.0.0"].prompt == "Q\nDo it.\none\nspawn => part:\ntwo\ndeeper \nlast\n"
    assert {request.c for request in asked.values()} == {"\nDo it.\n"}
    assert [(e.thread, e.inherits, e.opening) for e in played.of("thread_started")] == [
        ("0", False, None),
        ("0.0", True, "=> part:\n"),
        ("0.0.0", True, "\nlast\n"),
    ]
    again = await play(ReplayModel(played.events), **options)
    assert first_difference(played.events, again.events) is None


async def test_children_that_inherit_share_the_cache_of_the_local_model(play, embedded_model: Path) -> None:
    model = LlamaModel(LlamaOptions(embedded_model, context=2048))
    child = Child(inherits=True, opening="\n1 2 3 4 5")
    text = "Count: " + " ".join(map(str, range(200)))
    played = await play(model, text, protocol=Spawning(child, child, child), limits=Limits(max_tokens=8, depth=1))
    await model.close()
    first = played.of("generated", "0")[0]
    assert first.prompt_tokens > 200
    for path in ("0.0", "0.1", "0.2"):
        for event in played.of("generated", path)[:1]:
            assert event.prompt_tokens - event.cached_tokens < 40
    assert played.episode.totals.repeated_tokens == 0


async def test_a_result_has_all_that_its_child_wrote_and_read(play) -> None:
    seen: list[Result] = []

    class Looks(Spawning):
        def join(self, results: Any) -> str:
            seen.extend(results)
            return "=><=\n"

    await play(record({}, {"0": "spawn =>", "0.0": "x = 1\nprint('1')"}), protocol=Looks("a"))
    assert [(result.text, result.y, result.how) for result in seen] == [("1", "x = 1\nprint('1')", "returned")]


async def test_a_child_begins_with_the_engines_names_whatever_its_parent_bound_to_them(play) -> None:
    roles = [
        Role(path="0", text="task = 'mine'\nFirst, say it =>\nprint(task)"),
        Role(path="0.0", text="heard = task\nprint(heard)"),
    ]
    played = await play(roles, "Count the chairs.")
    assert [event.result for event in played.of("thread_ended")] == ["Count the chairs.", "mine"]
