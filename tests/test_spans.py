"""A prompt divides into parts that tell their origin, and a completion says what ended it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from thread_cli.contracts.model import Completion, Request, Span, StopReason
from thread_cli.contracts.protocol import Child, End, Move, Result, Spawn
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.spans import spans


class Weave:
    """`a|b#` spawns children that go on from their parent's text; `!` ends a thread."""

    stop = ("#", "!")

    def open(self, context: str) -> str:
        return f"<{context}>"

    def read(self, y: str, stop: StopReason) -> Move:
        if stop == "end":
            return End()
        outlines = y.rpartition(")")[2].split("|")
        return Spawn(tuple(Child(context=outline, inherits=True) for outline in outlines))

    def body(self, text: str, stop: StopReason) -> str:
        return ""

    def join(self, results: Sequence[Result]) -> str:
        return f"#({'+'.join(result.y for result in results)})"

    def answer(self, observation: str) -> str:
        return observation


class Told(ScriptedModel):
    """A model that numbers each character of what it writes, and keeps what it was asked."""

    def __init__(self, script: dict[str, list[str]]) -> None:
        super().__init__(lambda request: script[request.thread].pop(0))
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        written = await super().complete(request)
        return Completion(written.text, written.stop, written.usage, tokens=[*map(ord, written.text)])

    async def stream(self, request: Request):
        yield await self.complete(request)


def numbered(text: str) -> Span:
    return Span("written", text, [*map(ord, text)])


async def test_a_childs_prompt_has_the_origins_and_tokens_of_what_it_inherits(play) -> None:
    model = Told({"0": ["a|b#", "c#", "done!"], "0.0": ["x!"], "0.1": ["deep#", "y!"], "0.1.0": ["z!"], "0.2": ["w!"]})
    await play(model, "T", protocol=Weave())
    asked = {(request.thread, place): request for place, request in enumerate(model.asked)}
    assert all("".join(part.text for part in spans(request)) == request.prompt for request in asked.values())

    deepest = next(request for request in model.asked if request.thread == "0.1.0")
    assert spans(deepest)[2:] == [
        numbered("a|b"),
        Span("context", "<b>"),
        numbered("deep"),
        Span("context", "<deep>"),
    ]
    last = [request for request in model.asked if request.thread == "0"][-1]
    assert spans(last)[2:] == [
        numbered("a|b"),
        Span("engine", "#(x+deep#(z)y)"),
        numbered("c"),
        Span("engine", "#(w)"),
    ]
    assert [part.origin for part in spans(last)[:2]] == ["few-shot", "context"]


def test_without_a_thread_all_of_y_is_one_part() -> None:
    request = Request(q="Q", c="", y="so far", stop=("=>",), max_tokens=1)
    assert spans(request) == [Span("few-shot", "Q"), Span("written", "so far")]


@pytest.mark.parametrize(
    ("answer", "stop", "string"), [("a=>b", "listen", "=>"), ("a#END#=>", "end", "#END#"), ("a", "end", None)]
)
async def test_a_completion_says_which_stop_string_ended_it(answer, stop, string) -> None:
    request = Request(q="", c="", y="", stop=("=>", "\n\n", "#END#"), max_tokens=9)
    written = await ScriptedModel([answer]).complete(request)
    assert (written.stop, written.stop_string) == (stop, string)


async def test_what_cannot_be_written_as_it_is_is_the_same_in_the_parts_as_in_the_prompt(play) -> None:
    model = Told({"0": ["odd \ud800#", "done!"], "0.0": ["x!"]})
    await play(model, "T", protocol=Weave())
    last = model.asked[-1]
    assert "".join(part.text for part in spans(last)) == last.prompt
    assert "odd ?" in last.prompt
