"""One line per event worth a line, for pipes, files and continuous integration. No escape codes, nothing redrawn."""

from __future__ import annotations

from typing import IO

from rich.cells import cell_len

from thread_cli.contracts.errors import Ending
from thread_cli.contracts.events import (
    Awaiting,
    CodeRan,
    Conflicted,
    Corrected,
    EpisodeEnded,
    EpisodeStarted,
    Event,
    Failed,
    Joined,
    Observed,
    Spawned,
    ThreadEnded,
    ThreadStarted,
)
from thread_cli.display.base import Display, LineWriter
from thread_cli.display.render import render_footer
from thread_cli.display.state import TreeState, waits_for
from thread_cli.display.text import clean, cut, headline

__all__ = ["PlainDisplay"]

_PATH_CELLS = 12
_DEEPEST_INDENT = 20
_LINE_CELLS = 240


class PlainDisplay(Display):
    """Lines that begin with the thread's path and are indented by its depth."""

    def __init__(self, file: IO[str]) -> None:
        self.state = TreeState()
        self._writer = LineWriter(file)

    def __call__(self, event: Event) -> None:
        self.state.apply(event)
        match event:
            case EpisodeStarted():
                names = (event.environment, f"task {event.task}", event.category)
                self._writer.write(_safe(" · ".join(name for name in names if name)))
            case EpisodeEnded():
                footer = render_footer(self.state, _LINE_CELLS, elapsed=self.state.time)
                self._writer.write("\n".join(line.plain for line in footer))
            case _:
                words = self._words(event)
                if words is not None:
                    self._write(event.thread, words)

    def _words(self, event: Event) -> str | None:
        """The text of an event's line; None for an event without one."""
        match event:
            case ThreadStarted():
                return f"+ {headline(event.context)}"
            case Observed():
                thread = self.state.threads.get(event.thread)
                action = (thread.action or "").lstrip("# >") if thread is not None else ""
                return f"> {action} => {event.observation}"
            case CodeRan(error=str(error)):
                return f"! {error}"
            case Corrected():
                return f"! {event.text}"
            case Failed():
                return f"✗ {event.boundary}: {event.failure}: {event.message}"
            case ThreadEnded(failed=True) | ThreadEnded(how=Ending.pruned):
                how = event.how or Ending.failed
                return f"= {how}" if event.result is None else f"= {how}: {event.result}"
            case ThreadEnded():
                return f"= {event.result or ''}"
            case Awaiting():
                return f"< {waits_for(event.children, event.which)}"
            case Spawned(waits=True) if len(event.children) > 1:
                return f"< {waits_for(event.children, 'all')}"
            case Conflicted():
                return f"! conflict: no action of {event.child} is kept: {event.action} => {event.now}"
            case Joined() if len(event.children) > 1:
                return f"< joined {len(event.children):,} threads"
            case _:
                return None

    def _write(self, path: str, words: str) -> None:
        depth = path.count(".")
        shown = path if cell_len(path) <= _PATH_CELLS else "…" + path[1 - _PATH_CELLS :]
        indent = "  " * min(depth, _DEEPEST_INDENT)
        self._writer.write(f"{shown:<{_PATH_CELLS}} {indent}{_safe(words)}".rstrip())


def _safe(text: str) -> str:
    return cut(clean(text[: _LINE_CELLS * 8]), _LINE_CELLS)
