"""The local backend beside every other way to run threads on the same model: time, tokens, and the floor.

    python benchmarks/perf/local.py [--quick] [--model FILE.gguf] [--server PROGRAM] [--gpu-layers N]

Episodes have the threads and prompts of real ones (`local_episodes.py`). Every contender writes as many tokens in them,
on the same model file with as many CPU threads, and begins with an empty cache. First one episode alone, then eight at
once. `--server` is llama.cpp's own server, from a build of it or a package with one; without it that contender is left
out, and the last lines say so.

The floor is what this machine's own speeds allow: prompt tokens that nobody has read before by the speed of prompts,
plus our decoding steps, each at the time that llama.cpp takes for a batch of its size.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_ceilings import Ceilings, measured
from local_contenders import Machine, llama_server, ours, plain_llama, python_server
from local_episodes import Call, play, recorded

from thread_cli.models import Request
from thread_cli.models.llama import LlamaModel, embedded_model_path
from thread_cli.models.llama.model import physical_cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from thread_cli.models import Completion, Model
    from thread_cli.models.llama.work import Work

AT_ONCE = 8
OURS = "thread"
RATIOS = {1: 2.0, AT_ONCE: 3.0}
"""How many times as fast as the best other contender, alone and at once."""
FLOOR, SPAWN = 1.25, 0.020


@dataclass
class Run:
    """One contender with one load."""

    seconds: float
    calls: int
    prompt: int
    cached: int
    repeated: int
    generated: int
    work: Work | None


async def timed(model: Model, episodes: list[list[Call]]) -> Run:
    began = time.perf_counter()
    played = await asyncio.gather(*(play(model, episode) for episode in episodes))
    seconds = time.perf_counter() - began
    done: list[Completion] = [one for episode in played for one in episode]
    used = [one.usage for one in done]
    return Run(
        seconds,
        len(done),
        sum(one.prompt for one in used),
        sum(one.cached for one in used),
        sum(one.repeated for one in used),
        sum(one.generated for one in used),
        model.work if isinstance(model, LlamaModel) else None,
    )


async def compare(
    name: str,
    episodes: list[list[Call]],
    contenders: dict[str, Callable[[], AbstractAsyncContextManager[Model]]],
    ceilings: Ceilings,
) -> bool:
    """Play a load with all contenders and print how they did; whether ours keeps its promises."""
    print(f"\n{name}: {sum(map(len, episodes))} calls in {len(episodes)} episode(s), load {os.getloadavg()[0]:.1f}")
    print(f"  {'':32}{'seconds':>9}{'ratio':>7}{'ms/token':>10}{'prompt':>9}{'cached':>8}{'twice':>7}{'written':>9}")
    runs: dict[str, Run] = {}
    for contender, opened in contenders.items():
        async with opened() as model:
            run = runs[contender] = await timed(model, episodes)
        ratio = run.seconds / runs[OURS].seconds
        twice = str(run.repeated) if run.work else "-"
        print(
            f"  {contender:32}{run.seconds:9.2f}{ratio:7.2f}{1000 * run.seconds / max(1, run.generated):10.2f}"
            f"{run.prompt:9}{run.cached:8}{twice:>7}{run.generated:9}",
            flush=True,
        )
    return _judged(runs, len(episodes), ceilings)


def _judged(runs: dict[str, Run], at_once: int, ceilings: Ceilings) -> bool:
    mine = runs[OURS]
    others = {name: run.seconds for name, run in runs.items() if not name.startswith(OURS)}
    best = min(others, key=lambda name: others[name])
    work = mine.work
    if work is None:
        raise AssertionError
    prompt, decoding = work.prompt / ceilings.prompt, ceilings.decoding(work.decoding)
    floor = prompt + decoding
    print(
        f"  best other: {best}, {others[best] / mine.seconds:.2f} times our time (wanted {RATIOS[at_once]:g})\n"
        f"  floor {floor:.2f} s = {work.prompt} prompt tokens {prompt:.2f} s + decoding {decoding:.2f} s; ours is "
        f"{mine.seconds / floor:.2f} times that (wanted {FLOOR}): {work.seconds:.2f} s in llama.cpp, "
        f"{mine.seconds - work.seconds:.2f} s beside it\n"
        f"  drafted {work.drafted}, accepted {work.accepted}; {work.occupancy:.1f} sequences a step; "
        f"{work.repeated} tokens evaluated twice"
    )
    return others[best] / mine.seconds >= RATIOS[at_once] and mine.seconds <= FLOOR * floor and not work.repeated


async def spawning(machine: Machine, q: str) -> float:
    """Seconds from the request of a child that shares q to its first step, for a child with a one-token context."""
    async with ours(machine, 8192) as one:
        await one.complete(Request(q, "a", "", (), 1))
        taken: list[float] = []
        for number in range(20):
            began = time.perf_counter()
            done = await one.complete(Request(q, f"{number}", "", (), 1, thread=f"0.{number}"))
            taken.append(time.perf_counter() - began)
        shared = done.usage.cached
    best = sorted(taken)[len(taken) // 2]
    print(f"\nspawning a child that shares {shared} tokens: {1000 * best:.1f} ms from the request to its first token")
    return best


async def run(options: argparse.Namespace) -> int:
    model: Path = options.model or embedded_model_path(print)
    machine = Machine(model, physical_cores(), options.gpu_layers)
    contenders = partial(_contenders, machine, options.server.split())
    most = 14 if options.quick else 60
    ceilings = await asyncio.to_thread(measured, model, machine.threads, options.gpu_layers)
    print(f"{model.name}, {machine.threads} CPU threads, {options.gpu_layers} layers on a GPU")
    print(ceilings)
    fine = True
    q = ""
    for environment in ("textcraft", "alfworld"):
        episodes = await recorded(environment, AT_ONCE, most, model)
        q = episodes[0][0].q
        fine &= await compare(f"{environment}, one episode", episodes[:1], contenders(8192), ceilings)
        fine &= await compare(f"{environment}, {AT_ONCE} episodes at once", episodes, contenders(32768), ceilings)
    fine &= await spawning(machine, q) <= SPAWN
    if not options.server:
        print("\nllama.cpp's own server was left out: name it by --server")
    if not options.gpu_layers:
        print("on the CPU only; where llama-cpp-python is built for a GPU, --gpu-layers -1 gives the same table there")
    print("\nall limits are kept" if fine else "\nat least one limit is missed")
    return 0 if fine else 1


def _contenders(
    machine: Machine, server: list[str], context: int
) -> dict[str, Callable[[], AbstractAsyncContextManager[Any]]]:
    found: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
        OURS: partial(ours, machine, context),
        f"{OURS}, no drafts": partial(ours, machine, context, speculate=False),
        "Llama, called per thread": partial(plain_llama, machine, 8192, cache=False),
        "Llama with its RAM cache": partial(plain_llama, machine, 8192, cache=True),
        "llama-cpp-python's server": partial(python_server, machine, 8192),
    }
    if server:
        found["llama.cpp's server"] = partial(llama_server, server, machine, context)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; by default the embedded model")
    parser.add_argument("--quick", action="store_true", help="only the first calls of each episode")
    parser.add_argument("--server", default="", help="command of llama.cpp's own server")
    parser.add_argument("--gpu-layers", type=int, default=0, help="layers on a GPU, of all contenders; -1 for all")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
