"""Models that write over time: pieces join to the completion, and a call that is cut ends in what was written."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from endpoints import REQUEST
from servers import Answer, Server, chat_event, completion, error, text_event, thought_event

from thread_cli.bench.methods.direct import Direct
from thread_cli.contracts.errors import ModelError
from thread_cli.contracts.limits import Budgets, Limits
from thread_cli.contracts.model import Completion, Model, Piece, Request
from thread_cli.models.faulty import FaultyModel
from thread_cli.models.limiter import Limiter
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.replay import ReplayModel
from thread_cli.models.retry import Retrying
from thread_cli.models.scripted import Role, ScriptedModel
from thread_cli.protocols.streams import Telling, completed, poured
from thread_cli.record import first_difference

WORDS = " ".join(f"word{n}" for n in range(400))


async def heard(model: Model, request: Request = REQUEST) -> tuple[list[Piece], Completion]:
    pieces: list[Piece] = []
    return pieces, await completed(model, request, pieces.append)


async def cut_after(model: Model, pieces: int, request: Request = REQUEST, patience: float = 0.05) -> Completion:
    """A call whose task is cancelled once so many pieces were heard."""
    task: asyncio.Task[Completion]
    left = pieces

    def tell(piece: Piece) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            asyncio.get_running_loop().call_soon(task.cancel)

    task = asyncio.ensure_future(completed(model, request, tell))
    if not pieces:
        await asyncio.sleep(patience)
        task.cancel()
    return await task


def texts(pieces: list[Piece]) -> str:
    """What the pieces say in the end."""
    last = max((at for at, piece in enumerate(pieces) if piece.anew), default=0)
    return "".join(piece.text for piece in pieces[last:])


def test_what_may_begin_a_stop_string_is_kept_back_and_thoughts_begin_the_text_anew() -> None:
    told: list[Piece] = []
    telling = Telling(told.append, ("=>", "#END#"))
    for text in ("a", "a #E", "a #EN", "a #ENx", "a #ENx ="):
        telling.grown(text, "", len(text))
    telling.grown("a #ENx =", "", 8, ended=True)
    assert [piece.text for piece in told] == ["a", " ", "#ENx", " ", "="]
    assert sum(piece.tokens for piece in told) == 8
    telling.grown("", "a #ENx =", 8)
    telling.grown("b", "a #ENx =", 9)
    assert [(piece.text, piece.reasoning, piece.anew) for piece in told[5:]] == [
        ("", "a #ENx =", True),
        ("b", "", False),
    ]


async def test_a_call_that_fails_while_it_is_cancelled_is_cancelled_all_the_same() -> None:
    async def failing(_) -> Completion:
        try:
            await asyncio.sleep(60)
        finally:
            raise ModelError("lost")
        raise AssertionError

    class Failing(ScriptedModel):
        def stream(self, request: Request):
            return poured(failing)

    with pytest.raises(asyncio.CancelledError):
        await cut_after(Failing([]), 0)


async def test_a_stream_without_a_completion_is_the_models_failure() -> None:
    class Endless(ScriptedModel):
        async def stream(self, request: Request):
            yield Piece("a")

    with pytest.raises(ModelError, match="ended without a completion"):
        await completed(Endless([]), REQUEST)


# --- wrappers


async def test_a_try_that_was_lost_begins_the_text_anew() -> None:
    model = Retrying(FaultyModel(ScriptedModel(lambda _: "a b c"), "cut=0.5,seed=4"), wait_initial=0.001, attempts=50)
    retried = 0
    for seed in range(12):
        request = Request("", str(seed), "", ("=>",), 20)
        pieces, done = await heard(model, request)
        assert texts(pieces) == done.text == "a b c"
        assert sum(piece.anew for piece in pieces) == done.retries
        retried += done.retries
    assert retried


async def test_a_call_cut_before_anything_was_spent_is_cancelled() -> None:
    class Asleep(ScriptedModel):
        stream = None

        async def complete(self, request: Request) -> Completion:
            await asyncio.sleep(60)
            raise AssertionError

    with pytest.raises(asyncio.CancelledError):
        await cut_after(Retrying(Asleep([])), 0)


async def test_blank_lines_before_the_line_of_a_direct_thread_are_told_too() -> None:
    answers = ["", "> look"]
    model = Direct().model(ScriptedModel(lambda request: answers[request.y.count("\n") % 2]))
    pieces, done = await heard(model, Request("", "", "", ("=>", "#END#", "\n"), 20))
    assert texts(pieces) == done.text == "\n> look"


async def test_who_stops_listening_ends_the_call() -> None:
    model = Retrying(ScriptedModel([WORDS], pace=0.01))
    async with aclosing(model.stream(REQUEST)) as parts:
        assert isinstance(await anext(parts), Piece)
    assert len(asyncio.all_tasks()) == 1


# --- servers


async def test_pieces_of_a_server_join_to_its_answer_up_to_a_stop_string(no_keys) -> None:
    with Server(lambda _: completion("one ", "two =", "> three")) as server:
        model = OpenAIModel("m", server.url)
        pieces, done = await heard(model)
        await model.close()
    assert [piece.text for piece in pieces] == ["one ", "two "]
    assert (done.text, done.stop) == ("one two ", "listen")


async def test_pieces_tell_reasoning_apart_and_shapes_that_were_refused_tell_nothing(no_keys) -> None:
    events = [thought_event("hm"), chat_event("yes"), chat_event("", "stop")]
    plan = lambda seen: Answer(events=events) if "chat" in seen.path else error(404, "Not Found")  # noqa: E731
    with Server(plan) as server:
        model = OpenAIModel("m", server.url)
        pieces, done = await heard(model)
        await model.close()
    assert [(piece.text, piece.reasoning) for piece in pieces] == [("", "hm"), ("yes", "")]
    assert (done.text, done.reasoning) == ("yes", "hm")


async def test_a_call_to_a_server_that_is_cut_counts_what_came(no_keys) -> None:
    endless = Answer(events=[text_event("a"), text_event("b"), text_event("c")], end="hang")
    with Server(lambda _: endless) as server:
        model = OpenAIModel("m", server.url)
        done = await cut_after(model, 3)
        assert (done.text, done.stop, done.usage.generated) == ("abc", "cut", 3)
        assert done.usage.prompt > 0
        assert done.usage.estimated
        assert await asyncio.to_thread(server.gave_up, 1)
        await model.close()


async def test_a_call_cut_in_a_pause_is_charged_what_its_tries_have_lost(no_keys) -> None:
    broken = Answer(events=[text_event("a"), text_event("b")], end="drop")
    with Server(lambda _: broken) as server:
        limiter = Limiter()
        model = Retrying(OpenAIModel("m", server.url), wait_initial=30, limiter=limiter)
        for pieces in (2, 0):  # cut as the answer breaks off, and in the pause after it
            done = await asyncio.wait_for(cut_after(model, pieces, patience=2), 20)
            assert done.stop == "cut"
            assert done.usage.generated == 2
            assert limiter.in_flight == 0
        await model.close()


async def test_a_call_cut_as_it_is_asked_again_counts_the_answer_that_was_of_no_use(no_keys) -> None:
    answers = [Answer(events=[text_event("<think>hm"), text_event(" hm", "length")]), Answer(events=[], end="hang")]
    with Server(lambda _: answers.pop(0)) as server:
        model = OpenAIModel("m", server.url)
        task = asyncio.ensure_future(completed(model, replace(REQUEST, max_reasoning=9), lambda _: None))
        assert await asyncio.to_thread(server.asked, 2)
        task.cancel()
        done = await task
        assert (done.text, done.stop, done.usage.generated) == ("", "cut", 2)
        await model.close()


# --- the local model


async def test_the_local_model_streams_and_says_what_a_call_that_was_cut_has_taken(embedded_model: Path) -> None:
    model = LlamaModel(LlamaOptions(embedded_model, context=1024))
    request = Request("", "1, 2, 3, 4, 5, 6,", "", ("=>",), 24)
    pieces, done = await heard(model, request)
    assert texts(pieces) == done.text
    assert sum(piece.tokens for piece in pieces) == done.usage.generated
    cut = await cut_after(model, 5, Request("", "A, B, C, D, E,", "", ("=>",), 800))
    assert cut.stop == "cut"
    assert 5 <= cut.usage.generated < 400
    assert cut.usage.prompt > 0
    assert (await model.complete(request)).text == done.text
    await model.close()


# --- the executor


async def test_what_was_written_when_the_episode_was_cancelled_is_recorded_and_summed_up(play) -> None:
    events: list = []
    model = ScriptedModel([WORDS], pace=0.01)

    def soon(event) -> None:
        events.append(event)
        if event.kind == "generating":
            asyncio.get_running_loop().call_later(0.2, task.cancel)

    task = asyncio.ensure_future(play(model, sinks=[soon]))
    with suppress(asyncio.CancelledError):
        await task
    cut = next(event for event in events if event.kind == "generated")
    assert cut.stop == "cut"
    assert cut.generated_tokens > 0
    assert events[-1].totals.generated_tokens == cut.generated_tokens
    assert [event.kind for event in events[-2:]] == ["thread_ended", "episode_ended"]


async def test_a_run_in_which_calls_were_cut_replays_to_the_same_events(play) -> None:
    roles = [Role(path="0", text="First, tell =>\nprint('ok')"), Role(path="0.0", text=WORDS)]
    first = await play(ScriptedModel(roles, pace=0.01), child_limits=Budgets(wall_time=0.1))
    assert [event.limit for event in first.of("failed")] == ["wall_time"]
    for limits in (Limits(), Limits(wall_time=None)):
        again = await play(ReplayModel(first.events), limits=limits)
        assert first_difference(first.events, again.events) is None
        (failed,), (recorded,) = again.of("failed"), first.of("failed")
        assert (failed.used, failed.cap, failed.owner) == (recorded.used, recorded.cap, recorded.owner)
