"""Draws a tree as lines of rich text, each cut to a width in terminal cells; also as an SVG picture.

One line per thread: guides, state, the end of its context; its last action and the answer to it; its own generated
tokens and its time. Without times the lines depend on nothing but the events' content.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from thread_cli.contracts.errors import Ending, Status
from thread_cli.display.layout import ASCII, UNICODE, CountRow, Glyphs, Row, ThreadRow, lay_out, top_first
from thread_cli.display.state import Phase, ThreadState, TreeState, waits_for
from thread_cli.display.text import clean, clean_lines, compact, cut, dollars, duration
from thread_cli.record.measures import acceleration, activated, self_parallelism, wall_speedup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from thread_cli.contracts.events import Totals
    from thread_cli.contracts.model import Local

__all__ = [
    "PHASE_STYLES",
    "VIEW_LINES",
    "export_svg",
    "glyphs_for",
    "guide_cells",
    "render_footer",
    "render_header",
    "render_label",
    "render_names",
    "render_rows",
    "render_rule",
    "render_screen",
    "render_tree",
    "render_view",
]

PHASE_STYLES = {
    Phase.generating: "bold cyan",
    Phase.acting: "bold yellow",
    Phase.waiting: "blue",
    Phase.done: "green",
    Phase.failed: "bold red",
    Phase.stopped: "magenta",
}
VIEW_LINES = 24
"""Lines of a view that are kept below a finished tree."""

_NARROWEST = 20
_LEAST_VIEW = 4  # lines
_TOKENS, _TIME = 7, 7
# Hostile text can hold any number of invisible characters; only so many are looked at for each cell of a line.
_CHARACTERS_PER_CELL = 8


def _hex(code: str) -> tuple[int, int, int]:
    return int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)


_THEME = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [_hex(code) for code in ["484f58", "ff7b72", "56d364", "e3b341", "79a6e6", "bc8cff", "56c9d6", "c9d1d9"]],
    [_hex(code) for code in ["6e7681", "ffa198", "7ee787", "f2cc60", "a5c8ff", "d2a8ff", "80deea", "f0f6fc"]],
)


def glyphs_for(console: Console) -> Glyphs:
    """Line-drawing characters where the console's encoding has them, else ASCII."""
    return ASCII if console.options.ascii_only else UNICODE


def render_tree(
    state: TreeState, width: int, *, times: bool = False, limit: int | None = None, glyphs: Glyphs = UNICODE
) -> list[Text]:
    """The whole tree with its header, or the `limit` rows of it that give the best overview.

    Args:
        state: the tree.
        width: columns in terminal cells; no line is wider.
        times: show seconds per thread, which differ from run to run.
        limit: the most rows for threads; a row counts those left out.
        glyphs: characters to draw with.
    """
    width = max(width, _NARROWEST)
    wanted = top_first(state, limit) if limit else ()
    rows = lay_out(state, wanted, limit, glyphs, guide_cells(width))
    return [
        render_header(state, width, times, glyphs),
        *render_rows(rows, width, state.time if times else None, glyphs),
    ]


def render_screen(
    state: TreeState,
    rows: Sequence[Row],
    view: Sequence[Text],
    footer: Sequence[Text],
    size: tuple[int, int],
    *,
    now: float,
    glyphs: Glyphs,
) -> list[Text]:
    """A screen full: header, rows from the top; view, rule and footer at the bottom. `size` is columns and lines."""
    width, height = size
    lines = [render_header(state, width, times=True, glyphs=glyphs), *render_rows(rows, width, now, glyphs)]
    lines += [Text()] * (height - len(lines) - len(view) - len(footer) - 1)
    return [*lines, *view, render_rule(width, glyphs), *footer][:height]


def render_rows(rows: Sequence[Row], width: int, now: float | None, glyphs: Glyphs) -> list[Text]:
    """One line per row. `now` is in seconds since the episode began; None leaves times out."""
    return [
        _count_line(row, width, glyphs) if isinstance(row, CountRow) else _thread_line(row, width, now, glyphs)
        for row in rows
    ]


def render_header(state: TreeState, width: int, times: bool, glyphs: Glyphs = UNICODE) -> Text:
    """The environment, task and model, and headings of the columns."""
    columns = _columns(width, "tokens", "time" if times else None)
    room = width - cell_len(columns)
    line = render_names(state, room, glyphs)
    return line.append(" " * (room - line.cell_len)).append(columns, "dim")


