"""The load of `bench.py` as an evaluation of inspect_ai: as many calls per sample, its own log, no display.

It runs in an environment of its own, without this package. There are no threads, no environment and no variables.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

try:
    import inspect_ai
except ImportError:
    raise SystemExit("there is no inspect_ai: install it with `python -m pip install inspect_ai`") from None
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, GenerateConfig, ModelAPI, ModelOutput, get_model, modelapi
from inspect_ai.scorer import includes
from inspect_ai.solver import solver


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("episodes", "in-flight", "calls"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    asked = parser.parse_args()
    print(json.dumps(play(asked.episodes, asked.in_flight, asked.calls, asked.seconds)))


def play(episodes: int, in_flight: int, calls: int, seconds: float) -> dict[str, float]:
    """Run the evaluation; what it took."""
    slept = 0.0

    class Slow(ModelAPI):
        async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:  # noqa: A002, ARG002
            nonlocal slept
            slept += seconds
            await asyncio.sleep(seconds)
            return ModelOutput.from_content(self.model_name, "print('1 stick')")

        def max_connections(self) -> int:
            return in_flight

    @modelapi(name="slow")
    def slow() -> type[ModelAPI]:
        return Slow

    @solver
    def several_calls() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            for _ in range(calls):
                state = await generate(state)
                state.messages.append(ChatMessageUser(content="Crafted 1 stick"))
            return state

        return solve

    samples = [Sample(input=f"Craft thing {number}.", target="stick", id=number) for number in range(episodes)]
    with tempfile.TemporaryDirectory() as folder:
        began, worked = time.monotonic(), time.process_time()
        (log,) = inspect_ai.eval(
            inspect_ai.Task(dataset=samples, solver=several_calls(), scorer=includes()),
            model=get_model("slow/slow", config=GenerateConfig(max_connections=in_flight)),
            max_samples=in_flight,
            log_dir=folder,
            display="none",
        )
        took = {"wall": time.monotonic() - began, "cpu": time.process_time() - worked}
        if log.status != "success" or log.results is None or log.results.completed_samples != episodes:
            raise SystemExit(f"{log.status}: {log.error and log.error.message}")
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {**took, "slept": slept, "memory": memory, "bytes": size}


if __name__ == "__main__":
    main()
