"""Models behind an OpenAI-compatible server.

The raw completion endpoint is tried first, because a thread is a text to be continued. Where a model can only chat,
the prompt `q + c` is the user's message and `y` the beginning of the assistant's answer. What a server turns out not to
support is learnt from its refusal, once per model. Stop strings are sent, and enforced here as well.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai
from pydantic import SecretStr

from thread_cli.engine.errors import UserError
from thread_cli.models import Completion, Request, StopReason, Usage, cut_at_stop
from thread_cli.models.openai_errors import Failure, rejected_parameter, translate, wants_chat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionMessageParam

__all__ = ["OpenAIModel", "Price"]

OPENAI_URL = "https://api.openai.com/v1"

_CONTINUE = (
    "The user gives a text. Your answer is the text that comes next: continue it in exactly the same format, starting "
    "at the character where it stops. Do not repeat what is already there, do not explain, and add no greeting, "
    "heading or code fence. If your answer has been begun already, go on from its last character."
)

_CUT = Failure("the stream ended before the answer did", fault="cut_stream")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens: of the prompt, of the part of it that the server had cached, and generated."""

    prompt: float
    cached: float
    generated: float

    def of(self, usage: Usage) -> float:
        """The cost of a call in US dollars."""
        fresh = usage.prompt - usage.cached
        return (fresh * self.prompt + usage.cached * self.cached + usage.generated * self.generated) / 1e6


