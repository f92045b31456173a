"""`thread replay`: the live view of a finished run, from its log alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from thread_cli.cli.exits import of_error
from thread_cli.cli.interruption import Terminated, interruptible
from thread_cli.contracts.errors import UserError
from thread_cli.display import Mode, choose
from thread_cli.display import replay as feed
from thread_cli.record import RunFolder, read_events

__all__ = ["replay"]


def replay(
    run: Annotated[Path, typer.Argument(help="A run's folder, or one of its *.jsonl files.")],
    task: Annotated[str | None, typer.Option("--task", "-t", help="Which episode, where there are several.")] = None,
    speed: Annotated[float, typer.Option(help="How many times as fast as it happened; 0 for at once.", min=0)] = 1.0,
    display: Annotated[str, typer.Option(help="auto, tree, plain, json or none.")] = "auto",
) -> None:
    """Watch a recorded run again. To run it again, use `thread run ENV --model replay:RUN`."""
    if display not in get_args(Mode):
        raise UserError(f"there is no display {display!r}; there are {', '.join(get_args(Mode))}")
    events = read_events(RunFolder.holding(run).episode(task))
    try:
        with choose(cast("Mode", display), Console()) as shown:
            asyncio.run(interruptible(feed(events, shown, speed or float("inf"))))
    except Terminated as ended:
        raise typer.Exit(of_error(ended)) from None
