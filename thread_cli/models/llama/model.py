"""A model on this machine: asynchronous calls in front, one worker thread with llama.cpp behind."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from thread_cli.contracts.errors import ModelError, UserError
from thread_cli.contracts.model import Piece, Profile
from thread_cli.distribution import remedy
from thread_cli.models.llama.call import Call
from thread_cli.models.llama.work import Work
from thread_cli.protocols.streams import poured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from thread_cli.contracts.model import Completion, Request
    from thread_cli.models.llama.accelerator import KernelPath
    from thread_cli.models.llama.backend import Backend
    from thread_cli.models.llama.call import Description
    from thread_cli.models.llama.scheduler import Scheduler

__all__ = ["LlamaModel", "LlamaOptions", "physical_cores"]


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """How a model is loaded."""

    path: Path
    """A GGUF file."""
    context: int = 8192
    """Tokens that the KV memory holds, shared by all threads."""
    sequences: int = 128
    """Most threads that are kept in it, those that wait included; at most 255, 127 for models with sliding windows."""
    threads: int | None = None
    """CPU threads; by default one per physical core."""
    gpu_layers: int = 0
    """Layers to put on the GPU; -1 means all."""
    split: Literal["layer", "row", "none"] = "layer"
    """How several GPUs share these layers; `none` puts all on one."""
    main_gpu: int = 0
    """That one's number."""
    tensor_split: tuple[float, ...] = ()
    """How much each GPU gets, in proportion; by default by their free memory."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    """`auto`: on a CPU, on; on a GPU, llama.cpp's own choice."""
    kv_type: Literal["f32", "f16", "q8_0", "q4_0"] = "f16"
    """Type of the keys and values in the KV memory."""
    adapters: tuple[Path, ...] = ()
    """LoRA adapters (GGUF), all applied with scale 1."""
    top_p: float = 1.0
    """Probability mass of the tokens to draw from, at temperatures above 0."""
    batch: int = 512
    """Most tokens that are evaluated in one step; on a CPU with flash attention 63, but for few-shot prompts."""
    kernels: bool = True
    """Whether to compute with our own kernels where they can be used."""
    kernel_path: KernelPath | None = None
    """What our kernels multiply with. Default: the processor's best; others are for tests and measurements."""
    speculate: bool = True
    """Whether to guess ahead from what threads have read and written, where that pays."""


