"""What ALFWorld costs: seconds per episode, and memory of the runner and of the game's own process, episode by episode.

Run it with `python benchmarks/perf/alfworld_episodes.py [EPISODES]`. The teacher plays generated games, one after the
other with one environment object, as in one run; TextWorld's process is replaced after every 20 episodes.
"""

from __future__ import annotations

import asyncio
import sys
import time

import psutil

from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.protocols.prompt import load
from thread_envs.alfworld import Alfworld

EPISODES = 50
SHOWN = (1, 10, 20, 25)


def megabytes(pid: int | None) -> float:
    """Resident memory of a process, in 10^6 bytes; 0 where there is none."""
    return psutil.Process(pid).memory_info().rss / 1e6 if pid else 0.0


async def main(episodes: int) -> None:
    """Play, and print a line for some of the episodes."""
    environment, interpreter = Alfworld(), VariableInterpreter()
    runner, began, solved, most = psutil.Process().pid, time.monotonic(), 0, 0.0
    print("episode   runner MB   game MB   seconds per episode")
    for number, task in enumerate(environment.tasks("generated")[:episodes], start=1):
        prompt = load(None, "alfworld", category=task.category)
        executor = Executor(
            model=environment.teacher(task), prompt=prompt, interpreter=interpreter, environment=environment
        )
        solved += (await executor.run(task, "alfworld")).reward == 1
        most = max(most, megabytes(environment.process.pid))
        if number in SHOWN or number == episodes:
            memory = f"{megabytes(runner):9.1f} {megabytes(environment.process.pid):9.1f}"
            print(f"{number:7} {memory} {(time.monotonic() - began) / number:15.2f}", flush=True)
    await environment.close()
    await interpreter.close()
    print(f"solved {solved} of {episodes}; the game's process had at most {most:.1f} MB after an episode")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else EPISODES))
