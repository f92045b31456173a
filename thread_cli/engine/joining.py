"""What children are spawned with, and how their results join."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thread_cli.contracts.errors import ChildFailed, Ending
from thread_cli.contracts.events import Joined
from thread_cli.contracts.protocol import Act, Result, Spawn
from thread_cli.contracts.writer import Feedback

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from thread_cli.contracts.protocol import Await, Child, Segment
    from thread_cli.engine.episode import Recorder
    from thread_cli.engine.thread import Thread

__all__ = ["join", "joined", "lines_of", "refuse_failed", "said"]


def said(line: str | Child) -> str:
    """The line that a parent wrote to spawn a child."""
    return line if isinstance(line, str) else line.line


def lines_of(move: Spawn | Await | Act) -> list[str]:
    """The lines that a move carries out."""
    if isinstance(move, Spawn):
        return [said(line) for line in move.lines]
    return [move.line] if isinstance(move, Act) else []


def refuse_failed(results: Iterable[Result]) -> None:
    """Raises ChildFailed where one of the children has failed."""
    for result in results:
        if result.how is Ending.failed:
            raise ChildFailed(result.text)


def join(
    recorder: Recorder,
    thread: Thread,
    written: str,
    children: Sequence[Thread | Result],
    results: Sequence[Result],
    *,
    paths: Sequence[str | None],
) -> str:
    """Merge the names of children into those of their parent, and append their results to its Y; returns the text.

    `written` is what the parent wrote until it listened. For each child there is the thread, or the account of why it
    could not be born; its result; and its path, None where it has none.
    """
    thread.names.join([child.names for child in children if not isinstance(child, Result)])
    text, segments = joined(thread.protocol.join(results), paths)
    thread.read(written, text, Feedback("joined", "\n".join([result.text for result in results]), tuple(results)))
    born = tuple([path for path in paths if path is not None])
    rare: dict[str, Any] = {"segments": segments} if segments else {}
    recorder.emit(Joined, thread, children=born, text=text, **rare)
    return text


def joined(
    parts: str | Sequence[Segment], writers: Sequence[str | None] = ()
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The text of the parts. For segments also the path of each one's writer (empty where no thread wrote it) and its
    length in characters.

    `writers` are the children's paths in spawn order, None for a child that was refused.
    """
    if isinstance(parts, str):
        return parts, ()
    origins = [((writers[part.child] or "") if part.child is not None else "", len(part.text)) for part in parts]
    return "".join(part.text for part in parts), tuple(origins)