class LlamaModel:
    """A GGUF model run by llama.cpp. It is loaded at the first call, or by `open`."""

    def __init__(self, options: LlamaOptions) -> None:
        if not 1 <= options.sequences <= 255:
            raise UserError(f"llama: {options.sequences} sequences; choose 1 to 255")
        if min(options.context, options.batch) < 1 or (options.threads or 1) < 1:
            raise UserError("llama: context, batch and threads must be at least 1")
        self.options = options
        self.work = Work()
        """What the model has done so far; it changes while calls are under way."""
        self._worker = _Worker(options, self.work)
        self._under_way = 0
        """Calls that have not ended."""
        # Ends the worker at interpreter exit too: llama.cpp must not run on while Python is taken down.
        self._finalizer = weakref.finalize(self, self._worker.stop)

    async def open(self) -> None:
        """Load the model, unless it is loaded.

        Raises:
            UserError: it cannot be loaded; the message says why and what to do.
        """
        await self.describe()

    async def describe(self) -> Description:
        """What the model's file says of it; loads the model, unless it is loaded.

        Raises:
            UserError: it cannot be loaded.
        """
        self._worker.start()
        ready = asyncio.wrap_future(self._worker.ready)
        # Of several calls that wait, the first to fail may end the others, and nobody looks at their error.
        ready.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(ready)

    async def complete(self, request: Request, tell: Callable[[str], None] | None = None) -> Completion:
        """Continue the request's prompt.

        `tell` is called, in the event loop, with each new piece of the text as soon as it is certain; they join to
        `Completion.text`. If the awaiting task is cancelled, the model stops writing.

        Raises:
            LimitReached: limit `context`: the prompt is longer than the model's context.
            ModelError: llama.cpp failed, or the model was closed.
            UserError: the model cannot be loaded, or the request's grammar not be read.
        """
        await self.open()
        answer = _Answer(None if tell is None else lambda piece, _: tell(piece))
        call = self._submitted(request, answer)
        try:
            return await answer.future
        finally:
            call.cancelled = True

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """Continue the request's prompt, piece by piece; raises as `complete` does."""
        return poured(lambda tell: self._complete(request, tell))

    async def _complete(self, request: Request, tell: Callable[[Piece], None]) -> Completion:
        await self.open()
        answer = _Answer(lambda text, tokens: tell(Piece(text, tokens=tokens)))
        call = self._submitted(request, answer)
        try:
            return await asyncio.shield(answer.future)
        except asyncio.CancelledError:
            # The worker gives up the call at its next step, and says what it has come to.
            call.cancelled = True
            return await answer.future
        finally:
            call.cancelled = True

    async def profile(self) -> Profile:
        """Calls that its sequences and KV cells have room for, and its speeds by batch size.

        Speeds are measured once for each model and machine, and remembered in the cache folder. A model that is at work
        already is not measured.

        Raises:
            ModelError, UserError: as `complete` does; the cache folder cannot be written to.
        """
        await self.open()
        speeds = await asyncio.wrap_future(self._worker.speeds())
        room = min(self.options.sequences, self.options.context // _CELLS)
        return Profile(max(1, room - self._under_way), speeds)

    def _submitted(self, request: Request, answer: _Answer) -> Call:
        call = Call(request, answer.done, answer.tell if answer.heard_by else None)
        self._worker.submit(call)
        self._under_way += 1
        answer.future.add_done_callback(self._ended)
        return call

    def _ended(self, _: object) -> None:
        self._under_way -= 1

    async def close(self) -> None:
        """Stop the worker and free the model. Calls under way end with ModelError. May be called twice."""
        await asyncio.to_thread(self._finalizer)


_CELLS: Final = 256
"""KV cells that a call is taken to need for itself, besides the prefix that it shares with others."""


class _Answer:
    """A completion on its way from the worker thread to the event loop that awaits it."""

    def __init__(self, heard_by: Callable[[str, int], None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Completion] = self._loop.create_future()
        self.heard_by = heard_by
        """Gets each piece of the text, and the number of tokens drawn since the last one."""
        self._length = 0
        self._tokens = 0

    def done(self, result: Completion | Exception) -> None:
        """Take the result from the worker thread."""
        self._send(self._receive, result)

    def tell(self, piece: str) -> None:
        """Take from the worker thread what a token has made certain of the text, which may be nothing."""
        self._tokens += 1
        if piece:
            tokens, self._tokens = self._tokens, 0
            self._send(self._hear, piece, tokens)

    def _send(self, receive: Callable[..., None], *what: object) -> None:
        # The loop may be closed by now; then nobody waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(receive, *what)

    def _receive(self, result: Completion | Exception) -> None:
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
            return
        if len(result.text) > self._length:
            self._hear(result.text[self._length :], self._tokens)
        self.future.set_result(result)

    def _hear(self, piece: str, tokens: int) -> None:
        if self.heard_by is not None and not self.future.done():
            self._length += len(piece)
            self.heard_by(piece, tokens)


class _Worker:
    """The thread that owns the model."""

    def __init__(self, options: LlamaOptions, work: Work) -> None:
        self.ready: Future[Description] = Future()
        self._options = options
        self._work = work
        self._inbox: deque[Call] = deque()
        self._measuring: deque[Future[Mapping[int, float]]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs.

        Raises:
            ModelError: it was stopped before.
        """
        with self._changed:
            if self._stopping:
                raise ModelError("the model was closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llama", daemon=True)
                self._thread.start()

    def submit(self, call: Call) -> None:
        with self._changed:
            if self._stopping:
                raise ModelError("the model was closed")
            self._inbox.append(call)
            self._changed.notify()

    def speeds(self) -> Future[Mapping[int, float]]:
        """The speeds by batch size, as remembered or as measured between two calls; none for a model at work."""
        asked: Future[Mapping[int, float]] = Future()
        with self._changed:
            if self._stopping:
                raise ModelError("the model was closed")
            self._measuring.append(asked)
            self._changed.notify()
        return asked

    def stop(self) -> None:
        """Stop after the current step and free the model."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            backend, scheduler = _load(self._options, self._work)
        except Exception as error:  # noqa: BLE001 -- raised again where somebody waits for it
            self.ready.set_exception(error)
            return
        self.ready.set_result(backend.describe())
        try:
            while self._take_in(scheduler):
                self._measure(backend, scheduler)
                if scheduler.idle:
                    continue
                # All calls under way have been told, and the next ones find an empty cache.
                with suppress(ModelError):
                    scheduler.run_batch()
            scheduler.fail(ModelError("the model was closed"))
        except Exception as error:  # noqa: BLE001 -- nobody may wait for a dead thread
            failure = ModelError(f"the local backend failed: {error!r}")
            scheduler.fail(failure)
            with self._changed:
                self._stopping = True
            for call in self._inbox:
                call.fail(failure)
        finally:
            for asked in self._measuring:
                if asked.set_running_or_notify_cancel():
                    asked.set_exception(ModelError("the model was closed"))
            backend.close()

    def _measure(self, backend: Backend, scheduler: Scheduler) -> None:
        """Answer those who ask for speeds. The model is measured only before its first call, with an empty cache."""
        with self._changed:
            waiting, self._measuring = self._measuring, deque()
        for asked in waiting:
            if not asked.set_running_or_notify_cancel():
                continue
            try:
                asked.set_result(_speeds(backend, self._options, fresh=scheduler.idle and not self._work.steps))
            except OSError as error:
                asked.set_exception(UserError(f"the speeds of the model cannot be kept: {error}"))
            except ModelError as error:
                asked.set_exception(error)

    def _take_in(self, scheduler: Scheduler) -> bool:
        """Hand new calls to the scheduler, waiting for some while there is nothing to do; False to stop."""
        with self._changed:
            while scheduler.idle and not self._inbox and not self._measuring and not self._stopping:
                self._changed.wait()
            calls, self._inbox = self._inbox, deque()
        for call in calls:
            try:
                scheduler.submit(call)
            except UserError as error:
                call.fail(error)
            except Exception as error:  # noqa: BLE001 -- a call that cannot be taken in must not take others along
                call.fail(ModelError(f"the local backend failed: {error!r}"))
        return not self._stopping


def _speeds(backend: Backend, options: LlamaOptions, *, fresh: bool) -> Mapping[int, float]:
    from thread_cli.models.llama.speeds import Machine
    from thread_cli.models.llama.widths import file_of, measured, remembered

    machine = Machine.here(options.threads or physical_cores(), options.gpu_layers)
    way = (options.kv_type, options.flash_attention, options.kernels, options.split, options.main_gpu)
    file = file_of((options.path, *options.adapters), way, machine)
    known = remembered(file)
    if known is None and fresh:
        known = measured(backend, file, options.path.name, machine, batch=options.batch)
    return known or {}


def _load(options: LlamaOptions, work: Work) -> tuple[Backend, Scheduler]:
    try:
        # Only here: the base install has neither numpy nor llama-cpp-python.
        from thread_cli.models.llama.backend import Backend
        from thread_cli.models.llama.ceilings import Ceilings
        from thread_cli.models.llama.scheduler import Scheduler
    except ImportError as error:
        raise UserError(f"local models need llama-cpp-python ({error}): {remedy('local')}") from None
    except (OSError, RuntimeError) as error:
        raise UserError(f"llama-cpp-python cannot load its library, install it anew: {error}") from None
    backend = Backend(
        options.path,
        context=options.context,
        sequences=options.sequences,
        batch=options.batch,
        threads=options.threads or physical_cores(),
        gpu_layers=options.gpu_layers,
        split=options.split,
        main_gpu=options.main_gpu,
        tensor_split=options.tensor_split,
        flash_attention=options.flash_attention,
        kv_type=options.kv_type,
        adapters=options.adapters,
        kernels=options.kernels,
        kernel_path=options.kernel_path,
    )
    return backend, Scheduler(
        backend,
        sequences=options.sequences,
        top_p=options.top_p,
        speculate=options.speculate,
        work=work,
        ceilings=Ceilings.of(backend),
    )


def physical_cores() -> int:
    """Physical cores that this process may use: llama.cpp gains nothing from a second thread on one core."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings: set[str] = set()
    for cpu in usable:
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text("ascii"))
        except OSError:
            siblings.add(str(cpu))
    return min(len(siblings), _cpu_quota() or len(siblings))


def _cpu_quota() -> int | None:
    """CPUs that a container's quota leaves, at least 1; None without a quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
