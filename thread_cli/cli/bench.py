"""`thread bench`: play a whole suite, or go on with a run."""

from __future__ import annotations

import asyncio
import atexit
import signal
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from thread_cli.assembly.config import at_home
from thread_cli.bench import playing
from thread_cli.bench.arms import arms_of
from thread_cli.bench.budget import Allowance
from thread_cli.bench.formats import as_text, terminal_width
from thread_cli.bench.live import choose_bench
from thread_cli.bench.methods import METHODS, method
from thread_cli.bench.plan import Plan
from thread_cli.bench.player import Players
from thread_cli.bench.playing import RunEnd, Settings
from thread_cli.bench.progress import Progress
from thread_cli.bench.report import read_run
from thread_cli.bench.runner import Ending, Runner
from thread_cli.bench.suite import installed, load
from thread_cli.bench.tables import tables
from thread_cli.cli.exits import of_bench, of_error
from thread_cli.cli.interruption import Terminated, interruptible
from thread_cli.cli.listing import print_table
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
    settings_of,
)
from thread_cli.cli.telling import tell
from thread_cli.contracts.errors import UserError
from thread_cli.display import Mode
from thread_cli.display.text import clean
from thread_cli.supervision import GOES_ON, note

__all__ = ["bench"]

_BUDGET: Final = "Budgets of the whole run"
_MANY: Final = "Many machines"


def bench(
    suite: Annotated[
        str | None, typer.Argument(help="A suite's name, or a .toml file. Without one, the suites are listed.")
    ] = None,
    *,
    model: Model = None,
    method_name: Annotated[
        str | None, typer.Option("--method", help=f"{', '.join(METHODS)}. Default: the suite's.")
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="The run's folder. Default: below runs/, the same for the same run."), Sets("log")
    ] = None,
    display: Display = None,
    limit: Annotated[int | None, typer.Option(help="Only so many tasks of each part of the suite.", min=1)] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Tasks in a random order, by --seed.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of distractors, sampling and --shuffle."), Sets("seed")] = None,
    epochs: Annotated[int, typer.Option(help="Episodes of each task, sampled with seeds of their own.", min=1)] = 1,
    concurrency: Annotated[int, typer.Option("--concurrency", "-j", help="Episodes under way at once.", min=1)] = 8,
    episode_time: Annotated[
        float | None, typer.Option(help="Seconds that an episode may take: limits.wall_time."), Sets("limits.wall_time")
    ] = None,
    retries: Annotated[
        int, typer.Option(help="Further attempts at an episode that the infrastructure failed.", min=0)
    ] = 2,
    max_cost: Annotated[float | None, typer.Option(help="US dollars.", min=0, rich_help_panel=_BUDGET)] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Prompt and generated tokens.", min=1, rich_help_panel=_BUDGET)
    ] = None,
    max_time: Annotated[float | None, typer.Option(help="Seconds.", min=0, rich_help_panel=_BUDGET)] = None,
    join: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Help with a run that was begun elsewhere.", rich_help_panel=_MANY),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Where episodes are played: local, or ray.", rich_help_panel=_MANY)
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster. Default: a new one here.", rich_help_panel=_MANY)
    ] = None,
    prompt: Prompt = None,
    protocol: Protocol = None,
    phi: Phi = None,
    psi: Psi = None,
    temperature: Temperature = None,
    gpu_layers: GpuLayers = None,
    lora: Lora = None,
    max_parallel: MaxParallel = None,
    watch: Watch = None,
    branches: Branches = None,
    unsafe_python: UnsafePython = False,
    config: ConfigFile = None,
    override: Override = None,
) -> None:
    """Play a suite of tasks; the same command goes on where it was stopped.

    Ctrl-C once lets the episodes under way end, twice stops at once. Exit code: 0 every episode has a result, 1 a
    budget is used up, 2 the input is wrong, 4 the infrastructure failed (at least one episode has no judged result),
    130 interrupted.
    """
    settings = settings_of(bench, locals())
    chosen = Settings(
        concurrency=concurrency,
        retries=retries,
        allowance=Allowance(max_cost, max_tokens, max_time),
        elsewhere=_elsewhere(executor, address),
        tell=tell,
    )
    if join is not None:
        deciding = (suite, model, method_name, log, limit, seed, prompt, protocol, phi, psi, temperature)
        deciding = (*deciding, episode_time, watch, branches, gpu_layers, lora)
        given = any(setting is not None for setting in deciding) or shuffle or epochs > 1 or unsafe_python
        if given or override or config:
            raise UserError("--join takes everything that decides a result from the run: leave the other settings out")
        raise typer.Exit(_watched(partial(playing.join, at_home(join)), chosen, settings.display))
    if suite is None:
        _list()
        return
    if method_name is not None:
        method(method_name)
    plan = Plan.of(load(suite), settings, method=method_name, epochs=epochs, limit=limit, shuffle=shuffle)
    raise typer.Exit(_watched(partial(playing.run, plan, settings.log), chosen, settings.display))


