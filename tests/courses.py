"""Courses, asked for turn by turn by the structure of their threads."""

from __future__ import annotations

import re
from typing import Any

from thread_cli.contracts.model import Completion, Request
from thread_cli.contracts.protocol import Result
from thread_cli.contracts.writer import Exchange, Feedback, Turn


def heard(text: str) -> Feedback:
    """What a child returned: a failure where the text begins as the engine's account of one does."""
    return Feedback("joined", text, (Result(text, failed=text.startswith("error:")),))


def request(context: str, *exchanges: Exchange, thread: str = "0", brief: object = None) -> Request:
    """What is asked for a thread that was given `context`, after all that it has written and read."""
    turn = Turn(thread, thread.count("."), context, context, brief, exchanges)
    return Request("q", context, "", ("=>", "#END#"), 500, thread=thread, turn=turn)


async def written(model: Any, context: str, *feedback: str) -> list[Completion]:
    """What a thread writes: at first, and after each of its answers."""
    turns = [await model.complete(request(context))]
    exchanges: list[Exchange] = []
    for text in feedback:
        assert turns[-1].stop == "listen"
        exchanges.append(Exchange(turns[-1].text, heard(text)))
        turns.append(await model.complete(request(context, *exchanges)))
    return turns


async def written_out(model: Any, context: str, y: str) -> str:
    """The Y of a thread that is given the answers in `y`, as they stand there, and then ends."""
    answers = re.findall(r"=>.*?<=\n\n", y, re.DOTALL)
    turns = await written(model, context, *(answer[2:-4].strip() for answer in answers))
    assert turns[-1].stop == "end"
    return "".join(turn.text + answer for turn, answer in zip(turns, [*answers, ""], strict=True))
