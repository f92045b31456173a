"""What a bench run costs beside the model: wall time over the ideal, processor time, memory, and bytes on disk.

    python benchmarks/perf/bench.py [--quick] [--python PATH]

Every episode is four calls, one after the other, of a model that takes a second to answer: an action, a spawn, the
child's answer, the end. The ideal wall time is the sum of these made-up seconds by the episodes in flight. Everything
that a run does is on: claims, event logs, results, the environment (TextCraft), variables. Then the same load is played
by inspect_ai (`inspect_load.py`), which needs an environment of its own; `--python` is its interpreter. The exit code
is 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thread_cli.assembly.config import Config
from thread_cli.bench.plan import Plan
from thread_cli.bench.playing import Settings, run
from thread_cli.bench.suite import Part, Suite
from thread_cli.models.scripted import ScriptedModel

if TYPE_CHECKING:
    from thread_cli.bench.progress import Progress
    from thread_cli.contracts.model import Completion, Request

CALLS = 4
TASKS = 250
"""How many of TextCraft's tasks are played, each over and over."""
OVERHEAD, MEMORY, GROWTH = 0.05, 500, 0.1
"""What must be kept: wall time over the ideal, MB, and how much the log of an episode may grow by."""
OTHER = Path.home() / ".cache" / "thread-inspect"
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
    parser = argparse.ArgumentParser(description="Measure what `thread bench` costs beside the model.")
    parser.add_argument("--quick", action="store_true", help="500 episodes, 100 in flight: half a minute for each")
    parser.add_argument("--episodes", type=int, help="a multiple of --in-flight (5000)")
    parser.add_argument("--in-flight", type=int, help="(200)")
    parser.add_argument("--seconds", type=float, default=1.0, help="that the model takes for a call (1)")
    default = OTHER / "bin" / "python"
    parser.add_argument("--python", type=Path, default=default, help=f"interpreter that has inspect_ai ({default})")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    usual = (500, 100) if asked.quick else (5000, 200)
    episodes, in_flight = asked.episodes or usual[0], asked.in_flight or usual[1]
    if asked.load:
        print(json.dumps(play(episodes, in_flight, asked.seconds)))
        return
    load = [f"--episodes={episodes}", f"--in-flight={in_flight}", f"--seconds={asked.seconds}"]
    busy = ", ".join(f"{average:.1f}" for average in os.getloadavg()[:2])
    print(f"{episodes:,} episodes of {CALLS} calls of {asked.seconds:g} s, {in_flight} in flight, ", end="")
    print(f"on {os.cpu_count()} cores with a load of {busy} from elsewhere", flush=True)
    print(f"{'':12}{'ideal':>10}{'wall':>10}{'over ideal':>12}{'CPU/episode':>13}{'memory':>10}{'log/episode':>13}")
    ours = row("thread", [sys.executable, __file__, "--load", *load], episodes, in_flight)
    if ours is None:
        raise SystemExit(1)
    theirs = None
    if python := shutil.which(asked.python):
        other = Path(__file__).with_name("inspect_load.py")
        theirs = row("inspect_ai", [python, str(other), f"--calls={CALLS}", *load], episodes, in_flight)
    else:
        print(f"inspect_ai is not played, there is no {asked.python}. Install it with")
        print(f"    python3 -m venv {OTHER} && {OTHER}/bin/pip install inspect_ai")
        print("or give --python the interpreter of an environment that has it.")
    raise SystemExit(verdict(ours, theirs))


def row(name: str, command: list[str], episodes: int, in_flight: int) -> dict[str, Any] | None:
    """Play a load in a process of its own and print its row; None where it fails."""
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        print(f"{name:12}failed: {(child.stderr.strip().splitlines() or ['without a word'])[-1]}")
        return None
    told = json.loads(child.stdout.splitlines()[-1])
    ideal = told["slept"] / in_flight
    told["over"] = told["wall"] / ideal - 1
    each, kilobytes = 1000 * told["cpu"] / episodes, told["bytes"] / episodes / 1000
    print(f"{name:12}{ideal:8.1f} s{told['wall']:8.1f} s{told['over']:12.1%}", end="")
    print(f"{each:10.2f} ms{told['memory']:7.0f} MB{kilobytes:10.1f} kB", flush=True)
    return told


def verdict(ours: dict[str, Any], theirs: dict[str, Any] | None) -> int:
    """Say whether the limits are kept; returns the exit code."""
    each = [size / count for count, size in ours["sizes"]]
    grown = each[-1] / each[0] - 1
    print(
        "log per episode: " + ", ".join(f"{size / count:,.0f} bytes after {count:,}" for count, size in ours["sizes"])
    )
    checks = {
        f"{ours['over']:.1%} over ideal (limit {OVERHEAD:.0%})": ours["over"] < OVERHEAD,
        f"{ours['memory']:.0f} MB (limit {MEMORY} MB)": ours["memory"] < MEMORY,
        f"log per episode {grown:+.1%} (limit {GROWTH:+.0%})": grown < GROWTH,
    }
    beside = "" if theirs is None else f"; inspect_ai: {theirs['over']:.1%} over ideal, {theirs['memory']:.0f} MB"
    kept = all(checks.values())
    said = ", ".join(text if good else f"{text} MISSED" for text, good in checks.items())
    print(f"verdict: {'all limits are kept' if kept else 'a limit is missed'}: {said}{beside}")
    return 0 if kept else 1


def play(episodes: int, in_flight: int, seconds: float) -> dict[str, Any]:
    """The load as a bench run; what it took."""
    slept, sizes = 0.0, list[tuple[int, int]]()
    at_once = ScriptedModel.complete

    async def complete(self: ScriptedModel, request: Request) -> Completion:
        nonlocal slept
        slept += seconds
        await asyncio.sleep(seconds)
        return await at_once(self, request)

    ScriptedModel.complete = complete
    epochs = -(-episodes // TASKS)
    part = Part(environment="textcraft", split="all", tasks=episodes // epochs)
    with tempfile.TemporaryDirectory() as folder:
        script, log = Path(folder) / "script.toml", Path(folder) / "run"
        script.write_text(SCRIPT)
        plan = Plan.of(Suite(name="load", parts=(part,)), Config.of(model=f"scripted:{script}"), epochs=epochs)

        def watch(_: object, progress: Progress) -> None:
            counts = {episodes // 5, episodes // 2, episodes}
            progress.listeners.append(
                lambda _: sizes.append((len(progress.done), written(log))) if len(progress.done) in counts else None
            )

        began, worked = time.monotonic(), time.process_time()
        outcome = asyncio.run(run(plan, log, Settings(concurrency=in_flight, ready=watch)))
        took = {"wall": time.monotonic() - began, "cpu": time.process_time() - worked}
        done = outcome.progress
        if len(done.done) != episodes or done.calls != CALLS * episodes or done.infrastructure:
            raise SystemExit(f"{len(done.done)} episodes, {done.calls} calls, {done.infrastructure} failed")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {**took, "slept": slept, "memory": memory, "bytes": written(log), "sizes": sizes}


def written(log: Path) -> int:
    """Bytes in a run folder, without those of episodes under way."""
    files = (Path(folder, name) for folder, _, names in os.walk(log) for name in names if not name.startswith("."))
    return sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main()
