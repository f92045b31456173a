"""Small suites of TextCraft, plans for them, and what their runs leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thread_cli.assembly.config import Config
from thread_cli.bench import Result
from thread_cli.bench.plan import Plan
from thread_cli.bench.player import Player
from thread_cli.bench.report import read_run
from thread_cli.bench.suite import Part, Suite
from thread_cli.bench.tables import as_json
from thread_cli.contracts.events import EpisodeStarted
from thread_cli.record import RunFolder, read_events

SCRIPT = """
[[thread]]
path = "0"
text = '''
First, look.
> inventory =>
Then ask another, obtain 1 stick =>
print('done') '''

[[thread]]
text = '''
print('1 stick') '''
"""


def suite(**changes: Any) -> Suite:
    part = Part(environment="textcraft", split="all", tasks=6)
    return Suite(**{"name": "small", "parts": (part,), **changes})


def of(tasks: int, **changes: Any) -> Suite:
    return suite(parts=(Part(environment="textcraft", split="all", tasks=tasks, **changes),))


def write_script(spec: str, text: str) -> None:
    Path(spec.removeprefix("scripted:")).write_text(text)


def plan(chosen: Suite | None = None, *, model: str = "teacher", epochs: int = 1, **settings: Any) -> Plan:
    named = {name: settings.pop(name) for name in ("method", "limit", "shuffle") if name in settings}
    return Plan.of(chosen or suite(), Config.of(model=model, **settings), epochs=epochs, **named)


async def keys(chosen: Plan) -> list[str]:
    player = Player(chosen)
    try:
        return [item.key for item in player.settle()[1]]
    finally:
        await player.aclose()


def report(folder: Path) -> str:
    """What a report tells of a run, times left out."""
    return as_json([read_run(folder)], times=False)


def results(folder: Path) -> list[Result]:
    return [Result.model_validate_json(path.read_bytes()) for path in sorted((folder / "results").iterdir())]


def episodes_begun(folder: Path) -> int:
    return sum(
        isinstance(event, EpisodeStarted) for path in RunFolder(folder).episodes() for event in read_events(path)
    )
