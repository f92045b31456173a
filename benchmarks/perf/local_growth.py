"""How the local backend's cost grows: with episodes at once, with depth, with a short cache, and over many threads.

Episodes are those of `local_reuse.py`, whose shape is fixed and whose text the real model writes. Printed are

- the time of a token that is evaluated, for 1 to 64 episodes at once, and for chains of threads 1 to 200 deep: it
  should not rise (a thread's name grows with its depth, and its prompt with it, so that calls take longer there);
- whether an episode writes the same alone, beside seven others, and where nothing is kept from one call to the next;
- whether a cache of a quarter of what is needed changes what is written, and how much is evaluated twice for it;
- the memory of the process over 2,000 threads, which should stay where it was after the first quarter.

    python benchmarks/perf/local_growth.py [--model FILE.gguf] [--threads 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local_reuse import Episode, few_shot_prompt

from thread_cli.contracts.model import Completion, Request
from thread_cli.models.llama import LlamaModel, LlamaOptions, embedded_model_path

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

AT_ONCE = (1, 2, 4, 8, 16, 32, 64)
DEPTHS = (1, 10, 50, 100, 200)
RISE = 1.25
"""How much longer a token may take at the end of a row than at its beginning."""
FLAT = 1.05
"""How much memory may grow after the first quarter of the threads."""
Q = few_shot_prompt(6)
WRITTEN = 8
FORGETFUL = 1500


@dataclass
class Cost:
    """What some episodes took."""

    seconds: float
    calls: int
    evaluated: int
    repeated: int
    texts: list[str]

    @property
    def each(self) -> float:
        return self.seconds / self.evaluated


class Noting(Episode):
    """An episode whose texts are kept."""

    def __init__(self, model: LlamaModel | Forgetful, fan_out: int) -> None:
        super().__init__(model, Q, fan_out, together=False, max_tokens=WRITTEN)
        self.texts: list[str] = []

    async def call(self, path: str, c: str, y: str) -> Completion:
        done = await super().call(path, c, y)
        self.texts.append(done.text)
        return done


@asynccontextmanager
async def opened(path: Path, context: int) -> AsyncGenerator[LlamaModel]:
    model = LlamaModel(LlamaOptions(path, context=context, sequences=255))
    await model.open()
    try:
        yield model
    finally:
        await model.close()


async def play(model: LlamaModel | Forgetful, episodes: int, *, depth: int, fan_out: int, first: int = 0) -> Cost:
    """Play episodes of other words each, all at once."""
    played = [Noting(model, fan_out) for _ in range(episodes)]
    began = time.perf_counter()
    await asyncio.gather(*(each.play(f"{first + number}", depth) for number, each in enumerate(played)))
    seconds = time.perf_counter() - began
    used = [usage for each in played for usage in each.usage]
    evaluated = sum(usage.prompt - usage.cached + usage.generated for usage in used)
    return Cost(
        seconds, len(used), evaluated, sum(usage.repeated for usage in used), [t for each in played for t in each.texts]
    )


async def row(path: Path, name: str, sizes: tuple[int, ...], *, deep: bool) -> bool:
    """One size after the other, each with nothing but the few-shot prompt in the cache.

    Returns whether tokens of the last size take no longer than those of the first, and nothing was evaluated twice.
    """
    print(f"\n{name:>16}{'calls':>8}{'seconds':>9}{'ms a token':>11}{'evaluated':>11}{'twice':>7}")
    costs: list[Cost] = []
    for size in sizes:
        async with opened(path, 32768) as model:
            await model.complete(Request(Q, "a", "", (), 1))
            cost = await play(model, 1 if deep else size, depth=size if deep else 1, fan_out=1 if deep else 3)
        costs.append(cost)
        print(
            f"{size:16}{cost.calls:8}{cost.seconds:9.2f}{1000 * cost.each:11.2f}{cost.evaluated:11}{cost.repeated:7}",
            flush=True,
        )
    return costs[-1].each <= RISE * costs[0].each and not any(cost.repeated for cost in costs)


async def short(path: Path) -> bool:
    """Eight episodes with room for all, then with a quarter of it."""
    async with opened(path, 32768) as model:
        roomy = await play(model, 8, depth=3, fan_out=2)
    context = roomy.evaluated // 4
    async with opened(path, context) as model:
        tight = await play(model, 8, depth=3, fan_out=2)
    same = sum(one == other for one, other in zip(roomy.texts, tight.texts, strict=True))
    print(
        f"\na cache of {context} tokens for {roomy.evaluated}: {same} of {len(roomy.texts)} calls write the same; "
        f"{tight.repeated} tokens evaluated twice, {tight.seconds / roomy.seconds:.2f} times the time"
    )
    return same == len(roomy.texts)


async def company(path: Path) -> bool:
    """One episode in three ways."""
    async with opened(path, 8192) as model:
        alone = (await play(model, 1, depth=2, fan_out=2)).texts
    async with opened(path, 32768) as model:
        beside = (await play(model, 8, depth=2, fan_out=2)).texts[: len(alone)]
    async with opened(path, FORGETFUL) as model:
        again = await play(Forgetful(model), 1, depth=2, fan_out=2)
    same = [sum(one == other for one, other in zip(alone, texts, strict=True)) for texts in (beside, again.texts)]
    print(
        f"\nof {len(alone)} calls of an episode alone, {same[0]} write the same beside seven others, "
        f"and {same[1]} where all is forgotten before each ({again.repeated} tokens evaluated twice)"
    )
    return same == [len(alone)] * 2


class Forgetful:
    """A model whose cache holds nothing before any of its calls: something else has filled it."""

    def __init__(self, model: LlamaModel) -> None:
        self._model = model

    async def complete(self, request: Request) -> Completion:
        await self._model.complete(Request("", "", "one " * (FORGETFUL - 50), (), 1))
        return await self._model.complete(request)


async def soak(path: Path, threads: int) -> bool:
    """Many small episodes, eight at once."""
    size = 15
    each: list[int] = []
    async with opened(path, 8192) as model:
        began, calls = time.perf_counter(), 0
        for number in range(0, threads, 8 * size):
            calls += (await play(model, 8, depth=3, fan_out=2, first=number)).calls
            each.append(_resident())
    rounds = len(each)
    settled, last = each[rounds // 4], each[-1]
    print(
        f"\n{rounds * 8 * size} threads, {calls} calls in {time.perf_counter() - began:.0f} s: "
        f"{settled / 1e6:.0f} MB after a quarter, {last / 1e6:.0f} MB at the end"
    )
    return last <= FLAT * settled


def _resident() -> int:
    """Bytes of this process in memory."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not tell how much memory a process has")


async def run(options: argparse.Namespace) -> int:
    path = options.model or embedded_model_path(print)
    print(f"{path.name}")
    fine = await row(path, "episodes at once", AT_ONCE, deep=False)
    fine &= await row(path, "depth", DEPTHS, deep=True)
    fine &= await short(path)
    fine &= await company(path)
    fine &= await soak(path, options.threads)
    print("\nall limits are kept" if fine else "\nat least one limit is missed")
    return 0 if fine else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; by default the embedded model")
    parser.add_argument("--threads", type=int, default=2000, help="how many to play for the memory")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
