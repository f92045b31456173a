"""Decides which threads of a tree are drawn in a given number of rows, and their guide lines.

The work done is bounded by the number of rows and the depth of the tree, not by its size. One row counts the threads
that are left out under a drawn thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING

from thread_cli.display.state import Phase, ThreadState, TreeState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ASCII", "UNICODE", "CountRow", "Glyphs", "Row", "ThreadRow", "latest_first", "lay_out", "top_first"]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that a tree is drawn with. Guides are two cells wide."""

    phases: dict[Phase, str]
    branch: str
    last: str
    through: str
    rule: str
    ellipsis: str
    returns: str
    separator: str
    blank: str = "  "


UNICODE = Glyphs(
    phases=dict(zip(Phase, "●▸○✓✗■", strict=True)),
    branch="├─",
    last="╰─",
    through="│ ",
    rule="─",
    ellipsis="…",
    returns="→",
    separator="·",
)
ASCII = Glyphs(
    phases=dict(zip(Phase, "*>o+x#", strict=True)),
    branch="|-",
    last="`-",
    through="| ",
    rule="-",
    ellipsis="...",
    returns="->",
    separator="|",
)


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """A row that shows a thread."""

    guides: str
    thread: ThreadState


@dataclass(frozen=True, slots=True)
class CountRow:
    """A row that counts threads which are not shown."""

    guides: str
    total: int
    done: int
    failed: int


Row = ThreadRow | CountRow


def latest_first(state: TreeState, limit: int) -> Iterator[ThreadState]:
    """Threads in the order in which a live view shows them: those at work, then those with the most recent events."""
    return chain(islice(reversed(state.active.values()), limit), islice(reversed(state.recent.values()), limit))


def top_first(state: TreeState, limit: int) -> Iterator[ThreadState]:
    """Threads in the order in which a summary shows them: some that failed, then level by level."""
    yield from islice(state.failures, limit // 4)
    level = [state.main] if state.main else []
    while level:
        yield from level
        level = list(islice((child for thread in level for child in thread.children), limit))


def lay_out(
    state: TreeState, wanted: Iterable[ThreadState], limit: int | None, glyphs: Glyphs, guide_cells: int
) -> list[Row]:
    """The rows of the tree, at most `limit` of them (all if None).

    Where they do not all fit, the main thread is kept, and of `wanted` as many as there is room for, each with the
    threads above it. Guides deeper than `guide_cells` lose their left part to the thread's depth.
    """
    if state.main is None or (limit is not None and limit < 1):
        return []
    state.settle()
    if limit is None or len(state.threads) <= limit:
        selection = _Selection(state.main, len(state.threads))
        selection.children = {thread: thread.children for thread in state.threads.values()}
        selection.hidden = dict.fromkeys(state.threads.values(), 0)
    else:
        selection = _Selection(state.main, limit)
        for thread in islice(wanted, 8 * limit):
            if selection.rows >= limit:
                break
            selection.add(thread)
        selection.fill()
    return list(_draw(state.main, selection, glyphs, guide_cells))


class _Selection:
    """The threads to draw, and how many are hidden under each of them."""

    def __init__(self, main: ThreadState, limit: int) -> None:
        self.limit = limit
        self.rows = 1 + (main.total > 1)
        self.hidden = {main: main.total - 1}
        self.children: dict[ThreadState, list[ThreadState]] = {main: []}
        self._skipped: dict[ThreadState, ThreadState] = {}

    def add(self, thread: ThreadState) -> None:
        """Draw `thread` and the threads above it, or only the nearest of these if all would take too much room."""
        path: list[ThreadState] = []
        above: ThreadState | None = thread
        while above is not None and above not in self.hidden and above not in self._skipped:
            path.append(above)
            above = above.parent
        if not path or above is None:
            return
        above = self._skipped.get(above, above)
        room = self.limit - self.rows
        kept = path[: max(2, room // 2)][::-1]
        hidden = [upper.total - 1 - lower.total for upper, lower in pairwise(kept)] + [thread.total - 1]
        rest = self.hidden[above] - kept[0].total
        rows = len(kept) + sum(count > 0 for count in hidden) - (rest == 0)
        if rows > room:
            return
        self.rows += rows
        self.hidden[above] = rest
        self.hidden.update(zip(kept, hidden, strict=True))
        self._skipped.update(dict.fromkeys(path[len(kept) :], above))
        for upper, lower in pairwise([above, *kept]):
            self.children[upper].append(lower)
            self.children[lower] = []

    def fill(self) -> None:
        """Show a thread where a row would count it alone: the thread takes that row."""
        for above in [thread for thread, count in self.hidden.items() if count == 1]:
            alone = next((child for child in above.children if child not in self.hidden and child.total == 1), None)
            if alone is not None:
                self.hidden[above] = self.hidden[alone] = 0
                self.children[above].append(alone)
                self.children[alone] = []


def _draw(main: ThreadState, selection: _Selection, glyphs: Glyphs, cells: int) -> Iterator[Row]:
    stack: list[tuple[ThreadState | CountRow, str, str]] = [(main, "", "")]
    while stack:
        item, guides, below = stack.pop()
        if isinstance(item, CountRow):
            yield CountRow(guides, item.total, item.done, item.failed)
            continue
        yield ThreadRow(_shorten(guides, item.depth, cells, glyphs), item)
        entries = _entries(item, selection)
        for place in range(len(entries) - 1, -1, -1):
            last = place == len(entries) - 1
            own = below + (glyphs.last if last else glyphs.branch)
            under = below + (glyphs.blank if last else glyphs.through)
            stack.append((entries[place], own[-cells:], under[-cells:]))


def _entries(thread: ThreadState, selection: _Selection) -> list[ThreadState | CountRow]:
    """The rows under a thread; the count takes the place of the first thread left out."""
    children = sorted(selection.children[thread], key=lambda child: _place(child, thread.depth))
    entries: list[ThreadState | CountRow] = [*children]
    if selection.hidden[thread]:
        gap = 0
        while gap < len(children) and children[gap] is thread.children[gap]:
            gap += 1
        done = thread.done - (thread.phase is Phase.done) - sum(child.done for child in children)
        failed = thread.failed - (thread.phase is Phase.failed) - sum(child.failed for child in children)
        entries.insert(gap, CountRow("", selection.hidden[thread], done, failed))
    return entries


def _place(thread: ThreadState, depth: int) -> tuple[int, str]:
    """Sorting key among what is drawn under a thread of `depth`, which need not be the parent."""
    if thread.depth == depth + 1:
        return thread.index, ""
    return int(thread.path.split(".", depth + 2)[depth + 1]), thread.path


def _shorten(guides: str, depth: int, cells: int, glyphs: Glyphs) -> str:
    if 2 * depth <= cells:
        return guides
    label = f"{depth}{glyphs.ellipsis}"
    return label + guides[len(label) :]
