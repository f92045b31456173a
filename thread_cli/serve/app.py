"""The HTTP interface: access, routes, and the end of calls whose client has gone."""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thread_cli.serve.answers import ChatShape, CompletionShape, Shape
from thread_cli.serve.chat import ChatTemplate
from thread_cli.serve.guards import guards
from thread_cli.serve.refusals import Refused, refused
from thread_cli.serve.requests import Asked, ChatBody, CompletionBody, read

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request as HttpRequest
    from starlette.types import Receive, Scope, Send

    from thread_cli.contracts.model import Completion
    from thread_cli.models.llama import LlamaModel
    from thread_cli.models.llama.call import Description

__all__ = ["Service"]

_LARGEST: Final = 16 * 2**20
"""Bytes of a request's body."""

_T = TypeVar("_T")


class Service:
    """A model named `name` as a web application.

    Without a `key` it answers only requests to names of this machine (`host` is one), from pages of these names: a page
    of another site could make its own name point here.
    """

    def __init__(
        self, model: LlamaModel, name: str, description: Description, key: str | None, host: str = "localhost"
    ) -> None:
        self._model = model
        self._name = name
        self._description = description
        self.template = ChatTemplate(description)
        self._key = key
        self._started = int(time.time())
        self._closing: asyncio.Task[None] | None = None
        self._under_way = 0
        self.app = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/models/{name:path}", self._models),
                Route("/v1/completions", self._completions, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ],
            exception_handlers={Refused: _error_response, HTTPException: _http_error_response},
            middleware=[] if key else guards(host),
        )

    def close(self) -> None:
        """Answer new calls and those under way with 503, and stop the model."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._model.close())

    async def _health(self, _request: HttpRequest) -> Response:
        state = {"status": "closing" if self._closing else "ok", "under_way": self._under_way}
        return JSONResponse(state, 503 if self._closing else 200)

    async def _models(self, request: HttpRequest) -> Response:
        self._admit(request)
        entry: dict[str, Any] = {"id": self._name, "object": "model", "created": self._started, "owned_by": "thread"}
        entry["max_model_len"] = self._description.longest
        if "name" not in request.path_params:
            return JSONResponse({"object": "list", "data": [entry]})
        self._check_name(request.path_params["name"])
        return JSONResponse(entry)

    async def _completions(self, request: HttpRequest) -> Response:
        self._admit(request)
        body = read(CompletionBody, await _body(request))
        self._check_name(body.model)
        asked = body.read()
        if not (asked.request.prompt or self._description.begins):
            raise Refused(400, "the prompt is empty, and this model has to have one", parameter="prompt")
        return await self._answer(request, asked, CompletionShape(self._name, asked.request))

    async def _chat(self, request: HttpRequest) -> Response:
        self._admit(request)
        body = read(ChatBody, await _body(request))
        self._check_name(body.model)
        asked = body.read(self.template.render, self._description.longest)
        return await self._answer(request, asked, ChatShape(self._name, asked.request, thought=asked.thought))

    async def _answer(self, request: HttpRequest, asked: Asked, shape: Shape) -> Response:
        if asked.stream:
            return _Stream(self, asked, shape)
        completion = await while_connected(request.receive, self.complete(asked))
        return Response() if completion is None else JSONResponse(shape.full_answer(completion))

    async def complete(self, asked: Asked, tell: Callable[[str], None] | None = None) -> Completion:
        """The model's answer. Raises: Refused: there is none, and why."""
        self._under_way += 1
        try:
            return await self._model.complete(asked.request, tell)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client is told
            failure = refused(error, closing=self._closing is not None)
            if failure.status == 500:
                print(f"thread: {failure.message}", file=sys.stderr)  # noqa: T201 -- the operator is told too
            raise failure from None
        finally:
            self._under_way -= 1

    def _admit(self, request: HttpRequest) -> None:
        if self._key is not None:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._key.encode()):
                raise Refused(401, "the API key is missing or wrong", code="invalid_api_key")
        if self._closing is not None:
            raise Refused(503, "the server is closing")

    def _check_name(self, name: str | None) -> None:
        if name not in {None, self._name}:
            message = f"there is no model {name!r:.80} here: ask for {self._name!r}"
            raise Refused(404, message, code="model_not_found", parameter="model")


class _Stream(Response):
    """An answer as server-sent events. An error before the first piece is reported by the HTTP status."""

    def __init__(self, service: Service, asked: Asked, shape: Shape) -> None:
        super().__init__(media_type="text/event-stream", headers={"cache-control": "no-cache"})
        del self.headers["content-length"]
        self._service = service
        self._asked = asked
        self._shape = shape

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        task = asyncio.create_task(self._service.complete(self._asked, pieces.put_nowait))
        task.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            piece = await pieces.get()
            if piece is None:
                task.result()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._event(send, self._shape.first())
            while piece is not None:
                await self._event(send, self._shape.piece(piece))
                piece = await pieces.get()
            await self._end(send, task)
            await send({"type": "http.response.body", "body": b""})
        finally:
            await _ended(task)

    async def _end(self, send: Send, task: asyncio.Task[Completion]) -> None:
        try:
            completion = task.result()
        except Refused as failure:
            await self._event(send, failure.body)
            return
        await self._event(send, self._shape.last(completion))
        if self._asked.usage:
            await self._event(send, self._shape.usage(completion))
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})

    @staticmethod
    async def _event(send: Send, event: dict[str, Any] | None) -> None:
        if event is not None:
            data = f"data: {json.dumps(event)}\n\n".encode()
            await send({"type": "http.response.body", "body": data, "more_body": True})


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T | None:
    """The result of `work`; None, and `work` is cancelled, if the client goes away before."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await _ended(task, gone)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _body(request: HttpRequest) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > _LARGEST:
            raise Refused(413, f"the body is larger than {_LARGEST // 2**20} MiB")
        parts.append(part)
    return b"".join(parts)


async def _error_response(_request: HttpRequest, error: Exception) -> Response:
    failure = refused(error, closing=False)
    headers = {"www-authenticate": "Bearer"} if failure.status == 401 else None
    return JSONResponse(failure.body, failure.status, headers)


async def _http_error_response(_request: HttpRequest, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse(Refused(status, detail).body, status, headers)
