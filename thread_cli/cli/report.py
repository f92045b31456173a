"""`thread report`: the results of bench runs, and how they compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from thread_cli.bench.arms import arms_of
from thread_cli.bench.curves import write_curves
from thread_cli.bench.formats import as_latex, as_markdown, as_text, terminal_width
from thread_cli.bench.page import write_page
from thread_cli.bench.plots import write_plot
from thread_cli.bench.report import read_run
from thread_cli.bench.tables import as_csv, as_json, episodes_csv, tables
from thread_cli.contracts.errors import UserError

__all__ = ["report"]

_FORMATS = "How it is printed"


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="Folders of bench runs; each is compared with the first.")
    ],
    *,
    json: Annotated[
        bool, typer.Option("--json", help="A list with one object per run.", rich_help_panel=_FORMATS)
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="One line per run.", rich_help_panel=_FORMATS)] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Tables for GitHub.", rich_help_panel=_FORMATS)] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Tables with booktabs.", rich_help_panel=_FORMATS)] = False,
    episodes: Annotated[
        bool, typer.Option("--episodes", help="With --csv: one line per episode.", rich_help_panel=_FORMATS)
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw a figure: FILE.png, .svg or .pdf.")] = None,
    curves: Annotated[
        Path | None,
        typer.Option(help="Also draw success against context window, total tokens and latency: FILE.png, …"),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with the tree of every episode.")] = None,
    times: Annotated[
        bool, typer.Option("--times/--no-times", help="Whether measured times are in it, which differ from run to run.")
    ] = True,
) -> None:
    """Report success, cost and failures of bench runs, beside each other and beside the published figures."""
    if sum((json, csv, markdown, latex)) > 1:
        raise UserError("choose one of --json, --csv, --markdown and --latex")
    if episodes and not csv:
        raise UserError("--episodes goes with --csv")
    read = [read_run(path) for path in runs]
    arms = arms_of(read, times=times)
    made = [] if (json or csv) and html is None else tables(arms)
    if json:
        text = as_json(read, times=times)
    elif csv:
        text = episodes_csv(arms, times=times) if episodes else as_csv(arms)
    elif markdown or latex:
        text = "\n".join(map(as_markdown if markdown else as_latex, made))
    else:
        text = "\n".join(as_text(table, terminal_width()) for table in made)
    sys.stdout.write(text)
    if plot is not None:
        write_plot(plot, arms)
        print(f"plot: {plot}", file=sys.stderr)
    if curves is not None:
        write_curves(curves, arms, times=times)
        print(f"curves: {curves}", file=sys.stderr)
    if html is not None:
        size = write_page(html, arms, made, times=times)
        print(f"page: {html} ({size / 1e6:.1f} MB)", file=sys.stderr)
