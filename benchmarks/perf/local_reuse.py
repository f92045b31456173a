"""How much of a TextCraft-like episode the local backend evaluates twice, and what reuse saves.

Plays one episode whose shape is fixed and whose text the real model writes: a main thread that fetches and crafts,
each thread spawning children down to a given depth, all sharing one few-shot prompt. A backend without reuse would
evaluate every call's whole prompt; what this one evaluates, and what of that for the second time, is printed.

    python benchmarks/perf/local_reuse.py [--model FILE.gguf] [--depth 4] [--fan-out 2] [--together]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from thread_cli.contracts.model import Completion, Model, Request, Usage
from thread_cli.models.llama import LlamaModel, LlamaOptions, embedded_model_path

STOP = ("=>", "#END#")
LIMIT = 0.05
GOODS = ("oak planks", "birch logs", "iron ingots", "gold nuggets", "string", "white wool", "quartz", "glass bottles")


def few_shot_prompt(blocks: int) -> str:
    """A prompt in the thread format; a block has about 110 tokens."""
    texts: list[str] = []
    for i in range(blocks):
        good, other = GOODS[i % len(GOODS)], GOODS[(i * 3 + 1) % len(GOODS)]
        texts.append(
            f"Prompt:\nget {i + 1} {good}, recipe: craft {i + 1} {good} using {i + 2} {other}\n\n\nResponse:\n#START#\n"
            f"I need {i + 2} {other} first.\n> get {i + 2} {other} =>Got {i + 2} {other}.<=\n\n"
            f"> craft {i + 1} {good} using {i + 2} {other} =>Crafted {i + 1} minecraft:{good.replace(' ', '_')}.<=\n\n"
            f"print('{i + 1} {good}')\n#END#"
        )
    return ("\n" * 7).join(texts) + "\n" * 7


@dataclass
class Episode:
    model: Model
    q: str
    fan_out: int
    together: bool
    max_tokens: int
    usage: list[Usage] = field(default_factory=list)

    async def call(self, path: str, c: str, y: str) -> Completion:
        done = await self.model.complete(Request(self.q, c, y, STOP, self.max_tokens, thread=path))
        self.usage.append(done.usage)
        return done

    async def play(self, path: str, depth: int) -> str:
        """A thread: think, act, spawn `fan_out` children, act again, return."""
        c = f"Prompt:\nget item {path} for the chest, level {depth}\n\n\nResponse:\n#START#\n"
        y = (await self.call(path, c, "")).text + "=>Could not find it here.<=\n\n"
        children = [f"{path}.{i}" for i in range(self.fan_out)] if depth else []
        if self.together:
            results = await asyncio.gather(*(self.play(child, depth - 1) for child in children))
            y += "".join(f"get the parts =>{result}<=\n\n" for result in results)
            children = []
        for child in children:
            y += (await self.call(path, c, y)).text
            y += f"=>{await self.play(child, depth - 1)}<=\n\n"
        last = await self.call(path, c, y)
        return last.text.strip().splitlines()[0] if last.text.strip() else "Done"


async def run(options: argparse.Namespace) -> int:
    path = options.model or embedded_model_path(print)
    model = LlamaModel(LlamaOptions(path, context=options.context))
    await model.open()
    episode = Episode(model, few_shot_prompt(options.blocks), options.fan_out, options.together, options.max_tokens)
    began = time.perf_counter()
    await episode.play("0", options.depth)
    seconds = time.perf_counter() - began
    await model.close()
    calls = episode.usage
    prompt, cached = sum(u.prompt for u in calls), sum(u.cached for u in calls)
    generated, repeated = sum(u.generated for u in calls), sum(u.repeated for u in calls)
    print(f"model                        {Path(path).name}, context {options.context}")
    print(f"calls                        {len(calls)}")
    print(f"prompt tokens of all calls   {prompt}  (what a backend without reuse evaluates)")
    print(f"reused                       {cached}  ({cached / prompt:.1%})")
    print(f"evaluated for prompts        {prompt - cached}")
    print(f"generated                    {generated}")
    print(f"evaluated twice              {repeated}  ({repeated / prompt:.2%}, limit {LIMIT:.0%})")
    print(f"time                         {seconds:.1f} s")
    return 0 if repeated < LIMIT * prompt else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a GGUF file; by default the embedded model")
    parser.add_argument("--context", type=int, default=8192, help="tokens of the KV memory")
    parser.add_argument("--blocks", type=int, default=16, help="examples in the few-shot prompt")
    parser.add_argument("--depth", type=int, default=4, help="depth of the deepest thread")
    parser.add_argument("--fan-out", type=int, default=2, help="children of a thread")
    parser.add_argument("--max-tokens", type=int, default=24, help="most tokens a call generates")
    parser.add_argument("--together", action="store_true", help="let siblings run at once")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
