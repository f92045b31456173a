"""The ways to run threads on a local model that `local.py` compares; each is a model to the engine."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import llama_cpp

from thread_cli.contracts.errors import ModelError
from thread_cli.contracts.model import Completion, Request, Usage
from thread_cli.models.llama import LlamaModel, LlamaOptions
from thread_cli.models.llama.kinds import dies_by_itself
from thread_cli.models.openai import OpenAIModel
from thread_cli.models.retry import Retrying
from thread_cli.supervision import signal_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from thread_cli.contracts.model import Model

__all__ = ["ContenderDied", "Machine", "llama_server", "ours", "plain_llama", "python_server"]

SLOTS = 8


class ContenderDied(Exception):
    """A contender cannot take part: its process was killed, or would be."""


@dataclass(frozen=True)
class Machine:
    """What every contender is given."""

    model: Path
    threads: int
    gpu_layers: int


class PlainLlama:
    """`llama_cpp.Llama` as anybody would call it: the whole prompt each time, one call after the other."""

    def __init__(self, machine: Machine, context: int, cache: bool) -> None:
        self._llama: Any = llama_cpp.Llama(
            str(machine.model),
            n_ctx=context,
            n_threads=machine.threads,
            n_threads_batch=machine.threads,
            n_gpu_layers=machine.gpu_layers,
            verbose=False,
        )
        if cache:
            self._llama.set_cache(llama_cpp.LlamaRAMCache(2 << 30))
        self._one = asyncio.Lock()
        self._last: asyncio.Task[Any] | None = None

    async def complete(self, request: Request) -> Completion:
        async with self._one:
            work = asyncio.to_thread(
                self._llama.create_completion,
                request.prompt,
                max_tokens=request.max_tokens,
                temperature=0.0,
                stop=list(request.stop),
            )
            self._last = asyncio.create_task(work)
            answer = await asyncio.shield(self._last)
        used = answer["usage"]
        return Completion(
            answer["choices"][0]["text"], "length", Usage(used["prompt_tokens"], 0, used["completion_tokens"])
        )

    async def close(self) -> None:
        # A call that nobody waits for any more goes on all the same.
        if self._last is not None:
            await asyncio.wait([self._last])
        self._llama.close()


@asynccontextmanager
async def ours(
    machine: Machine, context: int, *, speculate: bool = True, kernels: bool = True
) -> AsyncGenerator[LlamaModel]:
    one = LlamaModel(
        LlamaOptions(
            machine.model,
            context=context,
            threads=machine.threads,
            gpu_layers=machine.gpu_layers,
            speculate=speculate,
            kernels=kernels,
        )
    )
    await one.open()
    try:
        yield one
    finally:
        await one.close()


@asynccontextmanager
async def plain_llama(machine: Machine, context: int, *, cache: bool) -> AsyncGenerator[Model]:
    _demand_life(machine)
    one = PlainLlama(machine, context, cache)
    try:
        yield one
    finally:
        await one.close()


@asynccontextmanager
async def python_server(machine: Machine, context: int) -> AsyncGenerator[Model]:
    """llama-cpp-python's own server, with its RAM cache."""
    _demand_life(machine)
    port = _free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(machine.model), "--n_ctx", str(context)]
    command += ["--n_threads", str(machine.threads), "--n_threads_batch", str(machine.threads), "--port", str(port)]
    command += [
        "--n_gpu_layers",
        str(machine.gpu_layers),
        "--cache",
        "true",
        "--cache_type",
        "ram",
        "--interrupt_requests",
        "false",
    ]
    async with _served(command, port, "/v1/models") as one:
        yield one


@asynccontextmanager
async def llama_server(
    program: list[str], machine: Machine, context: int, extra: Mapping[str, Any] | None = None
) -> AsyncGenerator[Model]:
    """llama.cpp's own server: slots that share one KV memory, its prompt cache in RAM, the rest as it chooses; `extra`
    is sent with each request.
    """
    port = _free_port()
    command = [*program, "--model", str(machine.model), "--ctx-size", str(context), "--port", str(port)]
    command += ["--threads", str(machine.threads), "--threads-batch", str(machine.threads)]
    command += ["--n-gpu-layers", str(machine.gpu_layers), "--parallel", str(SLOTS), "--kv-unified"]
    async with _served(command, port, "/health", extra) as one:
        yield one


@asynccontextmanager
async def _served(
    command: list[str], port: int, ready: str, extra: Mapping[str, Any] | None = None
) -> AsyncGenerator[Model]:
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    # llama.cpp's server closes connections that it has kept open for some calls: the next one has to be made again.
    model = Retrying(OpenAIModel("local", f"http://127.0.0.1:{port}/v1", timeout=1800, extra=extra), wait_initial=0.01)
    try:
        await asyncio.to_thread(_wait_for, f"http://127.0.0.1:{port}{ready}", server)
        yield model
    except ModelError as error:
        if server.poll() is None:
            raise
        raise ContenderDied(_end_of(server)) from error
    finally:
        await model.close()
        server.terminate()
        server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if server.poll() is not None:
                raise ContenderDied(_end_of(server)) from None
            time.sleep(0.1)
    raise SystemExit(f"the server did not answer: {server.args}")


def _end_of(server: subprocess.Popen[bytes]) -> str:
    code = server.wait(30)
    return f"its server was killed by {signal_name(-code)}" if code < 0 else f"its server ended with {code}"


def _demand_life(machine: Machine) -> None:
    """Raise ContenderDied where llama-cpp-python as it comes would die with the model."""
    reason = dies_by_itself(machine.model)
    if reason is not None:
        raise ContenderDied(reason)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
