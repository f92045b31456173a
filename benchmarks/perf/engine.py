"""What the engine costs beside the model: time per thread and per action, memory per waiting thread.

Run it with `make perf`. Everything that the engine does is on: variables in the sandbox, events, the log on disk. The
model is a script, and the time spent in it is taken off; the environment answers at once.

`python benchmarks/perf/engine.py --beside /OTHER/.venv/bin/python` compares this tree with another one, which may be an
older commit: both trees' own copies of this script run in turn, ROUNDS times each. The times then are processor time,
so that other work on the machine disturbs them less; the figures are the least of all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from thread_cli.contracts.environment import Step, Task
from thread_cli.contracts.limits import Limits
from thread_cli.contracts.model import Piece
from thread_cli.contracts.protocol import Act, End, Result, Spawn
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.models.scripted import ScriptedModel
from thread_cli.protocols.prompt import Prompt, Rules
from thread_cli.record import RunFolder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from thread_cli.contracts.environment import Environment
    from thread_cli.contracts.model import Completion, Request, StopReason
    from thread_cli.contracts.protocol import Protocol
    from thread_cli.engine.episode import Episode

FREE = Limits(depth=2000, threads=None, calls=None)
THREADS, ACTIONS, DEPTH, FAN_OUT = 1000, 1000, 1000, 100
_IN_PROCESSOR_TIME = """
import runpy, sys, time
time.perf_counter = time.process_time
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
_FIGURE = re.compile(r"\s*([\d.]+) ms per (.+?)  +(.*?)(?:, ([\d.]+) kB .*)?$")


class TimedModel(ScriptedModel):
    """A scripted model that adds up the time spent in it, and may look around at a given call."""

    def __init__(self, script: Callable[[Request], str], at: int = 0, look: Callable[[], None] | None = None) -> None:
        super().__init__(script)
        self.seconds = 0.0
        self.calls = 0
        self._at, self._look = at, look

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        started = time.perf_counter()
        self.calls += 1
        if self._look and self.calls == self._at:
            self._look()
        completion = await self.complete(request)
        piece = Piece(completion.text)
        self.seconds += time.perf_counter() - started
        yield piece
        yield completion


class Fork:
    """A protocol in which one line spawns many: `a|b =>`."""

    stop = ("=>", "#END#")

    def open(self, context: str) -> str:
        return f"\n{context}\n"

    def read(self, y: str, stop: StopReason) -> Spawn | Act | End:
        return End() if stop == "end" else Spawn(tuple(y.rpartition("\n")[2].split("|")))

    def body(self, text: str, stop: StopReason) -> str:
        return text if stop == "end" else text.rpartition("\n")[0]

    def answer(self, observation: str) -> str:
        return f"=>{observation}<=\n"

    def join(self, results: Sequence[Result]) -> str:
        return "=>" + str(len(results)) + "<=\n"


class Echo:
    """An environment that answers at once."""

    splits = {"all": "one task"}  # noqa: RUF012
    requires = ()
    extra = None
    graded = False
    rules = {}  # noqa: RUF012

    def tasks(self, split: str) -> list[Task]:  # noqa: ARG002
        return [Task("0", "Act.")]

    async def reset(self, task: Task) -> str:
        return task.text

    async def step(self, action: str) -> Step:
        return Step(f"You did {action}")

    async def close(self) -> None: ...


async def played(
    model: TimedModel, text: str, protocol: Protocol | None = None, environment: Environment | None = None
) -> tuple[Episode, float]:
    """An episode, and the seconds that it took beside the model."""
    interpreter = VariableInterpreter()
    await interpreter.run("x = 1 + 1", {})
    with tempfile.TemporaryDirectory() as folder:
        log = RunFolder.create(Path(folder) / "run", "perf", {}, "Q").log("perf")
        executor = Executor(
            model=model,
            prompt=Prompt("perf", "Q", Rules(phi="last_line_after_comma")),
            interpreter=interpreter,
            environment=environment,
            limits=FREE,
            sinks=[log],
            protocol=protocol,
        )
        started = time.perf_counter()
        episode = await executor.run(Task("perf", text))
        seconds = time.perf_counter() - started
        log.close()
    await interpreter.close()
    return episode, seconds - model.seconds


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if sys.platform == "linux" else 0
    return pages * resource.getpagesize()


