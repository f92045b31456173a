"""What 10,000 threads in flight at once cost beside the model, half of them asynchronous: time, memory and log.

`python benchmarks/perf/inflight.py` starts a process for each number of threads. In it a thread spawns one half in the
background and waits for the other half by lists, in THREAD's own format; all of them are in the model at the same time,
and then answer. Half of those in the background are awaited one by one, by `await any`. Single spawns, one after the
other by the same format, run beside them in the same process. The model is a script, and times are the processor's.

`thread_cli`'s live tree is a sink of the last run: it draws as often as the events allow, at 8 frames a second.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engine import FREE, resident
from rich.console import Console

from thread_cli.contracts.environment import Task
from thread_cli.contracts.model import Completion, Usage
from thread_cli.display import TreeDisplay
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.record import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.events import Sink
    from thread_cli.contracts.limits import Limits
    from thread_cli.contracts.model import Request

LISTS = 10
"""Lists that each half is spawned by."""
SINGLE = 1000


class Gate:
    """A model that answers no child before all of them have asked; the main thread's lines are `lines`."""

    def __init__(self, lines: Sequence[str], children: int) -> None:
        self._lines = lines
        self._asked, self._children = 0, children
        self._open = asyncio.Event()
        self.memory = 0

    async def complete(self, request: Request) -> Completion:
        if request.thread == "0":
            return _answer(self._lines[request.y.count("=>")])
        self._asked += 1
        if self._asked == self._children:
            self.memory = resident()
            self._open.set()
        await self._open.wait()
        return _answer("print('done')")

    async def close(self) -> None: ...


class OneByOne:
    """A model whose main thread spawns children one after the other."""

    async def complete(self, request: Request) -> Completion:
        if request.thread != "0":
            return _answer("print('done')")
        done = request.y.count("=>")
        return _answer(f"Next, do part {done} =>" if done < SINGLE else "print('end')")

    async def close(self) -> None: ...


def _answer(text: str) -> Completion:
    written, listens, _ = text.partition("=>")
    return Completion(written, "listen" if listens else "end", Usage(prompt=100, generated=10))


def lines(count: int) -> list[str]:
    """The main thread's lines for `count` children, half of them in the background."""
    size = count // 2 // LISTS
    half = range(0, count // 2, size)
    spawned = ["\n".join(f"& Next, do part {first + n}" for n in range(size)) + " =>" for first in half]
    waited = "\n".join(f"- Next, do part {count // 2 + n}" for n in range(count // 2)) + " =>"
    return [*spawned, waited, *["await any =>"] * (count // 4), "print('end')"]


async def played(model: Gate | OneByOne, limits: Limits, *sinks: Sink) -> tuple[float, int]:
    """Seconds of the processor that an episode takes, and bytes of its log."""
    interpreter = VariableInterpreter()
    with tempfile.TemporaryDirectory() as folder:
        log = RunFolder.create(Path(folder) / "run", "perf", {}, "Q").log("perf")
        executor = Executor(
            model=model,
            prompt=Prompt("perf", "Q", Rules(phi="last_line_after_comma", several="- ", background="& ")),
            interpreter=interpreter,
            limits=limits,
            sinks=[log, *sinks],
        )
        started = time.process_time()
        episode = await executor.run(Task("perf", "Go."))
        seconds = time.process_time() - started
        log.close()
        size = log.path.stat().st_size
    await interpreter.close()
    if episode.answer not in {"end", "done"}:
        raise SystemExit(f"the episode went wrong: {episode.message}")
    return seconds, size


async def measure(count: int) -> None:
    limits = FREE.model_copy(update={"fan_out": count, "calls": 2**40, "threads": 2**40})
    single, _ = await played(OneByOne(), limits)
    gc.collect()
    before = resident()
    gate = Gate(lines(count), count)
    seconds, size = await played(gate, limits)
    gc.collect()
    display = TreeDisplay(Console(file=io.StringIO(), width=120, height=40, force_terminal=True))
    with display:
        drawn, _ = await played(Gate(lines(count), count), limits, display)
    size_of_one, own = (gate.memory - before) / count / 1000, 1000 * seconds / count
    print(
        f"{count:6,} in flight: {size_of_one:5.1f} kB, {own:.3f} ms and {size / count:,.0f} bytes of log each", end="; "
    )
    print(f"{1000 * drawn / count:.3f} ms with the live tree; one after the other {1000 * single / SINGLE:.3f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="*", type=int, help="numbers of threads (default: 1000 10000)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for number in options.count or [1000, 10_000]:
        if options.here:
            asyncio.run(measure(number))
        else:
            subprocess.run([sys.executable, __file__, "--here", str(number)], check=True)
