"""The folder that the sessions of one interpreter write: measures it, and keeps it within bounds.

Model-written code has made its contents: names, links, depth and modes may be anything.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["effort", "overfull", "remove", "trim"]

_ENTRY: Final = 32_768
"""Bytes that an entry counts besides its content, so that empty files are bounded too."""
_DEPTH: Final = 20


class _Entry(NamedTuple):
    changed: int
    """The file system's time of its last change, in nanoseconds; code cannot set it."""
    size: int
    depth: int
    path: str


def overfull(folder: str, most: int) -> bool:
    """Whether `folder` holds more than `most` bytes, or is nested too deeply."""
    total = 0
    for entry in _entries(folder):
        total += entry.size
        if total > most or entry.depth > _DEPTH:
            return True
    return False


def trim(folder: str, most: int) -> None:
    """Remove the newest files in `folder` until half of `most` is left; all files if it is nested too deeply.

    Nobody may change the folder meanwhile.
    """
    files: list[_Entry] = []
    total = 0
    for entry in _entries(folder):
        total += entry.size
        files.append(entry)
        if entry.depth > _DEPTH or len(files) > 4 * most // _ENTRY:
            _empty(folder)
            return
    # The deeper first, so that folders are empty when their turn comes.
    for entry in sorted(files, key=lambda entry: (entry.changed, entry.depth), reverse=True):
        if total <= most // 2:
            return
        with suppress(OSError):
            path = Path(entry.path)
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            total -= entry.size


def remove(folder: str) -> None:
    """Remove `folder`. Nobody may change it meanwhile."""
    _empty(folder)
    with suppress(OSError):
        Path(folder).rmdir()


def effort(pid: int) -> tuple[int, int]:
    """A process's work on files since it began: bytes written, and clock ticks in the kernel."""
    if sys.platform != "linux":
        return 0, 0
    try:
        counts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[12]
    except OSError:
        return 0, 0
    return int(counts["wchar"]) + int(counts["write_bytes"]), int(ticks)


def _entries(folder: str) -> Iterator[_Entry]:
    pending = [(folder, 1)]
    while pending:
        place, depth = pending.pop()
        with suppress(OSError), os.scandir(place) as found:
            for entry in found:
                with suppress(OSError):
                    about = entry.stat(follow_symlinks=False)
                    size = max(about.st_blocks * 512, about.st_size) + _ENTRY
                    yield _Entry(about.st_ctime_ns, size, depth, entry.path)
                    if depth <= _DEPTH and entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, depth + 1))


def _empty(folder: str) -> None:
    """Remove all in `folder`: nested folders are moved up first, as no path is long enough to reach their bottom."""
    pending = [folder]
    moved = 0
    while pending:
        place = pending.pop()
        with suppress(OSError):
            Path(place).chmod(0o700)
        with suppress(OSError), os.scandir(place) as found:
            entries = list(found)
            for entry in entries:
                with suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        Path(entry.path).unlink()
                    else:
                        target = entry.path
                        if place != folder:
                            Path(entry.path).chmod(0o700)
                            moved += 1
                            target = str(Path(folder, f"thread-{os.getpid()}-{moved}"))
                            Path(entry.path).rename(target)
                        pending.append(target)
        if place != folder:
            with suppress(OSError):
                Path(place).rmdir()
