"""ALFWorld's games as several test files play them."""

import tarfile
from pathlib import Path

from thread_cli.contracts.errors import Status
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.protocols.prompt import load
from thread_envs.alfworld import Alfworld


def extracted(task_data: Path, name: str, folder: Path) -> Path:
    with tarfile.open(task_data / "alfworld" / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def game_files(folder: Path) -> list[Path]:
    """The game files, the smallest first: a game of a small room is begun sooner."""
    return sorted(folder.rglob("game.tw-pddl"), key=lambda file: (file.stat().st_size, file))


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
