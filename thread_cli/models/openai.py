"""Models behind an OpenAI-compatible server.

A thread is a text to be continued, so the raw completion endpoint is tried first; where a server refuses it for a
reason that another shape of the call may avoid, the shapes of `openai_shapes` follow, and the first that works is kept.
Parameters that a server does not take are learnt from its refusals, once per model. Stop strings are sent, and enforced
here as well. Reasoning is separated from the text, and has a budget of its own.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import httpx2
import openai

from thread_cli.contracts.errors import LimitReached, ThreadFailure
from thread_cli.contracts.model import Completion, Profile, Request, Usage
from thread_cli.models.openai_answer import Answer
from thread_cli.models.openai_begun import closes_begun_answers
from thread_cli.models.openai_client import OPENAI_URL, SharedClient, checked_url, key_for
from thread_cli.models.openai_context import Room, free_slots, listed_context
from thread_cli.models.openai_ends import End
from thread_cli.models.openai_errors import ServerFailure, lasting, rejected_parameter, translate
from thread_cli.models.openai_shapes import CONTINUED, Shape, checked_extra, payload, well_formed
from thread_cli.models.openai_stream import taken
from thread_cli.models.prices import Price, published
from thread_cli.protocols.streams import Telling, poured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from thread_cli.contracts.model import Piece
    from thread_cli.models.retry import Transient

__all__ = ["Learnt", "OpenAIModel", "Price"]

_CUT: Final = ServerFailure("the stream ended before the answer did", fault="cut_stream")
_DISPENSABLE: Final = ("stop", "seed", "stream_options", "temperature")
_QUESTIONS: Final = 3
"""Attempts at a question about a server until it is answered."""
_TRUSTED: Final = 16
"""Calls at once of a server that does not tell how many it has room for."""
_LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})


@dataclass(slots=True)
class Learnt:
    """Properties of a model at a server, found out by its answers."""

    shape: Shape = Shape.raw
    proven: bool = False
    """Whether a call of that shape has continued a begun answer."""
    rejected: set[str] = field(default_factory=set[str])
    """Parameters that the server does not take, or that do harm there."""
    stops: str = ""
    """The server's treatment of stop strings, unless it leaves them out: `left in the text`, or `ignored`."""
    reasons: bool = False
    """Whether the model has been seen to reason."""
    room: Room = field(default_factory=Room)
    troubles: int = 0
    """Answers with status 500 in a row, while nothing has worked yet."""

    def shape_for(self, request: Request) -> Shape:
        """The shape that worked, or one like it where the request has no turns."""
        return self.shape if self.shape.suits(request) else Shape.continued


@dataclass(slots=True)
class _Search:
    """One call's way through the shapes. `bare`: without optional parameters."""

    shape: Shape
    bare: bool = False
    failures: list[ServerFailure] = field(default_factory=list[ServerFailure])
    chat_tried: bool = False
    refusals: int = 0
    pieces: Telling | None = None
    """Passes on the text as it comes, if the caller asked for that."""
    lost: Usage | None = None
    """Usage of calls whose answers are not used."""
    reasoned: int = 0
    """Tokens of those unused answers that have spent this call's budget on reasoning."""

    @property
    def telling(self) -> ServerFailure:
        """The most informative failure: the last one that is not just a missing endpoint."""
        return next((each for each in reversed(self.failures) if each.status not in (404, 405, 501)), self.failures[-1])


