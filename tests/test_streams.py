"""Models that write over time: pieces join to the completion, and a call that is cut ends in what was written."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from endpoints import REQUEST

from thread_cli.bench.methods.direct import Direct
from thread_cli.contracts.errors import ModelError
from thread_cli.contracts.model import Completion, Model, Piece, Request
from thread_cli.models.faulty import FaultyModel
from thread_cli.models.retry import Retrying
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.streams import Telling, completed, poured

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
    telling.grown("a #ENx =", "", 8, whole=True)
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
