"""Guessing ahead: whether what is written stays the same, bit for bit, and how much sooner it is done.

    python benchmarks/perf/local_speculation.py [--episodes 200] [--model FILE.gguf] [--environment textcraft]

The model plays real tasks at temperature 0, every one of them with and without drafts, one right after the other, in
engines of their own. The episodes are compared call by call; of the seconds, those count in which the model worked.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_episodes import Recorder, played

from thread_cli import Config
from thread_cli.models.llama import LlamaModel, LlamaOptions, embedded_model_path
from thread_cli.playing import environment_for

if TYPE_CHECKING:
    from thread_cli.models import Completion, Request

GAIN = 1.5
"""How many times as fast drafts should make an episode."""


class Timed(Recorder):
    """Notes the answers of an engine and how long it took for them."""

    def __init__(self, engine: LlamaModel) -> None:
        super().__init__(engine)
        self.seconds = 0.0

    async def complete(self, request: Request) -> Completion:
        began = time.perf_counter()
        done = await super().complete(request)
        self.seconds += time.perf_counter() - began
        return done


@dataclass
class Sums:
    """Over all episodes; `seconds` are those with drafts."""

    episodes: int = 0
    same: int = 0
    calls: int = 0
    seconds: float = 0.0
    without: float = 0.0


async def run(options: argparse.Namespace) -> int:
    path: Path = options.model or embedded_model_path(print)
    config = Config.of(environment=options.environment, model="embedded", prompt=options.prompt)
    stage: Any = environment_for(config)
    guessing, plain = (LlamaModel(LlamaOptions(path, speculate=speculate)) for speculate in (True, False))
    await guessing.open()
    await plain.open()
    sums = Sums()
    for task in list(stage.tasks(options.split))[:: options.every][: options.episodes]:
        pair = Timed(guessing), Timed(plain)
        for model in pair if sums.episodes % 2 else reversed(pair):
            await played(config, stage, task, model)
        _add(sums, task.id, *pair)
    await guessing.close()
    await plain.close()
    await stage.close()
    gain = sums.without / sums.seconds
    print(
        f"{sums.same} of {sums.episodes} episodes the same with and without drafts ({sums.calls} calls)\n"
        f"{sums.seconds:.0f} s with drafts, {sums.without:.0f} s without: {gain:.2f} times as fast (wanted {GAIN})"
    )
    return 0 if sums.same == sums.episodes and gain >= GAIN else 1


def _add(sums: Sums, task: str, guessing: Timed, plain: Timed) -> None:
    pairs = list(zip_longest(guessing.calls, plain.calls))
    first = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
    verdict = "the same" if first is None else f"other text from call {first} on"
    print(
        f"task {task}: {len(pairs)} calls, {verdict}; "
        f"{guessing.seconds:.1f} s with drafts, {plain.seconds:.1f} s without",
        flush=True,
    )
    sums.episodes += 1
    sums.same += first is None
    sums.calls += len(pairs)
    sums.seconds += guessing.seconds
    sums.without += plain.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; by default the embedded model")
    parser.add_argument("--environment", default="textcraft")
    parser.add_argument("--split", default="test")
    parser.add_argument("--prompt", default="specialist", help="'default' has examples")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--every", type=int, default=1, help="take every N-th task")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