def render_names(state: TreeState, width: int, glyphs: Glyphs = UNICODE) -> Text:
    """The environment, task and category, in at most `width` - 1 cells."""
    line = Text(no_wrap=True)
    task = f"task {state.task}" if state.task else ""
    names = [clean(name) for name in (state.environment, task, state.category) if name]
    for place, name in enumerate(names or ["starting"]):
        separator = f" {glyphs.separator} " if place else ""
        name = cut(name, max(width - line.cell_len - cell_len(separator) - 1, 0), glyphs.ellipsis)  # noqa: PLW2901
        if name:
            line.append(separator, "dim").append(name, "bold" if place == 0 else "")
    return line


def render_label(row: ThreadRow, width: int, glyphs: Glyphs) -> Text:
    """Guides, state and title of a thread, in at most `width` cells."""
    thread = row.thread
    line = Text(row.guides, "dim", no_wrap=True)
    line.append(f"{glyphs.phases[thread.phase]} ", f"not dim {PHASE_STYLES[thread.phase]}")
    line.append(_safe(thread.title or "(empty)", max(width - line.cell_len, 0), glyphs), "not dim")
    line.truncate(width, overflow="crop")
    return line


def render_rule(width: int, glyphs: Glyphs = UNICODE) -> Text:
    """The line between tree and footer."""
    return Text(glyphs.rule * width, "dim", no_wrap=True)


def render_view(state: TreeState, width: int, limit: int, glyphs: Glyphs = UNICODE) -> list[Text]:
    """The environment's view, under a line with its name: at most `limit` lines in all, of which the last one counts
    the lines left out. Empty if there is no view, or no room for it.
    """
    text = state.view.strip("\r\n").rstrip()
    if not text or limit < _LEAST_VIEW or width < _NARROWEST:
        return []
    lines = clean_lines(text[: limit * width * _CHARACTERS_PER_CELL])
    if len(lines) > limit - 1:
        more = max(len(lines), text.count("\n") + 1) - (limit - 2)
        lines = [*lines[: limit - 2], f"{glyphs.ellipsis} {more:,} more lines"]
    name = cut(clean(state.environment), width - 8, glyphs.ellipsis)
    title = Text(f"{glyphs.rule * 2} ", "dim", no_wrap=True).append(name, "not dim bold")
    title.append(f" {glyphs.rule * (width - title.cell_len - 1)}")
    return [title, *(Text(cut(line.rstrip(), width, glyphs.ellipsis), no_wrap=True) for line in lines)]


def render_footer(
    state: TreeState, width: int, *, elapsed: float | None = None, glyphs: Glyphs = UNICODE
) -> list[Text]:
    """The numbers of threads in each state, and the sums over the episode, on as many lines as they need.

    `elapsed` is in seconds; None leaves it out. Tokens are tokens, cost is in US dollars or `unknown`.
    """
    width, totals = max(width, _NARROWEST), state.totals
    lines: list[Text] = []
    if state.status is not None:
        lines += _pack([_status(state, width, glyphs)], width, glyphs)
    threads = [_phase_count(state, phase, glyphs) for phase in Phase if state.phases[phase]]
    threads += [_figure("depth", f"{totals.depth:,}"), _figure("calls", f"{totals.calls:,}")]
    if elapsed is not None:
        threads.append(_figure("elapsed", duration(elapsed)))
    lines += _pack(threads, width, glyphs)
    about = "~" if totals.estimated else ""
    figures = [
        ("prompt", f"{about}{totals.prompt_tokens:,}"),
        ("cached", _share_cached(totals)),
        ("repeated", f"{totals.repeated_tokens:,}"),
        ("generated", f"{about}{totals.generated_tokens:,}"),
        ("critical path", f"{about}{totals.token_latency:,}"),
        ("cost", dollars(totals.cost)),
    ]
    if totals.retries:
        figures.append(("retries", f"{totals.retries:,}"))
    if totals.repairs:
        figures.append(("repairs", f"{totals.repairs:,}"))
    figures += _parallel(totals, elapsed)
    if totals.local is not None and elapsed is not None:
        figures += _local(totals, totals.local)
    return lines + _pack([_figure(name, value) for name, value in figures], width, glyphs)


