"""A model that writes texts word by word, a token each, as far as it may, and answers probes from a list."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

from thread_cli.contracts.model import Completion, Piece, Request, Usage
from thread_cli.protocols.streams import completed

_TOKEN = re.compile(r"\s*\S+|\s+$")


class Speaks:
    """Branch `0.2` writes the third text; what a probe of it answers is the next of its answers, then the last again.

    `pace`: seconds for each token.
    """

    def __init__(
        self, texts: Sequence[str], answers: Mapping[int, Sequence[str]] | None = None, pace: float = 0
    ) -> None:
        self.texts, self.answers, self.pace = texts, answers or {}, pace
        self.requests: list[Request] = []

    def rest(self, request: Request) -> str:
        branch, *probe = map(int, request.thread.split(".")[1:])
        if not probe:
            return self.texts[branch][len(request.y) :]
        answers = self.answers[branch]
        begun = request.y.rpartition("So {")[2] if "So {" in request.y else ""
        return answers[min(probe[0], len(answers) - 1)][len(begun) :]

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        self.requests.append(request)
        text, stop, tokens = "", "end", 0
        try:
            for token in _TOKEN.findall(self.rest(request)):
                if tokens == request.max_tokens:
                    stop = "length"
                    break
                await asyncio.sleep(self.pace)
                text, tokens = text + token, tokens + 1
                found = [(text.index(string), place) for place, string in enumerate(request.stop) if string in text]
                if found:
                    at, place = min(found)
                    text, stop = text[:at], "end" if place else "listen"
                    break
                yield Piece(token)
        except asyncio.CancelledError:
            stop = "cut"
        usage = Usage(len(request.prompt.split()), generated=tokens, cost=0.0)
        yield Completion(text, stop, usage)

    async def complete(self, request: Request) -> Completion:
        return await completed(self, request)

    async def close(self) -> None:
        pass


class Halves(Speaks):
    """Each token is three characters, so that words and stop strings stand in several of them."""

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        self.requests.append(request)
        rest = self.rest(request)
        text = rest[: 3 * request.max_tokens]
        found = [(text.index(string), place) for place, string in enumerate(request.stop) if string in text]
        usage = Usage(len(request.prompt), generated=len(text) // 3, cost=0.0)
        written = Completion(text, "length" if len(text) < len(rest) else "end", usage)
        if found:
            at, place = min(found)
            written = replace(written, text=text[:at], stop="end" if place else "listen")
        yield Piece(written.text)
        yield written
