"""Guessing ahead: whether what is written stays the same, bit for bit, and how much sooner it is done.

    python benchmarks/perf/local_speculation.py [--episodes 200] [--at-once 8] [--every 8] [--environment textcraft]

The model plays real tasks at temperature 0, so many at once, every one of them with and without drafts, one right after
the other, in engines of their own. The episodes are compared call by call.
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
from thread_cli.assembly.playing import environment_for
from thread_cli.models.llama import LlamaModel, LlamaOptions, embedded_model_path

if TYPE_CHECKING:
    from thread_cli.contracts.environment import Task

GAIN = 1.5
"""How many times as fast drafts should make an episode."""


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
    tasks = list(stage.tasks(options.split))[:: options.every][: options.episodes]
    await stage.close()
    guessing, plain = (
        LlamaModel(LlamaOptions(path, context=options.context, speculate=speculate)) for speculate in (True, False)
    )
    await guessing.open()
    await plain.open()
    sums = Sums()
    for first in range(0, len(tasks), options.at_once):
        group = tasks[first : first + options.at_once]
        if first // options.at_once % 2:
            with_drafts, without = await timed(config, group, guessing), await timed(config, group, plain)
        else:
            without, with_drafts = await timed(config, group, plain), await timed(config, group, guessing)
        _add(sums, group, with_drafts, without)
    await guessing.close()
    await plain.close()
    gain = sums.without / sums.seconds
    print(
        f"{sums.same} of {sums.episodes} episodes the same with and without drafts ({sums.calls} calls)\n"
        f"{sums.seconds:.0f} s with drafts, {sums.without:.0f} s without: {gain:.2f} times as fast (wanted {GAIN})"
    )
    return 0 if sums.same == sums.episodes and gain >= GAIN else 1


async def timed(config: Config, tasks: list[Task], engine: LlamaModel) -> tuple[float, list[Recorder]]:
    """Play tasks at once; returns the seconds that it took, and what was asked and answered in each."""
    notes = [Recorder(engine) for _ in tasks]
    began = time.perf_counter()
    await asyncio.gather(*(_play(config, task, model) for task, model in zip(tasks, notes, strict=True)))
    return time.perf_counter() - began, notes


async def _play(config: Config, task: Task, model: Recorder) -> None:
    stage: Any = environment_for(config)
    await played(config, stage, task, model)
    await stage.close()


def _add(
    sums: Sums, tasks: list[Task], guessing: tuple[float, list[Recorder]], plain: tuple[float, list[Recorder]]
) -> None:
    for task, drafted, exact in zip(tasks, guessing[1], plain[1], strict=True):
        pairs = list(zip_longest(drafted.calls, exact.calls))
        first = next((index for index, (one, other) in enumerate(pairs) if one != other), None)
        sums.episodes += 1
        sums.same += first is None
        sums.calls += len(pairs)
        if first is not None:
            print(f"task {task.id}: other text from call {first} on")
    sums.seconds += guessing[0]
    sums.without += plain[0]
    print(
        f"{sums.same} of {sums.episodes} the same, {sums.calls} calls; "
        f"{guessing[0]:.1f} s with drafts, {plain[0]:.1f} s without",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; by default the embedded model")
    parser.add_argument("--environment", default="textcraft")
    parser.add_argument("--split", default="test")
    parser.add_argument("--prompt", default="specialist", help="'default' has examples")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=1, help="how many to play at the same time")
    parser.add_argument("--context", type=int, default=32768, help="tokens of each engine's KV memory")
    parser.add_argument("--every", type=int, default=1, help="take every N-th task")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
