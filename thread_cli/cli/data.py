"""`thread data`: training data from recorded runs, as a file of trajectories."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from thread_cli.assembly.config import at_home
from thread_cli.cli.listing import print_table
from thread_cli.contracts.errors import UserError
from thread_cli.distribution import remedy
from thread_cli.train.collecting import Choice, Collected, collect, is_held_out
from thread_cli.train.drawing import draw as draw_pack
from thread_cli.train.drawing import few
from thread_cli.train.packing import examples_of, packed
from thread_cli.train.trajectories import Trajectory, write

__all__ = ["data"]

_DRAWN: Final = 20
"""Threads that a picture is made of, as far as there is room."""
_LONGEST_DRAWN: Final = 4000
_HEADINGS: Final = ("environment", "category", "episodes", "threads", "unique", "learned tokens", "given tokens")


def data(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of runs and of bench runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.jsonl", help="Where trajectories go.")],
    *,
    examples: Annotated[
        bool, typer.Option("--examples/--no-examples", help="Whether trajectories begin with the few-shot prompt.")
    ] = True,
    successes: Annotated[
        bool, typer.Option("--successes/--all", help="Solved episodes only, or all that ended.")
    ] = True,
    clean: Annotated[
        bool, typer.Option("--clean", help="Leave out threads in which the engine had to correct something.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(help="Leave out trajectories of more tokens, as estimated.", min=1)
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(help="Put this share of tasks into FILE.held-out.jsonl instead; always the same tasks."),
    ] = None,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Tell each episode as one thread that thinks and acts by turns.")
    ] = False,
    draw: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw how the first threads are packed for training.")
    ] = None,
) -> None:
    """Make training data of recorded runs. Test sets are refused, threads that failed are left out."""
    if not output.name or output.is_dir():
        raise UserError(f"{output} is a folder: choose a file for --output")
    if held_out is not None and not 0 < held_out < 1:
        raise UserError(f"--held-out is a share of tasks, between 0 and 1, not {held_out:g}")
    choice = Choice(examples=examples, successes=successes, max_tokens=max_tokens, flat=flatten, clean=clean)
    collected = collect(runs, choice)
    for suite, count in sorted(collected.refused.items()):
        print(f"refused: {count:,} episodes of {suite}, a test set that nothing is trained on", file=sys.stderr)
    if not collected.trajectories:
        raise UserError(f"{', '.join(map(str, runs))}: there is nothing to learn from: {_left_out(collected)}")
    sides: dict[bool, list[Trajectory]] = {False: [], True: []}
    for trajectory in collected.trajectories:
        sides[is_held_out(trajectory, held_out or 0)].append(trajectory)
    files = {output: sides[False]}
    if held_out is not None:
        files[output.with_name(f"{output.stem}.held-out{output.suffix}")] = sides[True]
    for file, trajectories in files.items():
        write(file, trajectories)
    print_table(_HEADINGS, _rows(collected))
    if left_out := _left_out(collected):
        print(f"\nleft out: {left_out}")
    if draw is not None:
        _draw(sides[False] or sides[True], draw)
    for file, trajectories in files.items():
        tasks = len({(each.environment, each.task) for each in trajectories})
        print(f"{file}: {len(trajectories):,} trajectories of {tasks:,} tasks")


def _draw(trajectories: Sequence[Trajectory], target: Path) -> None:
    """Draw the pack of the first trajectories, in the tokens of the embedded model."""
    try:
        from thread_cli.train.vocabulary import vocabulary
    except ImportError as error:
        raise UserError(f"--draw needs {error.name or error}: {remedy('train')}") from None
    examples, _ = examples_of(trajectories[:_DRAWN], vocabulary(), _LONGEST_DRAWN)
    draw_pack(packed(few(examples)), at_home(target))


def _rows(collected: Collected) -> Iterator[Sequence[str]]:
    """Counts for each environment and category, and for all of them."""
    places: defaultdict[tuple[str, str], list[Trajectory]] = defaultdict(list)
    for trajectory in collected.trajectories:
        places[trajectory.environment, trajectory.category].append(trajectory)
    for place in sorted(collected.episodes):
        yield *place, *_counts(collected.episodes[place], collected.threads[place], places[place])
    if len(collected.episodes) > 1:
        yield "all", "", *_counts(collected.episodes.total(), collected.threads.total(), collected.trajectories)


def _counts(episodes: int, threads: int, trajectories: Sequence[Trajectory]) -> Iterator[str]:
    learned, given = (sum(each.tokens(learned=own) for each in trajectories) for own in (True, False))
    return (f"{count:,}" for count in (episodes, threads, len(trajectories), learned, given))


def _left_out(collected: Collected) -> str:
    """How many episodes and threads were left out, and why."""
    left_out = [("episodes", collected.left_out_episodes), ("threads", collected.left_out_threads)]
    return "; ".join(
        f"{count:,} {what} {reason}" for what, counts in left_out for reason, count in sorted(counts.items())
    )
