"""`thread show`: print a recorded tree, one of its threads in full, its costs or its timeline; export it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from thread_cli.assembly.checking import FormatCheck
from thread_cli.contracts.errors import UserError
from thread_cli.display import (
    VIEW_LINES,
    TreeState,
    as_json,
    export_svg,
    export_trace,
    glyphs_for,
    print_lines,
    render_costs,
    render_footer,
    render_rule,
    render_thread,
    render_timeline,
    render_tree,
    render_view,
)
from thread_cli.display.text import clean
from thread_cli.record import RunFolder, read_events
from thread_cli.record.costs import costs_of
from thread_cli.record.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.events import Event
    from thread_cli.display.layout import Glyphs

__all__ = ["show"]

_PARTS = "Views"


def show(
    run: Annotated[Path, typer.Argument(help="A run's folder, or one of its *.jsonl files.")],
    *,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Which episode, where there are several.")] = None,
    thread: Annotated[
        str | None,
        typer.Option(help="Path of one thread, such as 0.2.1, to print in full.", rich_help_panel=_PARTS),
    ] = None,
    times: Annotated[bool, typer.Option("--times", help="With seconds, which differ from run to run.")] = False,
    svg: Annotated[
        Path | None, typer.Option(help="Write the tree as a picture instead.", rich_help_panel=_PARTS)
    ] = None,
    cost: Annotated[
        bool,
        typer.Option(
            "--cost",
            help="Tokens, calls, seconds and dollars of each thread, and of all below it.",
            rich_help_panel=_PARTS,
        ),
    ] = False,
    timeline: Annotated[
        bool,
        typer.Option("--timeline", help="A row per thread: when it did what.", rich_help_panel=_PARTS),
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json", help="One object: measures, and each thread's costs and times.", rich_help_panel=_PARTS),
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="Write the timeline as a trace for Perfetto, speedscope or Chrome instead.", rich_help_panel=_PARTS
        ),
    ] = None,
) -> None:
    """Print a recorded tree of threads, one thread in full, what each cost, or when each did what."""
    files = {"--thread": thread, "--svg": svg, "--trace": trace}
    wanted = [name for name, given in files.items() if given is not None]
    wanted += [name for name, given in {"--cost": cost, "--timeline": timeline, "--json": json}.items() if given]
    if len(wanted) > 1:
        raise UserError(f"choose one of {', '.join(wanted)}")
    events = read_events(RunFolder.holding(run).episode(task))
    if json:
        sys.stdout.write(as_json(events))
        return
    if svg is not None or trace is not None:
        _export(events, run, svg, trace, times=times)
        return
    console = Console()
    if thread is not None:
        if thread not in TreeState.of(events).threads:
            raise UserError(f"the run has no thread {thread!r}")
        print_lines(console, render_thread(events, thread, glyphs=glyphs_for(console)))
        return
    print_lines(console, _lines(events, console, cost=cost, timeline=timeline, times=times))


def _lines(events: list[Event], console: Console, *, cost: bool, timeline: bool, times: bool) -> list[Text]:
    """The lines of a view, and the footer."""
    state, glyphs = TreeState.of(events), glyphs_for(console)
    width = console.width if console.is_terminal else 120
    if cost or timeline:
        shown = (
            render_costs(state, costs_of(events), width, glyphs=glyphs)
            if cost
            else render_timeline(state, Timeline.of(events), width, glyphs=glyphs)
        )
        return [*shown, render_rule(width, glyphs), *render_footer(state, width, elapsed=state.time, glyphs=glyphs)]
    view = render_view(state, width, VIEW_LINES, glyphs)
    lines = [*render_tree(state, width, times=times, glyphs=glyphs), *view, *[render_rule(width, glyphs)] * bool(view)]
    return [*lines, *render_footer(state, width, glyphs=glyphs), *_format(events, glyphs)]


def _export(events: list[Event], run: Path, svg: Path | None, trace: Path | None, *, times: bool) -> None:
    if trace is not None and trace.is_dir():
        raise UserError(f"the trace cannot be written: {trace} is a folder: choose the name of a file")
    try:
        if svg is not None:
            export_svg(TreeState.of(events), svg, title=f"thread show {run.name}", times=times)
        if trace is not None:
            export_trace(events, trace)
    except OSError as error:
        what = "picture" if svg is not None else "trace"
        raise UserError(f"the {what} cannot be written: {svg or trace}: {error.strerror}") from None


def _format(events: Sequence[Event], glyphs: Glyphs) -> list[Text]:
    """Whether the main thread's text keeps to its wire format, where that has a checker."""
    check = FormatCheck(events)
    problems = check.problems()
    if problems is None:
        return []
    how = ("format correct", "green") if not problems else (f"format wrong: {', '.join(problems)}", "yellow")
    return [Text.assemble(f"{clean(check.protocol)} {glyphs.separator} ", how)]