def _parallel(totals: Totals, elapsed: float | None) -> list[tuple[str, str]]:
    """What parallel threads gained (`record/measures.py`); nothing where no fork was parallel."""
    if not activated(totals):
        return []
    figures = [("parallel forks", f"{totals.parallel_forks:,} of {totals.forks:,}")]
    about = "~" if totals.estimated else ""
    if (gained := self_parallelism(totals)) is not None:
        figures.append(("self-parallelism", f"{about}{gained:.2f}x"))
    if (saved := acceleration(totals)) is not None:
        figures.append(("acceleration", f"{about}{saved:.1%}"))
    if elapsed is not None and (faster := wall_speedup(totals)) is not None:
        figures.append(("wall speed-up", f"{faster:.2f}x"))
    return figures


def _share_cached(totals: Totals) -> str:
    if not totals.cached_known:
        return "unknown"
    return f"{totals.cached_tokens / totals.prompt_tokens:.0%}" if totals.prompt_tokens else "none"


def _local(totals: Totals, local: Local) -> list[tuple[str, str]]:
    """Prefill and decode speeds in tokens per second, acceptance rate of drafts, and mean batch size of a local model.

    Beside each speed stands the one that was measured with an empty cache when the model was loaded.
    """
    figures: list[tuple[str, str]] = []
    if local.prefill_seconds:
        read = totals.prompt_tokens - totals.cached_tokens
        figures.append(("prefill", _speed(read, local.prefill_seconds, local.prefill_floor)))
    if local.decode_seconds:
        figures.append(("decode", _speed(totals.generated_tokens, local.decode_seconds, local.decode_floor)))
    if local.drafted:
        figures.append(("acceptance rate", f"{local.accepted / local.drafted:.0%} of {local.drafted:,} drafts"))
    if local.steps:
        figures.append(("batch size", f"{local.batch_sizes / local.steps:.1f}"))
    return figures


def _speed(tokens: int, seconds: float, least: float) -> str:
    could = f" of {tokens / least:,.0f}" if least else ""
    return f"{tokens / seconds:,.0f}{could}/s"