class OpenAIModel:
    """Model `name` at `base_url` (default: `OPENAI_BASE_URL`, else OpenAI's own).

    The key comes from the environment: `OPENAI_API_KEY` for OpenAI, elsewhere `THREAD_API_KEY` and then
    `OPENAI_API_KEY`; a server on this machine needs none. `timeout` is the longest silence of the server in seconds.
    `extra` is sent with each call. Without a `price`, the provider's published price counts, if there is one. All
    models on an event loop that have the same base URL share one client.

    Where the server reports no usage (some never do, and none does when we cut its stream at a stop string that it
    ignored), `Usage.generated` is the number of streamed pieces, `Usage.prompt` is 0 and the cost unknown.

    Raises:
        UserError: the URL is unusable, a key is missing, or `extra` would override a setting of the run.
    """

    def __init__(
        self,
        name: str,
        base_url: str | None = None,
        *,
        price: Price | None = None,
        timeout: float = 300.0,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.endpoint = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self.learnt = Learnt()
        self._price = published(name, self.endpoint) if price is None else price.of
        self._extra = checked_extra(extra or {})
        self._timeout = openai.Timeout(timeout, connect=min(timeout, 10.0), pool=None)
        self._key = key_for(self.endpoint)
        self._shared: SharedClient | None = None
        self._reached = False
        self._listing: asyncio.Task[int | None] | None = None
        self._closing: dict[Shape, asyncio.Task[bool]] = {}

    def __repr__(self) -> str:
        return f"OpenAIModel({self.name!r}, {self.endpoint!r})"

    async def complete(self, request: Request) -> Completion:
        """Continue the request's prompt.

        Raises:
            Transient: the call failed in a way that another try may not.
            ModelError: the server refused the call, or nobody answers at its address.
            LimitReached: the prompt does not fit into the model's context.
            Withheld: a filter of the server keeps the answer back.
        """
        await self._require_room(request)
        return await self._searched(request, _Search(self.learnt.shape_for(request)))

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """Continue the request's prompt, piece by piece; raises as `complete` does."""
        return poured(lambda tell: self._complete(request, tell))

    async def _complete(self, request: Request, tell: Callable[[Piece], None]) -> Completion:
        await self._require_room(request)
        search = _Search(self.learnt.shape_for(request), pieces=Telling(tell, request.stop))
        try:
            return await self._searched(request, search)
        except asyncio.CancelledError:
            if search.lost is None:
                raise
            return Completion("", "cut", search.lost)

    async def _searched(self, request: Request, search: _Search) -> Completion:
        while True:
            sent = self._parameters(request, search)
            outcome = await self._attempt(request, sent, search.shape, telling=search.pieces)
            if isinstance(outcome, Completion) and outcome.stop == "cut":
                return replace(outcome, usage=outcome.usage.and_earlier(search.lost))
            if isinstance(outcome, Completion):
                if self._asks_again(outcome, request, sent):
                    search.lost = outcome.usage.and_earlier(search.lost)
                    search.reasoned += outcome.usage.generated
                    continue
                if await self._closed(request, search):
                    search.lost, search.shape = outcome.usage.and_earlier(search.lost), search.shape.unbegun
                    continue
                self._keep(search, request)
                self.learnt.room.learn(request, outcome.usage.prompt)
                return replace(outcome, usage=outcome.usage.and_earlier(search.lost))
            self._reached = self._reached or outcome.status is not None
            if not await self._goes_on(outcome, request, sent, search):
                raise self._exception(search)

    async def profile(self) -> Profile:
        """Free slots of a llama.cpp server; of any other server as many calls as a new endpoint is trusted with."""
        return Profile(await free_slots(self._client(), self.endpoint) or _TRUSTED)

    async def close(self) -> None:
        asked = [task for task in (self._listing, *self._closing.values()) if task is not None and not task.done()]
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        shared, self._shared = self._shared, None
        if shared is not None:
            await shared.release()

    # --- what to send

    def _parameters(self, request: Request, search: _Search) -> dict[str, Any]:
        learnt = self.learnt
        limit = request.max_tokens + (request.max_reasoning if learnt.reasons else 0)
        limit = min(limit, request.max_together or limit)
        limit = learnt.room.for_answer(request, limit) - search.reasoned
        wanted: dict[str, Any] = {
            "stop": list(request.stop),
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stream_options": {"include_usage": True},
            "max_completion_tokens" if "max_tokens" in learnt.rejected else "max_tokens": max(1, limit),
        }
        dropped = {*learnt.rejected, *(_DISPENSABLE if search.bare else ())}
        return {
            name: value for name, value in wanted.items() if value is not None and value != [] and name not in dropped
        }

    def _asks_again(self, outcome: Completion, request: Request, sent: Mapping[str, Any]) -> bool:
        """Whether a model that reasons has to be asked once more, and in another way from now on."""
        learnt, reasoned = self.learnt, bool(outcome.reasoning.strip()) or outcome.usage.reasoning > 0
        if not reasoned:
            return False
        known, learnt.reasons = learnt.reasons, True
        if outcome.stop == "length":
            # Its reasoning has used up the tokens meant for the text.
            return not known and request.max_reasoning > 0
        if not outcome.text.strip() and "stop" in sent:
            # A stop string in the reasoning would end the answer before its text: from now on, only this side cuts at
            # stop strings.
            learnt.rejected.add("stop")
            return True
        return False

    # --- what a refusal teaches

    async def _goes_on(
        self, outcome: ServerFailure, request: Request, sent: Mapping[str, Any], search: _Search
    ) -> bool:
        """Learn from a failure; False if nothing is left to try."""
        search.failures.append(outcome)
        marks = CONTINUED if search.shape in (Shape.examples, Shape.continued) and request.y else {}
        rejected = rejected_parameter(outcome, {*sent, *marks} - self.learnt.rejected)
        if rejected is not None:
            self.learnt.rejected.add(rejected)
            return True
        if outcome.unreachable and not self._reached and search.refusals < 2:
            search.refusals += 1
            await asyncio.sleep(0.3 * search.refusals)
            return True
        return self._may_change_shape(outcome, search) and self._next_shape(outcome, request, search)

    def _may_change_shape(self, outcome: ServerFailure, search: _Search) -> bool:
        learnt = self.learnt
        if learnt.proven and learnt.shape is Shape.raw:
            return False
        if outcome.status == 500 and not outcome.too_long and search.shape is Shape.raw:
            # Gateways answer so for good if the endpoint is missing behind them; overloaded servers, for a while.
            learnt.troubles += 1
            return learnt.troubles > 1
        missing = outcome.status in (None, 404, 405, 501) or outcome.no_model
        return not lasting(outcome) and not (missing and search.shape is not Shape.raw)

    def _next_shape(self, outcome: ServerFailure, request: Request, search: _Search) -> bool:
        rejected = self.learnt.rejected
        tried = payload(search.shape, request, rejected)
        for shape in search.shape.later(request):
            if payload(shape, request, rejected) != tried:
                search.shape, search.chat_tried = shape, True
                return True
        if search.bare or outcome.status not in (400, 422):
            return False
        search.shape, search.bare = self.learnt.shape_for(request), True
        return True

    async def _closed(self, request: Request, search: _Search) -> bool:
        """Whether the server closed the begun answer instead of continuing it; checked once for each shape."""
        if self.learnt.proven or not request.y or search.shape not in (Shape.examples, Shape.continued, Shape.begun):
            return False
        if search.shape not in self._closing:
            self._closing[search.shape] = asyncio.ensure_future(self._closes(search))
        return await asyncio.shield(self._closing[search.shape])

    async def _closes(self, search: _Search) -> bool:
        shape, bare = search.shape, search.bare

        async def text(question: Request) -> str | None:
            sent = self._parameters(question, _Search(shape, bare))
            # A model that begins anew may repeat the begun answer, and so may a server that continues it.
            for _ in range(_QUESTIONS):
                done = await self._attempt(question, sent, shape, sent_back=False)
                if isinstance(done, Completion):
                    search.lost = done.usage.and_earlier(search.lost)
                    return done.text
            return None

        async def prompt_tokens(question: Request) -> int:
            sent = self._parameters(question, _Search(shape, bare))
            for _ in range(_QUESTIONS):
                answer = Answer(question)
                failure = await self._streamed(shape, self._body(question, sent, shape, stream=False), answer)
                usage = answer.counted(self._price)
                if usage.prompt:
                    search.lost = usage.and_earlier(search.lost)
                if failure is None:
                    return usage.prompt
            return 0

        return await closes_begun_answers(text, prompt_tokens)

    def _keep(self, search: _Search, request: Request) -> None:
        learnt = self.learnt
        learnt.troubles = 0
        if search.bare:
            learnt.rejected.update(_DISPENSABLE)
        if not learnt.proven:
            learnt.shape = search.shape
            learnt.proven = bool(request.y) or search.shape in (Shape.raw, Shape.turns, Shape.turns_plain)

    def _exception(self, search: _Search) -> Transient | ThreadFailure:
        failure = search.telling
        usage = failure.usage if search.lost is None else (failure.usage or Usage()).and_earlier(search.lost)
        error = translate(
            replace(failure, usage=usage),
            self.name,
            self.endpoint,
            reached=self._reached,
            chat_tried=search.chat_tried or search.shape is not Shape.raw,
        )
        error.usage = usage
        return error

    # --- one call

    async def _attempt(
        self,
        request: Request,
        sent: Mapping[str, Any],
        shape: Shape,
        *,
        sent_back: bool = True,
        telling: Telling | None = None,
    ) -> Completion | ServerFailure:
        # Failures are returned, not raised: an exception raised while another is handled keeps that one, and with it
        # the server's words and the request's headers, where a trace would print them.
        asked, reasons = bool(_LIMITS & sent.keys()), self.learnt.reasons
        answer = Answer(
            request,
            text_limit=request.max_tokens if reasons or not asked else None,
            thought_limit=max(1, request.max_reasoning) if reasons or not asked else None,
            begun=request.y if sent_back and shape is not Shape.raw else "",
        )
        body = self._body(request, sent, shape, stream=True)
        answer.telling = telling
        try:
            failure = await self._streamed(shape, body, answer)
        except asyncio.CancelledError:
            if telling is None or (lost := answer.lost(self._price)) is None:
                raise
            return Completion(well_formed(answer.text), "cut", lost, reasoning=well_formed(answer.reasoning))
        if failure is not None:
            return replace(failure, usage=answer.lost(self._price))
        if not answer.chunks:
            return await self._reason(shape, body, request)
        if answer.cut in ("listen", "end") and "stop" in sent:
            self.learnt.stops = "ignored" if answer.finish is None else "left in the text"
        answer.finished()
        answer.tell(ended=True)
        return self._read(answer)

    def _body(self, request: Request, sent: Mapping[str, Any], shape: Shape, *, stream: bool) -> dict[str, Any]:
        parameters = {name: value for name, value in sent.items() if stream or name != "stream_options"}
        return {**self._extra, **parameters, **payload(shape, request, self.learnt.rejected), "stream": stream}

    def _read(self, answer: Answer) -> Completion | ServerFailure:
        usage = answer.counted(self._price)
        if answer.refusal and not answer.text.strip():
            return ServerFailure(f"the model refuses: {answer.refusal}", withheld=True, usage=usage)
        match answer.end:
            case End.stop | End.length:
                return Completion(
                    well_formed(answer.text),
                    answer.reason,
                    usage,
                    stop_string=answer.stop_string if answer.reason in ("listen", "end") else None,
                    reasoning=well_formed(answer.reasoning),
                )
            case End.context:
                return ServerFailure("context length: the context is full", status=400, usage=usage)
            case End.withheld:
                words = f"the answer was withheld (finish_reason {answer.finish!r})"
                return ServerFailure(words, withheld=True, usage=usage)
            case End.broken:
                words = f"the answer ended with finish_reason {answer.finish!r:.80}, which is no normal end"
                return ServerFailure(words, fault="abnormal_end", usage=answer.lost(self._price))
            case None:
                return replace(_CUT, usage=answer.lost(self._price))

    async def _streamed(self, shape: Shape, body: Mapping[str, Any], answer: Answer) -> ServerFailure | None:
        try:
            return await self._stream(shape, body, answer)
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
            if answer.cut is not None or answer.finish is not None:
                return None  # all of the text is there
            if answer.done:
                return ServerFailure("the server broke off the answer for another call", fault="interrupted")
            return ServerFailure.of(error, self._key.get_secret_value(), started=answer.started)

    async def _stream(self, shape: Shape, body: Mapping[str, Any], answer: Answer) -> ServerFailure | None:
        client = self._client()
        if shape is Shape.raw:
            call = client.completions.with_streaming_response.create(
                model=self.name, prompt="", extra_body=body, timeout=self._timeout
            )
        else:
            call = client.chat.completions.with_streaming_response.create(
                model=self.name, messages=[], extra_body=body, timeout=self._timeout
            )
        async with call as streamed:
            answer.started = self._reached = True
            return await taken(streamed.http_response, answer, self._key.get_secret_value())

    async def _reason(self, shape: Shape, body: Mapping[str, Any], request: Request) -> ServerFailure:
        # llama-cpp-python's server, for one, cannot report an error within a stream: it closes the stream and, right
        # after it, the connection, which the first of these calls may still have met open. Only the error is wanted, so
        # the answer may be short.
        kept = {name: value for name, value in body.items() if name != "stream_options"}
        unstreamed = {**kept, **dict.fromkeys(_LIMITS & kept.keys(), 1), "stream": False}
        failure = await self._streamed(shape, unstreamed, Answer(request))
        if failure is not None and failure.fault == "connection":
            failure = await self._streamed(shape, unstreamed, Answer(request))
        return _CUT if failure is None or (failure.status is None and failure.fault is None) else failure

    # --- facts known before a call

    async def context(self) -> int | None:
        """Tokens that a prompt and its answer may have together, where the server lists them; asked for once."""
        if self._listing is None:
            self._listing = asyncio.ensure_future(listed_context(self._client(), self.endpoint, self.name))
        self.learnt.room.tokens = await asyncio.shield(self._listing)
        return self.learnt.room.tokens

    async def _require_room(self, request: Request) -> None:
        """Raise LimitReached if the prompt certainly cannot fit."""
        await self.context()
        room = self.learnt.room
        if room.surely_too_small(request):
            raise LimitReached(
                "context",
                f"the thread no longer fits into the context of {self.name}, {room.tokens:,} tokens",
                cap=room.tokens,
                owner="model",
            )

    def _client(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        if self._shared is None or self._shared.loop is not loop:
            self._shared = SharedClient.on(loop, self.endpoint, self._key)
        return self._shared.client
