"""What WebShop costs: start-up, memory, search, a reward; for each catalogue in a process of its own.

python benchmarks/perf/webshop.py                     the embedded catalogue
python benchmarks/perf/webshop.py FOLDER              WebShop's files
python benchmarks/perf/webshop.py made-up 200000      that many invented products, padded to the size of real ones
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from thread_envs.webshop import WebShop
from thread_envs.webshop.catalogue import open_catalogue
from thread_envs.webshop.generated import generate
from thread_envs.webshop.pages import Visit

WORDS = 107  # that are indexed of a real product, in the mean
OWN = 40  # of these that an invented product has by itself
SEARCHES = 200


def resident() -> float:
    """Megabytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def peak() -> float:
    """Megabytes that this process has had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(data: str | None) -> None:
    before = resident()
    started = time.perf_counter()
    catalogue = open_catalogue(data)
    goals = {kind: catalogue.count(kind) for kind in ("human", "synthetic")}
    print(f"{time.perf_counter() - started:8.2f} s   to open {len(catalogue):,} products, goals {goals}")
    print(f"{resident() - before:8.0f} MB  more in memory, {peak():.0f} MB at most with Python and the rest")
    shop = WebShop(data=data)
    rng = random.Random(0)
    tasks = shop.tasks("synthetic")
    queries = [tasks[rng.randrange(len(tasks))].text for _ in range(SEARCHES)]
    catalogue.search("warm up")
    started = time.perf_counter()
    for query in queries:
        catalogue.search(f"{query} ")
    print(f"{(time.perf_counter() - started) / SEARCHES * 1000:8.3f} ms  a search with a whole instruction")
    measure_reward(shop, tasks[0].id)
    print(f"{resident():8.0f} MB  in memory, {peak():.0f} MB at most, after searches and rewards")


def measure_reward(shop: WebShop, name: str) -> None:
    import asyncio

    goal = shop._require(name)
    done = Visit("done", asin=goal.asin)
    for what in ("first", "second"):
        started = time.perf_counter()
        asyncio.run(shop._shop.page(name, done))
        print(f"{(time.perf_counter() - started) * 1000:8.1f} ms  the {what} reward (spaCy is loaded for the first)")


def make_up(folder: Path, count: int) -> None:
    """Write files of invented products, in pieces, with as many words as real ones have."""
    rng = random.Random(0)
    vocabulary = [f"{rng.choice('bcdfglmnprst')}{rng.choice('aeiou')}{number:x}" for number in range(count // 2)]
    weights = [1 / (rank + 10) for rank in range(len(vocabulary))]
    made = generate(count)
    padding = iter(rng.choices(vocabulary, weights, k=(WORDS - OWN) * count))
    with (folder / "items_shuffle.json").open("w") as file:
        for number, product in enumerate(made.products):
            product["full_description"] += " " + " ".join(next(padding) for _ in range(WORDS - OWN))
            file.write(("[" if number == 0 else ", ") + json.dumps(product))
        file.write("]")
    (folder / "items_ins_v2.json").write_text(json.dumps(made.attributes))
    (folder / "items_human_ins.json").write_text(json.dumps(made.human))


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, __file__, *arguments], check=True)


def measure_made_up(count: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run("make-up", folder, count)
        print(f"{megabytes(folder):8.0f} MB  of files; they are indexed once:", flush=True)
        os.environ["THREAD_CACHE"] = f"{folder}/cache"
        for _ in range(2):
            run(folder)
            print(f"{megabytes(f'{folder}/cache'):8.0f} MB  of disk for the index\n", flush=True)


def megabytes(folder: str) -> float:
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["made-up", count]:
            measure_made_up(count)
        case ["make-up", folder, count]:
            make_up(Path(folder), int(count))
        case arguments:
            measure(arguments[0] if arguments else None)
