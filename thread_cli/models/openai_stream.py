"""Reads a server's answer to its end, streamed as events or complete."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import httpx2

from thread_cli.models.openai_errors import ServerFailure, failure_in_stream, words_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from thread_cli.models.openai_answer import Answer

__all__ = ["taken"]

_PATIENCE: Final = 1.0
"""Seconds to wait for events after the end of a text."""
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
"""Beginnings of lines in an event stream."""
_ERROR: Final = '{"error"'


async def taken(response: httpx2.Response, answer: Answer, key: str) -> ServerFailure | None:
    """Read a response into `answer`; returns the failure that it reports, if any.

    Raises:
        httpx2.HTTPError: the connection broke off.
        ValueError: the response cannot be parsed.
    """
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type in ("text/html", "application/json"):
        content = await response.aread()
        # Some gateways call everything JSON, streams too.
        if content_type == "text/html" or not content.lstrip().startswith(_FIELDS):
            return _unstreamed(content, content_type, answer, key)
    response.headers["content-type"] = "text/event-stream"
    async with aclosing(cast("Any", aiter(httpx2.EventSource(response)))) as events:
        return await _events(events, answer, key)


async def _events(events: AsyncIterator[Any], answer: Answer, key: str) -> ServerFailure | None:
    async for event in events:
        if event.data.strip().startswith("[DONE]"):
            answer.done = True
            if answer.finish is None and answer.cut is None:
                await _ended_properly(events)
            return None
        failure = _event(event.data, answer, key, kind=event.event)
        if failure is not None:
            return failure
        if answer.cut is not None and answer.finish is None:
            if answer.cut != "length":
                await _read_usage(events, answer, key)
            return None
    return None


async def _read_usage(events: AsyncIterator[Any], answer: Answer, key: str) -> None:
    """Read on after a stop string in the text, until the server goes on writing.

    Servers that stop at it without removing it (transformers') report the usage right behind it.
    """
    pieces = answer.pieces
    with suppress(TimeoutError, httpx2.HTTPError, ValueError):
        async with asyncio.timeout(_PATIENCE):
            async for event in events:
                done = event.data.strip().startswith("[DONE]")
                if done or _event(event.data, answer, key) is not None or answer.pieces > pieces:
                    return


async def _ended_properly(events: AsyncIterator[Any]) -> None:
    """Wait for the end of a stream that has given no reason for it.

    llama-cpp-python's server says `[DONE]` too where another call interrupts a stream, and then drops the connection.

    Raises:
        httpx2.TransportError: the connection was dropped.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            async for _ in events:
                pass


def _event(data: str, answer: Answer, key: str, kind: str = "message") -> ServerFailure | None:
    """Read the data of an event; many have none, to keep a connection open."""
    if not data.strip():
        return None
    try:
        chunk: Any = json.loads(data)
    except ValueError:
        if not data.lstrip().startswith(_ERROR):
            raise
        # Put together without escapes, as transformers' server does it: its words are all there is.
        chunk = {"error": data.lstrip().removeprefix(_ERROR).strip(' :"}')}
    if not isinstance(chunk, dict):
        return None
    fields = cast("dict[str, Any]", chunk)
    failure = failure_in_stream(fields, key, certain=kind == "error")
    if failure is None:
        answer.add(fields)
    return failure


def _unstreamed(content: bytes, content_type: str, answer: Answer, key: str) -> ServerFailure | None:
    """Read an answer that came complete, though a stream was requested; or an error with status 200."""
    failure = None
    with suppress(ValueError):
        body: Any = json.loads(content)
        first = cast("Any", body[0] if isinstance(body, list) and body else body)
        if isinstance(first, dict):
            fields = cast("dict[str, Any]", first)
            failure = failure_in_stream(fields, key, certain="choices" not in fields and bool(words_in(fields)))
            if failure is None:
                answer.add(fields)
    if failure is None and answer.finish is None:
        return ServerFailure(f"the server answered with {content_type} instead of a stream; check the base URL")
    return failure
