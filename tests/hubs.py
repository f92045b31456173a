"""A hub on loopback that serves files of one repository as Hugging Face's does, and breaks off when told to."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves `files` of the repository `repo`.

    `stalls` is the number of bytes after which a download hangs until the client is gone, `digests` tells another
    SHA-256 than a file has, `sizes` another size, `missing` are files that are listed and not there.
    """

    def __init__(self, files: dict[str, bytes], repo: str = "owner/repo-GGUF") -> None:
        self.files, self.repo = files, repo
        self.stalls: int | None = None
        self.digests: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.missing: set[str] = set()
        self.ranges: list[str | None] = []
        self.stalled = threading.Event()
        self._stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                outer._answer(self, body=False)

            def do_GET(self):
                outer._answer(self, body=True)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = handler.path.partition("?")[0]
        if re.fullmatch(rf"/api/models/{self.repo}(/revision/\w+)?", path):
            listed = {"id": self.repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            self._send(handler, 200, {"Content-Type": "application/json"}, json.dumps(listed).encode())
            return
        tree = re.fullmatch(rf"/api/models/{self.repo}/tree/\w+", path)
        if tree:
            listed = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in self.files.items()
            ]
            self._send(handler, 200, {"Content-Type": "application/json"}, json.dumps(listed).encode())
            return
        match = re.fullmatch(rf"/{self.repo}/resolve/\w+/(.+)", path)
        if match is None or match[1] not in self.files or match[1] in self.missing:
            code = "EntryNotFound" if match else "RepoNotFound"
            self._send(handler, 404, {"X-Error-Code": code, "X-Repo-Commit": COMMIT}, b"")
            return
        self._file(handler, match[1], body=body)

    def _file(self, handler: BaseHTTPRequestHandler, name: str, *, body: bool) -> None:
        data = self.files[name]
        digest = self.digests.get(name, hashlib.sha256(data).hexdigest())
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{digest}"',
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(self.sizes.get(name, len(data))),
            "Accept-Ranges": "bytes",
        }
        if not body:
            self._send(handler, 200, {**headers, "Content-Length": str(self.sizes.get(name, len(data)))}, b"")
            return
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        start = int(re.search(r"\d+", asked)[0]) if asked else 0
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.send_response(206 if asked else 200)
        for field, value in {**headers, "Content-Length": str(len(data) - start)}.items():
            handler.send_header(field, value)
        handler.end_headers()
        end = len(data) if self.stalls is None else self.stalls
        try:
            handler.wfile.write(data[start:end])
            handler.wfile.flush()
        except OSError:
            return
        if end < len(data):
            self.stalled.set()
            self._stop.wait(60)
            handler.close_connection = True

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes) -> None:
        handler.send_response(status)
        for field, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(field, value)
        handler.end_headers()
        handler.wfile.write(content)