class OpenAIModel:
    """Model `name` at `base_url` (default: `OPENAI_BASE_URL`, else OpenAI's own).

    The key comes from the environment: `OPENAI_API_KEY` for OpenAI, elsewhere `THREAD_API_KEY` and then
    `OPENAI_API_KEY`; a server on this machine needs none. `timeout` is the longest silence of the server in seconds.
    All models on an event loop that have the same base URL share one client.

    Where the server reports no usage (some never do, and none does when we cut its stream at a stop string that it
    ignored), `Usage.generated` is the number of streamed pieces, `Usage.prompt` is 0 and the cost unknown.

    Raises:
        UserError: the URL is unusable, or a key is missing.
    """

    def __init__(
        self, name: str, base_url: str | None = None, *, price: Price | None = None, timeout: float = 300.0
    ) -> None:
        self.name = name
        self.endpoint = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self.price = price
        self._timeout = openai.Timeout(timeout, connect=min(timeout, 10.0), pool=None)
        self._key = _key_for(self.endpoint)
        self._shared: _SharedClient | None = None
        self._chat: bool | None = None
        self._reached = False
        self._rejected: set[str] = set()

    def __repr__(self) -> str:
        return f"OpenAIModel({self.name!r}, {self.endpoint!r})"

    async def complete(self, request: Request) -> Completion:
        """Continue the request's prompt.

        Raises:
            Transient: the call failed in a way that another try may not.
            ModelError: the server refused the call, or nobody answers at its address.
        """
        chat = self._chat is True
        refusals = 0
        while True:
            sent = self._parameters(request)
            outcome = await self._attempt(request, sent, chat=chat)
            if isinstance(outcome, Completion):
                self._chat = chat
                return outcome
            self._reached = self._reached or outcome.status is not None
            rejected = rejected_parameter(outcome, sent)
            if rejected is not None:
                self._rejected.add(rejected)
            elif not chat and self._chat is not False and wants_chat(outcome):
                chat = True
            elif outcome.unreachable and not self._reached and refusals < 2:
                refusals += 1
                await asyncio.sleep(0.3 * refusals)
            else:
                raise translate(outcome, self.name, self.endpoint, reached=self._reached, chat_tried=chat)

    async def close(self) -> None:
        shared, self._shared = self._shared, None
        if shared is not None:
            await shared.release()

    async def _attempt(self, request: Request, sent: Mapping[str, Any], *, chat: bool) -> Completion | Failure:
        # Failures are returned, not raised: an exception raised while another is handled keeps that one, and with it
        # the server's words and the request's headers, where a trace would print them.
        limit = None if {"max_tokens", "max_completion_tokens"} & sent.keys() else request.max_tokens
        answer = _Answer(request.stop, limit)
        try:
            await self._stream(request, sent, answer, chat=chat)
        except (openai.OpenAIError, ValueError) as error:
            return Failure.of(error, self._key.get_secret_value(), started=answer.started)
        if answer.content_type:
            return Failure(f"the server answered with {answer.content_type} instead of a stream; check the base URL")
        if not answer.chunks:
            return await self._reason(request, sent, chat=chat)
        if answer.cut is None and answer.finish is None:
            return _CUT
        return Completion(_well_formed(answer.text), answer.reason, answer.counted(self.price))

    async def _stream(self, request: Request, sent: Mapping[str, Any], answer: _Answer, *, chat: bool) -> None:
        client = self._client()
        if chat:
            stream = await client.chat.completions.create(
                model=self.name, messages=_messages(request), stream=True, extra_body=sent, timeout=self._timeout
            )
        else:
            prompt = _well_formed(request.prompt)
            stream = await client.completions.create(
                model=self.name, prompt=prompt, stream=True, extra_body=sent, timeout=self._timeout
            )
        async with stream:
            answer.started = self._reached = True
            content_type = stream.response.headers.get("content-type", "").partition(";")[0]
            if content_type in ("text/html", "application/json"):
                answer.content_type = content_type
                return
            async for chunk in stream:
                answer.add(chunk)
                if answer.cut is not None and answer.finish is None:
                    return

    async def _reason(self, request: Request, sent: Mapping[str, Any], *, chat: bool) -> Failure:
        # llama-cpp-python's server, for one, cannot tell an error within a stream: it closes the stream and, right
        # after it, the connection, which the first of these calls may still have met open.
        # Only the error is wanted; an answer may as well be short.
        short = {name: 1 for name in ("max_tokens", "max_completion_tokens") if name in sent}
        kept = {name: value for name, value in sent.items() if name != "stream_options"}
        unstreamed = {**kept, **short, "stream": False}
        failure = _CUT
        for _ in range(2):
            try:
                await self._stream(request, unstreamed, _Answer(request.stop, None), chat=chat)
            except (openai.OpenAIError, ValueError) as error:
                failure = Failure.of(error, self._key.get_secret_value())
            if failure.fault != "connection":
                break
        return failure

    def _parameters(self, request: Request) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "stop": list(request.stop),
            "temperature": request.temperature,
            "seed": request.seed,
            "stream_options": {"include_usage": True},
            "max_completion_tokens" if "max_tokens" in self._rejected else "max_tokens": request.max_tokens,
        }
        return {
            name: value
            for name, value in wanted.items()
            if value is not None and value != [] and name not in self._rejected
        }

    def _client(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        if self._shared is None or self._shared.loop is not loop:
            self._shared = _SharedClient.on(loop, self.endpoint, self._key)
        return self._shared.client


@dataclass(slots=True)
class _Answer:
    """A streamed answer as far as it has come. `limit`: pieces to accept, where the server knows no limit."""

    stop: tuple[str, ...]
    limit: int | None
    text: str = ""
    cut: StopReason | None = None
    finish: str | None = None
    hint: StopReason | None = None
    usage: CompletionUsage | None = None
    pieces: int = 0
    chunks: int = 0
    started: bool = False
    content_type: str = ""

    def add(self, chunk: Any) -> None:
        """Take in a chunk of either endpoint; servers differ in which of its fields they leave out."""
        self.chunks += 1
        self.usage = getattr(chunk, "usage", None) or self.usage
        for choice in (getattr(chunk, "choices", None) or ())[:1]:
            delta = getattr(choice, "delta", None)
            text = getattr(choice, "text", None) if delta is None else getattr(delta, "content", None)
            if isinstance(text, str) and text:
                self._append(text)
            finish = getattr(choice, "finish_reason", None)
            if finish:
                self.finish = finish
                extra: dict[str, Any] = {**(chunk.model_extra or {}), **(choice.model_extra or {})}
                verbose = extra.get("__verbose")
                self.hint = _stop_hint({**(verbose if isinstance(verbose, dict) else {}), **extra}, self.stop)

    @property
    def reason(self) -> StopReason:
        if self.cut is not None:
            return self.cut
        if self.finish == "stop":
            return self.hint or "stop"
        return "length" if self.finish == "length" else "end"

    def counted(self, price: Price | None) -> Usage:
        if self.usage is None:
            return Usage(generated=self.pieces, estimated=True, cached_known=False)
        details = getattr(self.usage, "prompt_tokens_details", None)
        usage = Usage(
            prompt=_count(self.usage, "prompt_tokens"),
            cached=_count(details, "cached_tokens"),
            generated=_count(self.usage, "completion_tokens"),
        )
        cost = None if price is None else price.of(usage)
        known = isinstance(getattr(details, "cached_tokens", None), int)
        return Usage(usage.prompt, usage.cached, usage.generated, cost=cost, cached_known=known)

    def _append(self, text: str) -> None:
        self.pieces += 1
        if self.cut is not None:
            return
        # A stop string may have begun in the pieces before.
        start = max(0, len(self.text) - max(map(len, self.stop), default=1) + 1)
        self.text += text
        found = cut_at_stop(self.text[start:], self.stop)
        if found is not None:
            self.text, self.cut = self.text[:start] + found[0], found[1]
        elif self.limit is not None and self.pieces >= self.limit:
            self.cut = "length"


def _count(told: object, name: str) -> int:
    """A count of tokens that a server told, 0 where it told none or nonsense."""
    count = getattr(told, name, None)
    return count if isinstance(count, int) and count > 0 else 0


def _stop_hint(extra: Mapping[str, Any], stop: tuple[str, ...]) -> StopReason | None:
    """What stopped the server, from its own extension: vLLM's, SGLang's or llama.cpp's; None where it has none."""
    for name in ("stop_reason", "matched_stop", "stopping_word"):
        word = extra.get(name)
        if isinstance(word, str) and word in stop:
            return "listen" if word == stop[0] else "end"
        if isinstance(word, int):  # the id of a token that ends a text
            return "end"
    if extra.get("stop_type") == "eos" or ("stop_reason" in extra and extra["stop_reason"] is None):
        return "end"
    return None


@dataclass(slots=True)
class _SharedClient:
    """The client of one base URL on one event loop, closed with the last model that uses it."""

    loop: asyncio.AbstractEventLoop
    place: tuple[str, SecretStr]
    client: openai.AsyncOpenAI = field(repr=False)
    users: int = 0

    @classmethod
    def on(cls, loop: asyncio.AbstractEventLoop, endpoint: str, key: SecretStr) -> _SharedClient:
        for other in [other for other in _clients if other[0].is_closed()]:
            del _clients[other]
        place = (endpoint, key)
        shared = _clients.get((loop, place))
        if shared is None:
            # A proxy cannot reach this machine's own ports.
            direct = openai.DefaultAsyncHttpxClient(trust_env=False) if _is_local(endpoint) else None
            client = openai.AsyncOpenAI(
                api_key=key.get_secret_value(), base_url=endpoint, max_retries=0, http_client=direct
            )
            shared = _clients[loop, place] = cls(loop, place, client)
        shared.users += 1
        return shared

    async def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            _clients.pop((self.loop, self.place), None)
            if self.loop is asyncio.get_running_loop():
                await self.client.close()


_clients: dict[tuple[asyncio.AbstractEventLoop, tuple[str, SecretStr]], _SharedClient] = {}


def _messages(request: Request) -> list[ChatCompletionMessageParam]:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": _CONTINUE},
        {"role": "user", "content": _well_formed(request.q + request.c)},
    ]
    if request.y:
        messages.append({"role": "assistant", "content": _well_formed(request.y)})
    return messages


def _well_formed(text: str) -> str:
    """`text` with surrogates paired, and lone ones (half of a character that a model wrote) replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise UserError("the base URL is malformed; it looks like http://localhost:8000/v1") from None
    if parts.username is not None or parts.password is not None:
        raise UserError("the base URL contains credentials; put the key into THREAD_API_KEY instead")
    if parts.query or parts.fragment:
        raise UserError("the base URL ends before any ? or #; a key belongs into THREAD_API_KEY")
    if not usable:
        raise UserError(f"the base URL {url!r} is not of the form http://HOST:PORT/v1")
    return url.rstrip("/")


def _is_local(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _key_for(endpoint: str) -> SecretStr:
    names = ["OPENAI_API_KEY"]
    if urlsplit(endpoint).hostname != urlsplit(OPENAI_URL).hostname:
        names.insert(0, "THREAD_API_KEY")
    for name in names:
        key = os.environ.get(name, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"{name} holds a character that no key has: set it anew")
        if key:
            return SecretStr(key)
    if _is_local(endpoint):
        return SecretStr("none")
    hint = "" if names[0] == "OPENAI_API_KEY" else ", to any text if the server asks for none"
    raise UserError(f"no key for {endpoint}: set the environment variable {names[0]}{hint}")
