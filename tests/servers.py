"""A small HTTP server in a thread that speaks as much of the OpenAI protocol, and misbehaves, as a test tells it to."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Seen:
    path: str
    body: dict
    headers: dict[str, str]


@dataclass
class Answer:
    """`events` are streamed as server-sent events; without them `body` is sent as it is.

    `events` that are bytes are sent as they are. `end`: "done" finishes properly, "silent" closes the stream without `[DONE]`, "drop" cuts the connection in the
    middle of an event, "interrupted" after `[DONE]` and before the end of the body, "hang" never sends another byte.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    events: list[dict | str | bytes] | None = None
    end: str = "done"
    delay: float = 0.0


def error(status: int, message: str, **fields) -> Answer:
    headers = fields.pop("headers", {})
    return Answer(status, headers, json.dumps({"error": {"message": message, **fields}}))


def text_event(text: str, finish: str | None = None, **extra) -> dict:
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None, **extra}
    return {"id": "c", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}


def chat_event(text: str, finish: str | None = None, **extra) -> dict:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish, **extra}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}


def thought_event(thought: str, name: str = "reasoning_content", **extra) -> dict:
    event = chat_event("", **extra)
    event["choices"][0]["delta"] = {"content": None, name: thought}
    return event


def usage_event(prompt: int, generated: int, cached: int | None = None) -> dict:
    usage = {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return {"id": "c", "object": "text_completion", "created": 0, "model": "m", "choices": [], "usage": usage}


def completion(*pieces: str, finish: str = "stop", usage: dict | None = None, **extra) -> Answer:
    events = [text_event(piece) for piece in pieces] + [text_event("", finish, **extra)]
    return Answer(events=[*events, usage] if usage else events)


class Server:
    """Answers each request with what `plan` makes of it."""

    def __init__(self, plan: Callable[[Seen], Answer], listed: dict[str, dict] | None = None):
        self.plan = plan
        self.listed = listed or {}
        """What is answered to GET, by path."""
        self.looked_up: list[str] = []
        self.seen: list[Seen] = []
        self.under_way = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._closed = threading.Semaphore(0)
        self._arrived = threading.Semaphore(0)
        self._connections: list[socket.socket] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                outer._connections.append(self.connection)

            def do_GET(self):
                outer.looked_up.append(self.path)
                found = outer.listed.get(self.path)
                outer._plain(self, Answer(404 if found is None else 200, body=json.dumps(found or {})))

            def do_POST(self):
                outer._serve(self)

            def log_message(self, *args):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def paths(self) -> list[str]:
        return [seen.path for seen in self.seen]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def asked(self, calls: int, seconds: float = 20.0) -> bool:
        """Whether within `seconds` that many further calls arrive."""
        return all(self._arrived.acquire(timeout=seconds) for _ in range(calls))

    def gave_up(self, streams: int, seconds: float = 2.0) -> bool:
        """Whether within `seconds` the client closes that many streams before their end."""
        return all(self._closed.acquire(timeout=seconds) for _ in range(streams))

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        seen = Seen(handler.path, body, {name.lower(): value for name, value in handler.headers.items()})
        with self._lock:
            self.seen.append(seen)
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
        self._arrived.release()
        try:
            answer = self.plan(seen)
            time.sleep(answer.delay)
            if answer.events is None:
                self._plain(handler, answer)
            else:
                self._events(handler, answer)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
            self._closed.release()
        finally:
            with self._lock:
                self.under_way -= 1

    @staticmethod
    def _plain(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        body = answer.body.encode()
        handler.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _events(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.send_response(answer.status)
        for name, value in {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}.items():
            handler.send_header(name, value)
        handler.end_headers()
        for event in answer.events or []:
            if isinstance(event, bytes):
                self._chunk(handler, event)
                continue
            data = event if isinstance(event, str) else json.dumps(event)
            self._chunk(handler, f"data: {data}\n\n".encode())
        if answer.end == "drop":
            handler.wfile.write(b'ff\r\ndata: {"id": "c", "choi')
            handler.wfile.flush()
            # Lingering for zero seconds makes the kernel reset the connection.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            handler.rfile.close()
            handler.connection.close()
            return
        if answer.end == "hang":
            while not self._stop.wait(0.02):
                if self._gone(handler):
                    raise BrokenPipeError
            return
        if answer.end in ("done", "interrupted"):
            self._chunk(handler, b"data: [DONE]\n\n")
        if answer.end == "interrupted":
            handler.close_connection = True
            return
        self._chunk(handler, b"")

    @staticmethod
    def _gone(handler: BaseHTTPRequestHandler) -> bool:
        handler.connection.setblocking(False)
        try:
            return handler.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            handler.connection.setblocking(True)

    @staticmethod
    def _chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        handler.wfile.flush()
