"""Shows the progress of a bench run: redrawn on a terminal, as lines, as JSON, or not at all."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from rich.console import Group
from rich.text import Text

from thread_cli.bench import FailureClass, Result
from thread_cli.display.base import LineWriter, print_lines, redrawn
from thread_cli.display.render import glyphs_for
from thread_cli.display.state import Phase
from thread_cli.display.text import clean, compact, cut, duration

if TYPE_CHECKING:
    from typing import IO

    from rich.console import Console

    from thread_cli.bench.progress import Progress, Tally

__all__ = ["BenchDisplay", "choose_bench", "render_progress"]

_REDRAWS_PER_SECOND = 4
_LINE_CELLS = 160
_BAR_CELLS = 40
_NAME_CELLS = 32


class BenchDisplay:
    """Shows nothing; the others show `progress` from `start` to `stop`."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def start(self) -> None:
        """Begin to show; earlier results are not shown one by one."""
        self.progress.listeners.append(self.tell)

    def tell(self, result: Result) -> None:
        """Show one new result."""

    def stop(self) -> None:
        """Leave the terminal as it was. May be called twice."""


def choose_bench(
    mode: Literal["auto", "tree", "plain", "json", "none"], progress: Progress, console: Console
) -> BenchDisplay:
    """The display for a mode; `auto` is redrawn on a terminal that can do so, else lines."""
    if mode == "auto":
        mode = "tree" if console.is_terminal and not console.is_dumb_terminal else "plain"
    match mode:
        case "tree":
            return _LiveDisplay(progress, console)
        case "plain":
            return _PlainDisplay(progress, console)
        case "json":
            return _JsonDisplay(progress, console.file)
        case "none":
            return BenchDisplay(progress)


class _LiveDisplay(BenchDisplay):
    """Redrawn a few times a second, as much of it as the terminal has room for."""

    def __init__(self, progress: Progress, console: Console) -> None:
        super().__init__(progress)
        self._console = console
        self._running = ExitStack()

    def start(self) -> None:
        super().start()
        self._running.callback(self._print_final)
        self._running.enter_context(redrawn(self._console, self._frame, _REDRAWS_PER_SECOND))

    def stop(self) -> None:
        self._running.close()

    def _print_final(self) -> None:
        print_lines(self._console, self._lines()[:2])

    def _frame(self) -> Group:
        return Group(*self._lines())

    def _lines(self) -> list[Text]:
        return render_progress(self.progress, *self._console.size, console=self._console)


class _PlainDisplay(BenchDisplay):
    """A line for each result."""

    def __init__(self, progress: Progress, console: Console) -> None:
        super().__init__(progress)
        self._writer = LineWriter(console.file)
        self._signs = glyphs_for(console).phases

    def tell(self, result: Result) -> None:
        progress = self.progress
        count = f"{len(progress.done):>{len(str(progress.total))}}/{progress.total}"
        sign = self._signs[Phase.done if result.failure is None else Phase.failed]
        names = (result.environment, result.task, result.category, result.variant)
        words = [count, sign, " ".join(clean(name) for name in names if name)]
        if result.epoch:
            words.append(f"epoch {result.epoch}")
        if result.failure is not None:
            words.append(f"({result.failure.replace('_', ' ')}: {clean(result.message)})")
        left = progress.left
        words.append(f"- {_share(progress.all)}" + (f", {duration(left)} left" if left else ""))
        self._writer.write(cut(" ".join(words), _LINE_CELLS))


class _JsonDisplay(BenchDisplay):
    """Each result as a line of JSON. All but ASCII is escaped, so that it is safe on a terminal, too."""

    def __init__(self, progress: Progress, file: IO[str]) -> None:
        super().__init__(progress)
        self._writer = LineWriter(file)

    def tell(self, result: Result) -> None:
        self._writer.write(json.dumps(result.model_dump(mode="json"), separators=(",", ":")))


def render_progress(progress: Progress, width: int, height: int, *, console: Console) -> list[Text]:
    """The progress of a run, in at most `height` lines of at most `width` cells; the most important ones first."""
    glyphs = glyphs_for(console)
    lines = [_bar(progress, width, console), _times(progress)]
    if height >= 6:
        lines.append(_spent(progress))
    if progress.failures and height >= 8:
        lines.append(_failures(progress.failures))
    room = height - len(lines) - 2
    if room >= 2 and len(progress.parts) > 1:
        parts = sorted(progress.parts.items())
        shown = parts if len(parts) <= room else parts[: room - 1]
        lines.append(Text(glyphs.rule * min(width, _NAME_CELLS + 24), "dim"))
        lines += [_row(name, tally) for name, tally in shown]
        if len(shown) < len(parts):
            lines.append(Text(f"{glyphs.ellipsis} {len(parts) - len(shown)} more", "dim"))
    return [_fit(line, width) for line in lines[: max(height, 1)]]


def _bar(progress: Progress, width: int, console: Console) -> Text:
    done = len(progress.done)
    counted = f"{done:,}/{progress.total:,}"
    cells = min(_BAR_CELLS, width - len(counted) - 16)
    line = Text()
    if cells >= 8:
        full = round(cells * done / progress.total) if progress.total else cells
        block, rest = ("#", ".") if console.options.ascii_only else ("━", "─")
        line.append(block * full, "green").append(rest * (cells - full), "dim").append(" ")
    return line.append(f"{counted} ", "bold").append(_share(progress.all))


def _times(progress: Progress) -> Text:
    left = progress.left
    parts = [f"{progress.under_way} under way", f"{duration(progress.elapsed)} elapsed"]
    if progress.finishing:
        parts.append("nothing new is started, Ctrl-C again stops at once")
    elif not progress.complete:
        parts.append(f"{duration(left)} left" if left is not None else "time left not known yet")
    return Text(", ".join(parts))


def _spent(progress: Progress) -> Text:
    cost = "unknown" if progress.known_cost is None else f"${progress.known_cost:,.2f}"
    tokens = f"{'~' if progress.estimated else ''}{compact(progress.tokens)} tokens"
    parts = [f"{compact(progress.calls)} calls", tokens, f"cost {cost}"]
    if progress.retries:
        parts.append(f"{progress.retries:,} calls repeated")
    if progress.attempts:
        parts.append(f"{progress.attempts:,} episodes repeated")
    return Text(", ".join(parts), "dim")


def _failures(failures: dict[FailureClass, int]) -> Text:
    counts = [f"{failures[kind]:,} {kind.replace('_', ' ')}" for kind in FailureClass if failures.get(kind)]
    return Text("not solved: " + ", ".join(counts), "dim")


def _row(name: str, tally: Tally) -> Text:
    shown = cut(clean(name) or "all", _NAME_CELLS)
    success = "" if tally.success is None else f"{tally.success:>7.1%}"
    line = Text(f"{shown:<{_NAME_CELLS}} {f'{tally.solved:,}/{tally.judged:,}':>11} {success}")
    if tally.graded:
        line.append(f"  score {tally.reward / tally.graded:.3f}", "dim")
    return line


def _share(tally: Tally) -> str:
    return "nothing judged yet" if tally.success is None else f"{tally.solved:,} solved ({tally.success:.1%})"


def _fit(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line
