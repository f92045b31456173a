"""The checks of models that stream: right ones pass, and each rule that a model breaks is found by its check."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers import Answer, Server, chat_event, error, thought_event

from thread_cli.bench.methods.direct import Direct
from thread_cli.conformance.model_streams import STREAMS
from thread_cli.conformance.models import check
from thread_cli.contracts.model import Completion, Model, Piece, Request
from thread_cli.models.faulty import FaultyModel
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.retry import Retrying
from thread_cli.models.scripted import ScriptedModel

Parts = AsyncGenerator[Piece | Completion]
JOIN, STOP, COUNT, CUT, AT_ONCE, LEAVE, REASON = STREAMS


def numbers(request: Request) -> str:
    """The list of the suite goes on, for very long where it may."""
    return "".join(f" {n}," for n in range(44, 44 + request.max_tokens // 2))


def fine() -> ScriptedModel:
    return ScriptedModel(numbers, pace=0.0001)


async def found(make: Callable[[], Model], only: Any = STREAMS, patience: float = 20) -> dict[str, tuple[str, str]]:
    return {each.check: (each.outcome, each.why) async for each in check(make, only=only, patience=patience)}


def outcomes(verdicts: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {name: outcome for name, (outcome, _) in verdicts.items() if outcome != "passed"}


# --- right ones

WRAPPED: dict[str, Callable[[], Model]] = {
    "scripted": fine,
    "retrying": lambda: Retrying(fine()),
    "faulty": lambda: Retrying(FaultyModel(fine(), "cut=0.4,429=0.2,seed=2"), wait_initial=0.001, attempts=40),
    "direct": lambda: Direct().model(Retrying(fine())),
}


@pytest.mark.parametrize("name", WRAPPED)
async def test_a_scripted_model_holds_the_rules_of_streams_alone_and_within_others(name) -> None:
    verdicts = await found(WRAPPED[name])
    assert outcomes(verdicts) == {REASON: "does not apply"}, verdicts


async def test_the_embedded_model_holds_the_rules_of_streams(embedded_model: Path) -> None:
    verdicts = await found(lambda: LlamaModel(LlamaOptions(embedded_model, context=4096)))
    assert outcomes(verdicts) == {REASON: "does not apply"}, verdicts


async def test_a_server_whose_model_reasons_holds_the_rules_of_streams(no_keys) -> None:
    words = numbers(Request("", "", "", (), 24)).split(" ")[1:]
    events = [thought_event("hm"), thought_event(", so"), *(chat_event(f" {word}") for word in words)]

    def answer(seen) -> Answer:
        if "chat" not in seen.path:
            return error(404, "Not Found")
        endless = seen.body["max_tokens"] >= 2000
        return Answer(events=events, end="hang") if endless else Answer(events=[*events, chat_event("", "stop")])

    with Server(answer) as server:
        verdicts = await found(lambda: OpenAIModel("m", server.url))
    assert outcomes(verdicts) == {}, verdicts


async def test_a_model_that_does_not_stream_is_asked_nothing() -> None:
    class Whole(ScriptedModel):
        stream = None

    verdicts = await found(lambda: Whole(numbers))
    assert set(verdicts.values()) == {("does not apply", "it does not stream")}


async def test_a_model_that_tells_all_at_once_cannot_be_cancelled() -> None:
    verdicts = await found(lambda: ScriptedModel(numbers), only=[JOIN, CUT])
    assert outcomes(verdicts) == {CUT: "does not apply"}
    assert verdicts[CUT][1] == "it told all in 1 pieces, before it could be cancelled"


# --- broken ones: each changes what a right one streams


async def loses(parts: Parts, _: Request) -> Parts:
    at = 0
    async for part in parts:
        at += 1
        if at != 2:
            yield part


async def repeats_lost_text(parts: Parts, _: Request) -> Parts:
    yield Piece(" 44,")
    async for part in parts:
        yield part


async def never_ends(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        if isinstance(part, Piece):
            yield part


async def goes_on(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        yield part
    yield Piece("", tokens=0)


async def says_cut(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        yield replace(part, stop="cut") if isinstance(part, Completion) else part


async def tells_stops(parts: Parts, request: Request) -> Parts:
    async for part in parts:
        if isinstance(part, Completion):
            half = len(request.stop[0]) // 2
            yield Piece(request.stop[0][:half], tokens=0)
            yield Piece(request.stop[0][half:], tokens=0)
            yield Piece(part.text, anew=True)
        yield part


async def begins_stops(parts: Parts, request: Request) -> Parts:
    async for part in parts:
        if isinstance(part, Completion) and request.stop[0] != "=>":
            yield Piece(request.stop[0][:1], tokens=0)
        yield part


async def counts_all_so_far(parts: Parts, _: Request) -> Parts:
    tokens = 0
    async for part in parts:
        if isinstance(part, Piece):
            tokens += part.tokens
            yield replace(part, tokens=tokens)
        else:
            yield part


async def counts_nothing(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        yield replace(part, tokens=0) if isinstance(part, Piece) else part


async def counts_back(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        yield replace(part, tokens=-1) if isinstance(part, Piece) else part


async def ends_without(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        yield part
        if isinstance(part, Piece):
            await asyncio.sleep(0.001)


async def takes_no_notice(parts: Parts, request: Request) -> Parts:
    text = ""
    for word in numbers(request).split(" ")[1:100]:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.001)
        text += f" {word}"
        yield Piece(f" {word}")
    yield Completion(text, "end")


async def forgets_what_was_told(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        cut = isinstance(part, Completion) and part.stop == "cut"
        yield replace(part, text="") if isinstance(part, Completion) and cut else part


async def charges_nothing(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        cut = isinstance(part, Completion) and part.stop == "cut"
        yield replace(part, usage=replace(part.usage, generated=0)) if isinstance(part, Completion) and cut else part


async def thinks_unheard(parts: Parts, _: Request) -> Parts:
    async for part in parts:
        yield replace(part, reasoning="hm") if isinstance(part, Completion) else part


async def thinks_apart(parts: Parts, _: Request) -> Parts:
    yield Piece("", "hm")
    async for part in parts:
        yield part


class OneForAll:
    """Tells what all calls write to whoever asked last."""

    def __init__(self) -> None:
        self.last: asyncio.Queue[Piece | None] = asyncio.Queue()

    async def stream(self, parts: Parts, _: Request) -> Parts:
        own = self.last = asyncio.Queue()
        async for part in parts:
            if isinstance(part, Completion):
                await asyncio.sleep(0.05)
                while not own.empty():
                    yield own.get_nowait()
                yield part
            else:
                self.last.put_nowait(part)


class GoesOn:
    """Leaves a task behind for each stream that nobody reads to its end."""

    async def stream(self, parts: Parts, _: Request) -> Parts:
        told: asyncio.Queue[Piece | Completion] = asyncio.Queue()
        self.task = asyncio.ensure_future(self._pour(parts, told))
        while True:
            part = await told.get()
            yield part
            if isinstance(part, Completion):
                return

    async def _pour(self, parts: Parts, told: asyncio.Queue[Piece | Completion]) -> None:
        async for part in parts:
            await asyncio.sleep(0.1 if told.qsize() > 20 else 0)
            told.put_nowait(part)


BROKEN: list[tuple[str, Any, str]] = [
    (JOIN, loses, "the pieces tell"),
    (JOIN, repeats_lost_text, "the pieces tell"),
    (JOIN, never_ends, "ends without a completion"),
    (JOIN, goes_on, "goes on after its completion"),
    (JOIN, says_cut, "nobody has cancelled"),
    (STOP, tells_stops, "is told in the pieces"),
    (STOP, begins_stops, "the pieces tell"),
    (COUNT, counts_all_so_far, "tokens together"),
    (COUNT, counts_nothing, "have 0 tokens together"),
    (COUNT, counts_back, "a piece has -1 tokens"),
    (CUT, ends_without, "the stream ends without a completion"),
    (CUT, takes_no_notice, "ends with stop 'end'"),
    (CUT, forgets_what_was_told, "the completion ''"),
    (CUT, charges_nothing, "and 0 are charged"),
    (AT_ONCE, OneForAll().stream, "the pieces tell"),
    (LEAVE, GoesOn().stream, "2 tasks still run"),
    (REASON, thinks_unheard, "the reasoning '', not 'hm'"),
    (REASON, thinks_apart, "the reasoning 'hm', not ''"),
]


@pytest.mark.parametrize(("name", "change", "why"), BROKEN, ids=[f"{name}: {c.__name__}" for name, c, _ in BROKEN])
async def test_a_model_that_breaks_a_rule_is_found_by_the_check_of_that_rule(name, change, why, monkeypatch) -> None:
    monkeypatch.setattr("thread_cli.conformance.model_streams._LEAVES", 0.2)

    class Broken(ScriptedModel):
        def stream(self, request: Request) -> Parts:
            return change(super().stream(request), request)

    verdicts = await found(lambda: Broken(numbers, pace=0.0001), only=[name])
    assert verdicts[name][0] == "failed", verdicts
    assert why in verdicts[name][1]
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        await asyncio.wait([task])
