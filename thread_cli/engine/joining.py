"""The lines that spawn children, and the text in which the children's results join."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.contracts.protocol import Child, Segment

__all__ = ["joined", "said"]


def said(line: str | Child) -> str:
    """The line that a parent wrote to spawn a child."""
    return line if isinstance(line, str) else line.line


def joined(
    parts: str | Sequence[Segment], writers: Sequence[str | None] = ()
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The text of the parts. For segments also the path of each one's writer (empty where no thread wrote it) and its
    length in characters.

    `writers` are the children's paths in spawn order, None for a child that was refused.
    """
    if isinstance(parts, str):
        return parts, ()
    told = [((writers[part.child] or "") if part.child is not None else "", len(part.text)) for part in parts]
    return "".join(part.text for part in parts), tuple(told)