def export_svg(
    state: TreeState, path: Path, title: str, *, width: int = 100, limit: int = 60, times: bool = True
) -> None:
    """Write the tree and its footer as a picture of a terminal `width` columns wide.

    Raises:
        OSError: `path` cannot be written.
    """
    console = Console(
        record=True,
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    lines = [*render_tree(state, width, times=times, limit=limit), *render_view(state, width, VIEW_LINES)]
    lines += [render_rule(width), *render_footer(state, width, elapsed=state.time if times else None)]
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop", crop=True)
    picture = console.export_svg(title=title, theme=_THEME, unique_id="thread")
    # The picture must not fetch anything: it uses the viewer's own monospaced font.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    # Some viewers drop blanks at the beginning of a piece of text unless told not to.
    path.write_text(picture.replace("<svg ", '<svg xml:space="preserve" ', 1), encoding="utf-8")


def guide_cells(width: int) -> int:
    """The most cells of a line that guides may take."""
    return width // 6 * 2


def _columns(width: int, tokens: str, time: str | None) -> str:
    """The right-hand columns, left out where there is no room for them."""
    if width < 40:
        return ""
    return tokens.rjust(_TOKENS) + (time.rjust(_TIME) if time is not None else "")


def _safe(text: str, cells: int, glyphs: Glyphs) -> str:
    return cut(clean(text[: cells * _CHARACTERS_PER_CELL]), cells, glyphs.ellipsis)


def _thread_line(row: ThreadRow, width: int, now: float | None, glyphs: Glyphs) -> Text:
    thread = row.thread
    style = PHASE_STYLES[thread.phase]
    columns = _columns(
        width,
        compact(thread.generated_tokens) if thread.generated_tokens else "",
        None if now is None else duration(thread.seconds(now)),
    )
    line = Text(row.guides, "dim", no_wrap=True).append(f"{glyphs.phases[thread.phase]} ", f"not dim {style}")
    room = width - cell_len(columns) - line.cell_len
    split = max(width * 2 // 5 - line.cell_len, room // 4)
    detail = _detail(thread, room - split - 1, glyphs)
    title = _safe(_title(thread), split - 2 if detail else room - 1, glyphs)
    at_work = thread.phase in {Phase.generating, Phase.acting}
    line.append(title, "not dim bold" if at_work else "not dim")
    if detail:
        line.append(" " * (split - cell_len(title))).append_text(detail)
    return line.append(" " * (width - cell_len(columns) - line.cell_len)).append(columns, "dim")


def _title(thread: ThreadState) -> str:
    """The end of its context; before it, while it runs beside others, the path by which it is waited for."""
    title = thread.title or "(empty)"
    return f"{thread.path} {title}" if thread.beside and not thread.phase.ended else title


def _detail(thread: ThreadState, cells: int, glyphs: Glyphs) -> Text | None:
    """What a thread did last, whom it waits for, or what it ended with."""
    if thread.phase in {Phase.failed, Phase.stopped}:
        how = "pruned" if thread.how is Ending.pruned else str(thread.phase)
        why = thread.failure or thread.reason
        words = f"{how}: {why}" if why else how
        return Text(_safe(words, cells, glyphs), "not dim red" if thread.failure else "not dim")
    if thread.phase is Phase.waiting and thread.waits is not None:
        return Text(_safe(waits_for(thread.awaited, thread.waits), cells, glyphs), "not dim blue")
    if thread.conflict:
        return Text(_safe(f"conflict: no action kept: {thread.conflict}", cells, glyphs), "not dim yellow")
    if thread.action is not None:
        seen = "" if thread.observation is None else _safe(thread.observation, cells, glyphs)
        room = max(cells - cell_len(seen) - 4, cells * 11 // 20) if seen else cells
        action = _safe("> " + thread.action.lstrip("# >"), room, glyphs)
        detail = Text(action, "not dim yellow" if thread.phase is Phase.acting else "not dim")
        if thread.observation is not None:
            detail.append(" => ", "dim")
            detail.append(cut(seen, cells - detail.cell_len, glyphs.ellipsis), "not dim")
        return detail
    if thread.result is not None:
        lead = f"{glyphs.returns} "
        return Text(lead + _safe(thread.result, cells - len(lead), glyphs), "not dim")
    return None


def _count_line(row: CountRow, width: int, glyphs: Glyphs) -> Text:
    words = f"{row.total:,} more thread{'s' if row.total != 1 else ''}, {row.done:,} done"
    line = Text(row.guides, "dim", no_wrap=True).append(f"{glyphs.ellipsis} {words}", "dim italic")
    if row.failed:
        line.append(f", {row.failed:,} failed", "not dim red")
    line.truncate(width, overflow="crop")
    return line


_PHASE_OF: dict[Status | None, Phase] = {
    Status.solved: Phase.done,
    Status.answered: Phase.done,
    Status.cancelled: Phase.stopped,
}


def _status(state: TreeState, width: int, glyphs: Glyphs) -> Text:
    status = state.status
    phase = _PHASE_OF.get(status, Phase.failed)
    words = f"{glyphs.phases[phase]} {status.value.replace('_', ' ') if status else ''}"
    line = Text(words, f"bold {PHASE_STYLES[phase]}", no_wrap=True)
    if state.reward is not None:
        line.append(f"  reward {state.reward:g}", "not bold default")
    message = _safe(state.message, max(width - line.cell_len - 2, 0), glyphs)
    return line.append(f"  {message}" if message else "", "not bold default")


def _phase_count(state: TreeState, phase: Phase, glyphs: Glyphs) -> Text:
    return Text(glyphs.phases[phase], PHASE_STYLES[phase]).append(
        f" {state.phases[phase]:,} {phase}", "not bold default"
    )


def _figure(name: str, value: str) -> Text:
    return Text(f"{name} ", "dim").append(value, "not dim")


def _pack(items: Sequence[Text], width: int, glyphs: Glyphs) -> list[Text]:
    """Items side by side, on as few lines as they fit on."""
    separator = Text(f" {glyphs.separator} ", "dim")
    lines: list[Text] = []
    for item in items:
        if lines and lines[-1].cell_len + separator.cell_len + item.cell_len <= width:
            lines[-1].append_text(separator).append_text(item)
        else:
            lines.append(Text(no_wrap=True).append_text(item))
    for line in lines:
        line.truncate(width, overflow="crop")
    return lines
