"""ALFWorld's games as several test files play them."""

import re
import tarfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.protocols.prompt import load
from thread_envs.alfworld import Alfworld
from thread_envs.alfworld.generator import generate
from thread_envs.alfworld.reading import CATEGORIES, names_of

one_process = pytest.mark.asyncio(loop_scope="module")
"""For tests with the fixture `alfworld`: they play in one process, one after another, and in one event loop."""


@dataclass(frozen=True, slots=True)
class Room:
    """The receptacles of a game in the order of its first text, each with what is in or on it at the beginning."""

    contents: Mapping[str, tuple[str, ...]]

    def holding(self, kind: str) -> list[str]:
        """The receptacles that hold a thing of that kind."""
        return [place for place, things in self.contents.items() if any(thing.split()[0] == kind for thing in things)]


def room_of(game: Mapping[str, Any]) -> Room:
    """The room of a game."""
    problem = game["pddl_problem"].lower().partition("(:init")[2].rpartition("(:goal")[0]
    facts = re.findall(r"\((\w+) (\S+) (\S+)\)", problem)
    names = names_of(part for fact in facts for part in fact[1:])
    inside: defaultdict[str, list[str]] = defaultdict(list)
    for thing, place in sorted({(first, second) for fact, first, second in facts if fact == "inreceptacle"}):
        inside[place].append(names[thing])
    places = sorted({first for fact, first, _ in facts if fact == "receptacleatlocation"})
    return Room({names[place]: tuple(inside[place]) for place in places})


def extracted(task_data: Path, name: str, folder: Path) -> Path:
    with tarfile.open(task_data / "alfworld" / f"{name}.tar.xz") as archive:
        unpack(archive, folder)
    return folder


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack an archive of ours; Python has filters from 3.11.4 on."""
    archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def game_files(folder: Path) -> list[Path]:
    """The game files, the smallest first: a game of a small room is begun sooner."""
    return sorted(folder.rglob("game.tw-pddl"), key=lambda file: (file.stat().st_size, file))


def small_games(environment: Alfworld) -> list[Task]:
    """A generated game of each type, in the smallest room that one has: a game of a small room is over sooner."""
    found: dict[str, Task] = {}
    for task in sorted(
        environment.tasks("generated")[:60], key=lambda task: len(generate(int(task.id))["pddl_problem"])
    ):
        found.setdefault(task.category, task)
    return [found[category] for category in CATEGORIES]


async def play(environment: Alfworld, tasks, **options):
    """Have the teacher play tasks; returns the episodes."""
    interpreter = VariableInterpreter()
    episodes = []
    for task in tasks:
        prompt = options.get("prompt") or load(None, "alfworld", category=task.category)
        model = options.get("model", environment.teacher)(task)
        executor = Executor(model=model, prompt=prompt, interpreter=interpreter, environment=environment)
        episodes.append(await executor.run(task, "alfworld"))
    await interpreter.close()
    return episodes


def unsolved(tasks, episodes) -> list[str]:
    return [
        f"{task.id}: {episode.message}"
        for task, episode in zip(tasks, episodes, strict=True)
        if episode.status != Status.solved
    ]
