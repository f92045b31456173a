"""Shows the event stream of a run: as a live tree, plain lines or JSON; and a recorded one as a tree or a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from thread_cli.display.base import Display, print_lines
from thread_cli.display.costs import render_costs
from thread_cli.display.figures import as_json
from thread_cli.display.jsonl import JsonDisplay
from thread_cli.display.plain import PlainDisplay
from thread_cli.display.render import (
    VIEW_LINES,
    export_svg,
    glyphs_for,
    render_footer,
    render_rule,
    render_tree,
    render_view,
)
from thread_cli.display.replay import replay
from thread_cli.display.state import Phase, ThreadState, TreeState
from thread_cli.display.timeline import render_timeline
from thread_cli.display.trace import export_trace
from thread_cli.display.transcript import render_thread
from thread_cli.display.tree import TreeDisplay

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "VIEW_LINES",
    "Display",
    "JsonDisplay",
    "Mode",
    "Phase",
    "PlainDisplay",
    "ThreadState",
    "TreeDisplay",
    "TreeState",
    "as_json",
    "choose",
    "export_svg",
    "export_trace",
    "glyphs_for",
    "print_lines",
    "render_costs",
    "render_footer",
    "render_rule",
    "render_thread",
    "render_timeline",
    "render_tree",
    "render_view",
    "replay",
]

Mode = Literal["auto", "tree", "plain", "json", "none"]


def choose(mode: Mode, console: Console) -> Display:
    """The display for a mode; `auto` is the tree on a terminal that can draw it, else plain lines."""
    if mode == "auto":
        mode = "tree" if console.is_terminal and not console.is_dumb_terminal else "plain"
    match mode:
        case "tree":
            return TreeDisplay(console)
        case "plain":
            return PlainDisplay(console.file)
        case "json":
            return JsonDisplay(console.file)
        case "none":
            return Display()
