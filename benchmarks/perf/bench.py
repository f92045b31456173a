"""What a bench run costs beside the model: wall time over the ideal, processor time, memory, and bytes on disk.

    python benchmarks/perf/bench.py [--episodes 5000] [--in-flight 200] [--seconds 1] [--inspect PYTHON]

Every episode is four calls, one after the other, of a model that takes `--seconds` to answer: an action, a spawn, the
child's answer, the end. So the ideal wall time is episodes x 4 x seconds / in flight. Everything that a run does is on:
claims, event logs, results, the environment (TextCraft), variables. With `--inspect`, an interpreter of an environment
in which `inspect_ai` is installed, the same load runs there as well: four calls per sample, its own log, no display.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CALLS = 4
SCRIPT = """
[[thread]]
path = "0"
text = '''
First, look.
> inventory =>
Then ask another, obtain 1 stick =>
print('done') '''

[[thread]]
text = '''
print('1 stick') '''
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=5000)
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--inspect", metavar="PYTHON")
    parser.add_argument("--load", choices=("thread", "inspect"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.load:
        play = play_thread if asked.load == "thread" else play_inspect
        print(json.dumps(play(asked.episodes, asked.in_flight, asked.seconds)))
        return
    ideal = asked.episodes * CALLS * asked.seconds / asked.in_flight
    print(f"{asked.episodes:,} episodes of {CALLS} calls of {asked.seconds:g} s, {asked.in_flight} at once; ", end="")
    print(f"ideal {ideal:.1f} s")
    print(f"{'':12}{'wall':>10}{'over ideal':>12}{'CPU/episode':>13}{'memory':>10}{'log/episode':>13}")
    pythons = {"thread": sys.executable} | ({"inspect_ai": asked.inspect} if asked.inspect else {})
    for name, python in pythons.items():
        load = ["--load", name.removesuffix("_ai")]
        sizes = [f"--{key.replace('_', '-')}={getattr(asked, key)}" for key in ("episodes", "in_flight", "seconds")]
        child = subprocess.run([python, __file__, *load, *sizes], capture_output=True, text=True, check=False)
        if child.returncode:
            print(f"{name:12}failed: {child.stderr.strip().splitlines()[-1]}")
            continue
        told = json.loads(child.stdout.splitlines()[-1])
        over, each = told["wall"] / ideal - 1, 1000 * told["cpu"] / asked.episodes
        kilobytes = told["bytes"] / asked.episodes / 1000
        print(f"{name:12}{told['wall']:8.1f} s{over:12.1%}{each:10.2f} ms{told['memory']:7.0f} MB{kilobytes:10.1f} kB")
    if not asked.inspect:
        print("inspect_ai was not run: give --inspect PYTHON")


def play_thread(episodes: int, in_flight: int, seconds: float) -> dict[str, float]:
    """The load as a bench run; what it took."""
    from thread_cli.bench.plan import Plan
    from thread_cli.bench.playing import Settings, run
    from thread_cli.bench.suite import Part, Suite
    from thread_cli.config import Config
    from thread_cli.models.scripted import ScriptedModel

    at_once = ScriptedModel.complete

    async def complete(self: ScriptedModel, request: Any) -> Any:
        await asyncio.sleep(seconds)
        return await at_once(self, request)

    ScriptedModel.complete = complete  # type: ignore[method-assign]
    epochs = -(-episodes // 250)
    part = Part(environment="textcraft", split="all", tasks=episodes // epochs)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.toml"
        script.write_text(SCRIPT)
        plan = Plan.of(Suite(name="load", parts=(part,)), Config.of(model=f"scripted:{script}"), epochs=epochs)
        began, worked = time.monotonic(), time.process_time()
        outcome = asyncio.run(run(plan, Path(folder) / "run", Settings(concurrency=in_flight)))
        took = {"wall": time.monotonic() - began, "cpu": time.process_time() - worked}
        done = outcome.progress
        if len(done.done) != episodes or done.calls != CALLS * episodes or done.infrastructure:
            raise SystemExit(f"{len(done.done)} episodes, {done.calls} calls, {done.infrastructure} failed")
        return {**took, "memory": _megabytes(), "bytes": _size(Path(folder) / "run" / "episodes")}


def play_inspect(episodes: int, in_flight: int, seconds: float) -> dict[str, float]:
    """The load as an evaluation of inspect_ai; what it took."""
    if importlib.util.find_spec("inspect_ai") is None:
        raise SystemExit("inspect_ai is not installed there")
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessageUser, GenerateConfig, ModelAPI, ModelOutput, get_model, modelapi
    from inspect_ai.scorer import includes
    from inspect_ai.solver import solver

    class Slow(ModelAPI):
        async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:  # noqa: A002, ARG002
            await asyncio.sleep(seconds)
            return ModelOutput.from_content(self.model_name, "print('1 stick')")

        def max_connections(self) -> int:
            return in_flight

    @modelapi(name="slow")
    def slow() -> type[ModelAPI]:
        return Slow

    @solver
    def four_calls() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            for _ in range(CALLS):
                state = await generate(state)
                state.messages.append(ChatMessageUser(content="Crafted 1 stick"))
            return state

        return solve

    samples = [Sample(input=f"Craft thing {number}.", target="stick", id=number) for number in range(episodes)]
    with tempfile.TemporaryDirectory() as folder:
        began, worked = time.monotonic(), time.process_time()
        (log,) = inspect_ai.eval(
            inspect_ai.Task(dataset=samples, solver=four_calls(), scorer=includes()),
            model=get_model("slow/slow", config=GenerateConfig(max_connections=in_flight)),
            max_samples=in_flight,
            log_dir=folder,
            display="none",
        )
        took = {"wall": time.monotonic() - began, "cpu": time.process_time() - worked}
        if log.status != "success" or log.results is None or log.results.completed_samples != episodes:
            raise SystemExit(f"inspect_ai: {log.status}: {log.error and log.error.message}")
        return {**took, "memory": _megabytes(), "bytes": _size(Path(folder))}


def _megabytes() -> float:
    """The most memory that this process held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
