"""`thread run`: play one task and watch it."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from thread_cli.assembly.config import Config
from thread_cli.assembly.environments import names as environment_names
from thread_cli.assembly.playing import Played, opened
from thread_cli.cli.exits import of_episode, of_error
from thread_cli.cli.interruption import Terminated, interruptible
from thread_cli.cli.options import (
    Branches,
    ConfigFile,
    Display,
    GpuLayers,
    Lora,
    MaxParallel,
    Model,
    Override,
    Phi,
    Prompt,
    Protocol,
    Psi,
    Sets,
    Temperature,
    UnsafePython,
    Watch,
    completes,
    settings_of,
)
from thread_cli.cli.telling import tell
from thread_cli.contracts.errors import ExitCode, Status, UserError
from thread_cli.display import Display as Shown
from thread_cli.display import Mode, choose
from thread_cli.display.text import clean
from thread_cli.distribution import at_home
from thread_cli.record import RunFolder, first_difference, read_events

__all__ = ["run"]

_LIMITS: Final = "Limits"


def run(
    environment: Annotated[
        str,
        typer.Argument(
            help="What to act on: see `thread envs`; `none` for free text.",
            autocompletion=completes(environment_names),
        ),
        Sets("environment"),
    ],
    text: Annotated[str | None, typer.Argument(help="A task in your own words, for `none`."), Sets("task")] = None,
    *,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="A task's id, or SPLIT:INDEX. Default: the first."), Sets("task")
    ] = None,
    model: Model = None,
    prompt: Prompt = None,
    protocol: Protocol = None,
    phi: Phi = None,
    psi: Psi = None,
    depth: Annotated[
        int | None,
        typer.Option(help="Deepest thread; the main thread has depth 0.", rich_help_panel=_LIMITS),
        Sets("limits.depth"),
    ] = None,
    fan_out: Annotated[
        int | None, typer.Option(help="Children in one fork.", rich_help_panel=_LIMITS), Sets("limits.fan_out")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads in all.", rich_help_panel=_LIMITS), Sets("limits.threads")
    ] = None,
    calls: Annotated[
        int | None, typer.Option(help="Model calls.", rich_help_panel=_LIMITS), Sets("limits.calls")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="Generated tokens of one call.", rich_help_panel=_LIMITS),
        Sets("limits.max_tokens"),
    ] = None,
    generated_tokens: Annotated[
        int | None,
        typer.Option(help="Generated tokens in all.", rich_help_panel=_LIMITS),
        Sets("limits.generated_tokens"),
    ] = None,
    total_tokens: Annotated[
        int | None,
        typer.Option(help="Prompt and generated tokens in all.", rich_help_panel=_LIMITS),
        Sets("limits.total_tokens"),
    ] = None,
    cost: Annotated[
        float | None, typer.Option(help="US dollars.", rich_help_panel=_LIMITS), Sets("limits.cost")
    ] = None,
    wall_time: Annotated[
        float | None, typer.Option(help="Seconds.", rich_help_panel=_LIMITS), Sets("limits.wall_time")
    ] = None,
    working_time: Annotated[
        float | None,
        typer.Option(help="Seconds, without queueing and backing off.", rich_help_panel=_LIMITS),
        Sets("limits.working_time"),
    ] = None,
    on_failure: Annotated[
        str | None, typer.Option(help="What becomes of a failed child: report, retry or abort."), Sets("on_failure")
    ] = None,
    temperature: Temperature = None,
    gpu_layers: GpuLayers = None,
    lora: Lora = None,
    max_parallel: MaxParallel = None,
    watch: Watch = None,
    branches: Branches = None,
    unsafe_python: UnsafePython = False,
    seed: Annotated[int | None, typer.Option(help="Of distractors and sampling."), Sets("seed")] = None,
    log: Annotated[
        str | None, typer.Option(help="The run's folder. Default: a new one below runs/."), Sets("log")
    ] = None,
    display: Display = None,
    config: ConfigFile = None,
    override: Override = None,
) -> None:
    """Play one task and watch the tree of threads grow.

    Exit code: 0 the task is solved (or nothing judges it), 1 it is not, 2 the input is wrong, 4 the infrastructure
    failed, 130 interrupted.
    """
    if text is not None and task is not None:
        raise UserError("give the task either by --task or in words, not both")
    settings = settings_of(run, locals())
    played, code = _watched(settings)
    if played is not None and settings.model.named.kind == "replay":
        code = _compared(settings, played) or code
    raise typer.Exit(code)


def _watched(settings: Config) -> tuple[Played | None, int]:
    """Play under a display; returns the played episode, and the exit code."""
    mode: Mode = settings.display
    shown = choose(mode, Console())
    folders: list[RunFolder] = []
    try:
        played = asyncio.run(interruptible(_played(settings, shown, folders)))
    except (KeyboardInterrupt, Terminated) as interruption:
        shown.stop()
        where = f"; the log is in {folders[0].path}" if folders else ""
        print(f"thread: interrupted{where}", file=sys.stderr)
        return None, of_error(interruption)
    finally:
        shown.stop()
    episode = played.episode
    if episode.error and os.environ.get("THREAD_DEBUG"):
        traceback.print_exception(episode.error)
    code = of_episode(episode.status)
    if code:
        print(f"thread: {clean(episode.message)}", file=sys.stderr)
    if (episode.status is Status.answered or episode.marks) and mode != "json":
        print(f"answer: {clean(episode.answer)}")
    if mode not in {"json", "none"}:
        print(f"log: {played.folder.path}")
    return played, code


async def _played(settings: Config, shown: Shown, folders: list[RunFolder]) -> Played:
    """Play, shown from the first event on; `folders` gets the run's folder before that."""
    async with opened(settings, shown, tell=tell) as found:
        folders.append(found.folder)
        shown.start()
        return Played(await found.executor.run(found.task, settings.environment), found.folder, found.task)


def _compared(settings: Config, played: Played) -> int:
    """Compare a repeated run with its recording; returns the exit code of a difference."""
    before, recorded = RunFolder.recording(at_home(Path(settings.model.named.rest)), played.task.id)
    now = played.folder.episode(played.task.id)
    difference = first_difference(read_events(recorded), read_events(now))
    if difference is None and not set(played.folder.prompts()) <= set(before.prompts()):
        print("thread: the replay has the same events, but another prompt than was recorded", file=sys.stderr)
        return ExitCode.undone
    if difference is None:
        print("replay: the same events as recorded", file=sys.stderr)
        return ExitCode.done
    print(f"thread: the replay diverges in {clean(str(difference))}", file=sys.stderr)
    then, here = before.variables(), played.folder.variables()
    if then != here:
        print(f"thread: variables were computed by {clean(then)} then, by {clean(here)} now", file=sys.stderr)
    return ExitCode.undone