def _list() -> None:
    rows = [
        (suite.name, str(sum(part.tasks or 0 for part in suite.parts) or "all"), suite.description)
        for suite in installed()
    ]
    print_table(("suite", "tasks", "what it is"), rows)


def _elsewhere(executor: str, address: str | None) -> Callable[[Plan, int], Players] | None:
    """The function that makes players on other machines; None to play in this process."""
    match executor:
        case "local":
            if address is not None:
                raise UserError("--address goes with --executor ray")
            return None
        case "ray":
            from thread_cli.bench.ray import RayPlayers, require_ray

            require_ray()
            return lambda plan, concurrency: RayPlayers(plan, concurrency, address)
        case _:
            raise UserError(f"there is no executor {executor!r}; there are local and ray")


def _watched(play: Callable[[Settings], Coroutine[Any, Any, RunEnd]], settings: Settings, mode: Mode) -> int:
    """Play under a display; returns the exit code."""
    console = Console()
    with ExitStack() as stack:

        def ready(runner: Runner, progress: Progress) -> None:
            note(goes_on=GOES_ON)
            shown = choose_bench(mode, progress, console)
            stack.callback(shown.stop)
            shown.start()
            stack.enter_context(_interrupts(runner))

        try:
            end = asyncio.run(interruptible(play(replace(settings, ready=ready))))
        except (KeyboardInterrupt, Terminated) as interruption:
            stack.close()
            print(f"thread: interrupted; {GOES_ON}", file=sys.stderr)
            return of_error(interruption)
    return _report_end(end, settings, mode)


def _report_end(end: RunEnd, settings: Settings, mode: Mode) -> int:
    """Say how a run ended; returns the exit code."""
    progress = end.progress
    if end.ending is Ending.complete and mode not in {"json", "none"}:
        print("\n".join(as_text(table, terminal_width()) for table in tables(arms_of([read_run(end.folder)]))))
    if mode not in {"json", "none"}:
        print(f"log: {end.folder}")
    code = of_bench(end.ending, progress.infrastructure)
    words = {
        Ending.complete: f"the infrastructure failed {progress.infrastructure:,} episodes",
        Ending.budget: settings.allowance.used_up,
        Ending.interrupted: "interrupted",
        Ending.broken: "the infrastructure fails every episode",
    }[end.ending]
    if code:
        done = f"{len(progress.done):,} of {progress.total:,} episodes are done; {GOES_ON}"
        last = f" (last: {clean(end.trouble)})" if end.trouble else ""
        print(f"thread: {words}{last}; {done}", file=sys.stderr)
    return code


@contextmanager
def _interrupts(runner: Runner) -> Generator[None]:
    """Ctrl-C once lets the episodes under way end, twice stops at once; pressed later still, it changes nothing."""
    loop = asyncio.get_running_loop()
    pressed: list[int] = []

    def press(number: int, _: object) -> None:
        pressed.append(number)
        if not loop.is_closed():
            loop.call_soon_threadsafe(runner.stop if len(pressed) > 1 else finish)

    def finish() -> None:
        runner.finish()
        print("thread: the episodes under way are played to their end; Ctrl-C again stops at once", file=sys.stderr)

    # The loop's own handler would be gone with the loop, and a second Ctrl-C would then end this process half-way.
    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        if pressed:  # Python at its own end would hand the signal back to the system, which kills the process
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGINT, before)
