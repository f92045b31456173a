"""The live tree: redraws the terminal on a timer, however fast events come, and leaves the final tree behind."""

from __future__ import annotations

import contextlib
import math
import threading
import time

from rich.console import Console, Group

from thread_cli.contracts.events import EpisodeStarted, Event
from thread_cli.display.base import Display, print_lines, redrawn
from thread_cli.display.layout import Row, ThreadRow, latest_first, lay_out
from thread_cli.display.render import (
    VIEW_LINES,
    glyphs_for,
    guide_cells,
    render_footer,
    render_rule,
    render_screen,
    render_tree,
    render_view,
)
from thread_cli.display.state import Phase, ThreadState, TreeState

__all__ = ["TreeDisplay"]

_REDRAWS_PER_SECOND = 8
_FINAL_ROWS = 200


class TreeDisplay(Display):
    """One line per thread, drawn anew eight times a second.

    On a console that is no terminal, only the final tree is printed. While it runs, output to `sys.stderr` is held
    back, to be written when it stops.
    """

    def __init__(self, console: Console) -> None:
        self.state = TreeState()
        self._console = console
        self._glyphs = glyphs_for(console)
        self._lock = threading.Lock()
        self._heard = time.monotonic()
        self._shown: list[ThreadState] = []
        self._running = contextlib.ExitStack()
        self._started = False

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, EpisodeStarted):
                self._shown = []
            self.state.apply(event)
            self._heard = time.monotonic()

    def start(self) -> None:
        if self._started:
            return
        self._started = True
        self._heard = time.monotonic()
        self._running.enter_context(redrawn(self._console, self._frame, _REDRAWS_PER_SECOND))

    def stop(self) -> None:
        if not self._started:
            return
        self._started = False
        try:
            self._running.close()
        finally:
            if self.state.main is not None:
                self._print_final()

    def _print_final(self) -> None:
        width, state, glyphs = self._console.width, self.state, self._glyphs
        with self._lock:
            lines = render_tree(state, width, times=True, limit=_FINAL_ROWS, glyphs=glyphs)
            lines += render_view(state, width, VIEW_LINES, glyphs)
            lines += [render_rule(width, glyphs), *render_footer(state, width, elapsed=state.time, glyphs=glyphs)]
        print_lines(self._console, lines)

    def _frame(self) -> Group:
        width, height = self._console.size
        with self._lock:
            now = self._now()
            footer = render_footer(self.state, width, elapsed=now, glyphs=self._glyphs)[: max(height // 3, 1)]
            room = height - len(footer) - 2
            # The view takes half of the room, or the room that the tree leaves.
            view = render_view(self.state, width, max(room // 2, room - len(self.state.threads)), self._glyphs)
            room -= len(view)
            rows = lay_out(self.state, self._wanted(room), room, self._glyphs, guide_cells(width))
            self._shown = _at_work(rows)
            return Group(*render_screen(self.state, rows, view, footer, (width, height), now=now, glyphs=self._glyphs))

    def _wanted(self, room: int) -> list[ThreadState]:
        """Threads that are at work keep their rows; the newest threads get the rows that are left."""
        kept = [thread for thread in self._shown if thread.phase in {Phase.generating, Phase.acting}]
        return [*kept, *latest_first(self.state, max(room, 0))]

    def _now(self) -> float:
        """Seconds since the episode began."""
        if self.state.status is not None or not math.isfinite(self.speed):
            return self.state.time
        return self.state.time + (time.monotonic() - self._heard) * self.speed


def _at_work(rows: list[Row]) -> list[ThreadState]:
    threads = [row.thread for row in rows if isinstance(row, ThreadRow)]
    return [thread for thread in threads if thread.phase in {Phase.generating, Phase.acting}]