def children_one_by_one(request: Request) -> str:
    if request.thread != "0":
        return "count = count + 1\nprint('{count}')"
    done = request.y.count("<=")
    return f"count = {done}\nNow, do part {done} =>" if done < THREADS else "print('all')"


def actions(request: Request) -> str:
    done = request.y.count("<=")
    return f"> step {done} =>" if done < ACTIONS else "print('all')"


def descent(request: Request) -> str:
    level = int(request.c.split("level ")[1].split()[0])
    return "print('bottom')" if level == 0 else "print('up')" if request.y else f"Now, go to level {level - 1} =>"


def spread(request: Request) -> str:
    if request.y or request.thread.count(".") == 2:
        return "print('ok')"
    return "|".join(f"part {i} of {request.thread}" for i in range(FAN_OUT)) + "=>"


async def main() -> None:
    episode, seconds = await played(TimedModel(children_one_by_one), "Go.")
    report("thread, with variables", seconds, episode.totals.threads, f"{episode.totals.threads} threads in turn")

    episode, seconds = await played(TimedModel(actions), "Act.", environment=Echo())
    report("action", seconds, episode.totals.actions, f"{episode.totals.actions} actions of one thread")

    memory: list[int] = []
    gc.collect()
    before = resident()
    model = TimedModel(descent, at=DEPTH + 1, look=lambda: memory.append(resident()))
    episode, seconds = await played(model, f"level {DEPTH} =>")
    size = (memory[0] - before) / DEPTH / 1000
    report("thread", seconds, episode.totals.threads, f"depth {episode.totals.depth}, {size:.1f} kB per waiting thread")

    gc.collect()
    before = resident()
    everyone = 1 + FAN_OUT + FAN_OUT**2
    model = TimedModel(spread, at=everyone, look=lambda: memory.append(resident()))
    episode, seconds = await played(model, "Go.", protocol=Fork())
    size = (memory[1] - before) / everyone / 1000
    about = f"{episode.totals.threads} threads, fan-out {FAN_OUT}, {size:.1f} kB per live thread"
    report("thread", seconds, episode.totals.threads, about)


def report(what: str, seconds: float, count: int, about: str) -> None:
    print(f"{1000 * seconds / count:6.3f} ms per {what:22}  {about}")


def figures(python: Path | str, script: Path) -> dict[str, float]:
    """What that tree's own copy of this script prints: ms, or kB, by name."""
    command = [python, "-P", "-c", _IN_PROCESSOR_TIME, script]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = {}
    for figure in filter(None, map(_FIGURE.match, ran.stdout.splitlines())):
        name = f"{figure[2].strip()}: {figure[3]}"
        found[f"ms per {name}"] = float(figure[1])
        if figure[4]:
            found[f"kB per {name}"] = float(figure[4])
    return found


def compare(other: Path, rounds: int) -> None:
    """Print the least of each figure here and in the other tree, and the ratio of the two."""
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    for _ in range(rounds):
        theirs.append(figures(other, other.parents[2] / "benchmarks/perf/engine.py"))
        ours.append(figures(sys.executable, Path(__file__)))
    print(f"{'here':>8} {'beside':>8} {'ratio':>6}")
    for name in ours[0]:
        mine, its = (min(each[name] for each in found) for found in (ours, theirs))
        print(f"{mine:8.3f} {its:8.3f} {mine / its:6.2f}  {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, metavar="PYTHON", help="compare with another tree: its .venv/bin/python")
    parser.add_argument("--rounds", type=int, default=5, help="how often each runs (default: 5)")
    options = parser.parse_args()
    if options.beside is None:
        asyncio.run(main())
    else:
        compare(options.beside.absolute(), options.rounds)
