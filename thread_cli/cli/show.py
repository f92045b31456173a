"""`thread show`: print a recorded tree, or one of its threads in full."""

from __future__ import annotations

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
    export_svg,
    glyphs_for,
    print_lines,
    render_footer,
    render_rule,
    render_thread,
    render_tree,
    render_view,
)
from thread_cli.display.text import clean
from thread_cli.record import RunFolder, read_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.events import Event
    from thread_cli.display.layout import Glyphs

__all__ = ["show"]


def show(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    task: Annotated[str | None, typer.Option("--task", "-t", help="Which episode, where there are several.")] = None,
    thread: Annotated[str | None, typer.Option(help="Path of one thread, such as 0.2.1, to print in full.")] = None,
    times: Annotated[bool, typer.Option("--times", help="With seconds, which differ from run to run.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write the tree as a picture instead.")] = None,
) -> None:
    """Print a recorded tree of threads, or one thread in full."""
    events = read_events(RunFolder.open(run).episode(task))
    console = Console()
    glyphs = glyphs_for(console)
    if thread is not None:
        if thread not in {event.thread for event in events}:
            raise UserError(f"the run has no thread {thread}")
        print_lines(console, render_thread(events, thread, glyphs=glyphs))
        return
    state = TreeState.of(events)
    if svg is not None:
        try:
            export_svg(state, svg, title=f"thread show {run.name}", times=times)
        except OSError as error:
            raise UserError(f"the picture cannot be written: {svg}: {error.strerror}") from None
        return
    width = console.width if console.is_terminal else 120
    view = render_view(state, width, VIEW_LINES, glyphs)
    lines = [*render_tree(state, width, times=times, glyphs=glyphs), *view, *[render_rule(width, glyphs)] * bool(view)]
    print_lines(console, [*lines, *render_footer(state, width, glyphs=glyphs), *_format(events, glyphs)])


def _format(events: Sequence[Event], glyphs: Glyphs) -> list[Text]:
    """Whether the main thread's text keeps to its wire format, where that has a checker."""
    check = FormatCheck(events)
    problems = check.problems()
    if problems is None:
        return []
    how = ("format correct", "green") if not problems else (f"format wrong: {', '.join(problems)}", "yellow")
    return [Text.assemble(f"{clean(check.protocol)} {glyphs.separator} ", how)]
