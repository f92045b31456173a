"""Recorded runs replay under any hash seed: sets, functions, imports, classes and children are what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import thread

SCRIPT = """\
from math import ceil, floor, pi
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from enum import Enum
import itertools, json, random, re
class Wood(Enum):
    OAK = 'oak'
    BIRCH = 'birch'
    ACACIA = 'acacia'
@dataclass(frozen=True)
class Need:
    name: str
    parts: frozenset = frozenset({'stick', 'plank', 'string', 'feather'})
words = {'stick', 'plank', 'log', None, 7, ('a', 'b'), 2.5, 'torch', frozenset({'x', 'y', 'z'})}
needs = {Need('door'), Need('chest', frozenset({'lid', 'nail', 'board'})), Wood.OAK, Wood.ACACIA, len, Counter, ...}
places = defaultdict(set)
for word in 'shelf drawer cabinet desk bed sofa fridge'.split():
    places[word[0]].add(word)
    places[hash(word) % 3].add(word)
def chosen(items=words, seen=set()):
    seen.add(random.choice(sorted(map(str, items))))
    return sorted(seen), list(items)[:2]
random.seed(5)
print(list(words), chosen())
First, look through the places =>
---
words.discard('stick'); words.add('lantern'); words |= {'coal', 'wool', 'bone'}
first, *rest = words
counted = Counter(map(str, words)); parts = frozenset(map(repr, words))
one, two = places.popitem(), sorted(globals())
Then, count what is left =>
---
taken = [words.pop(), words.pop()]
kinds = {type(each) for each in words} | {Wood.BIRCH}
known = [name for name in dir() if not name.startswith('_')]
letters = {letter: hash(letter) for letter in 'abc'}
print(list(words), taken, len(kinds), list(set('stone brick')), known, letters)
---
print(list(words), list(parts), counted.most_common(3), list(rest), first, taken, chosen(), one, two)
---
import string
from statistics import mean, median
print(list(words), list(needs)[:0], sorted(map(str, needs - {len, ...})), Need('bed'), places['s'], chosen())
Last, look for words in the text =>
---
found = {match[0] for match in re.finditer('[a-z]+', 'oak planks make a door and oak logs make planks')}
pairs = {frozenset(pair) for pair in itertools.combinations(sorted(found), 2)}
lengths = {word: mean(map(len, pair)) for pair in pairs for word in pair}
told = json.dumps({'found': list(found), 'lengths': lengths, 'order': [sorted(pair) for pair in pairs]})
print(list(found), list(pairs)[:3], told, chosen(found))
---
print(told, list(found ^ words & {None, 7}), vars().keys() >= {'told'}, [list(each) for each in places.values()],
    repr(words), ceil(pi), floor(pi), list(OrderedDict.fromkeys(words)), deque(words, 2), median(lengths.values()))
"""
"""What a thread and its children write, in the order of their calls."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    (folder / "script").write_text(SCRIPT)
    run = thread(
        *("run", "none", "What is there?", "--model", "scripted:script", "--log", "run", "--display", "none"),
        cwd=folder,
        PYTHONHASHSEED="0",
    )
    assert (run.returncode, run.stderr) == (0, "")
    return folder


def test_the_script_runs_whole(recorded: Path) -> None:
    """Each piece of Python of the script ran without an error, and the values in it are not empty."""
    told = events(recorded / "run")
    ran = [each for each in told if each["kind"] == "code_ran"]
    assert [each.get("error") for each in ran] == [None] * len(ran)
    assert sum(each["kind"] == "thread_started" for each in told) == 4
    assert all(word in ran[-1]["printed"] for word in ("('a', 'b')", "planks", "deque", "3.5"))


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed not in (1, 14))) for seed in range(21)]
)
def test_a_run_is_replayed_under_another_hash_seed(recorded: Path, seed: int) -> None:
    name = f"seed-{seed}"
    again = thread(
        *("run", "none", "What is there?", "--model", "replay:run", "--log", name, "--display", "none"),
        cwd=recorded,
        PYTHONHASHSEED=str(seed),
    )
    assert (again.returncode, again.stderr) == (0, "replay: the same events as recorded\n")
    assert events(recorded / name) == events(recorded / "run")


def events(run: Path) -> list[dict[str, Any]]:
    """Events of a run, without times."""
    lines = (run / "text.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in ("time", "at", "seconds")}
        for line in lines
    ]
