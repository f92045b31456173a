"""What every stage of preparing a model does: tell how far it is, and write its file as a whole or not at all."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from thread_cli.files import written_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

__all__ = ["digest_of", "stage", "written"]

_ABANDONED: Final = 3600.0
"""Seconds after which nobody is still writing a file that has not changed."""
_PAUSE: Final = 2.0
"""Seconds between two lines of one stage."""
_PIECE: Final = 2**24


def stage(tell: Callable[[str], None], name: str) -> Callable[[float], None]:
    """Tell that a stage begins; the returned function takes the share done, and sometimes tells the time left."""
    began = last = time.monotonic()
    tell(name)

    def done(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PAUSE or not 0 < share < 1:
            return
        last = now
        left = round((now - began) * (1 - share) / share)
        tell(f"{name}: {share:.0%}, {left // 60} min {left % 60:02} s left")

    return done


def digest_of(paths: Sequence[Path], done: Callable[[float], None] = lambda _: None) -> str:
    """16 hexadecimal digits that follow from the contents of these files, in this order; of SHA-256.

    Raises:
        OSError: one cannot be read.
    """
    total, read = sum(path.stat().st_size for path in paths), 0
    digests: list[str] = []
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                read += len(piece)
                done(read / max(1, total))
        digests.append(digest.hexdigest())
    combined = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return combined[:16]


@contextmanager
def written(target: Path) -> Generator[Path]:
    """The path to write to in place of `target`, which appears when all is written, or not at all.

    As `files.written_whole`, in a folder of our own, which is made where there is none. What killed processes have
    left in it is removed some time later.

    Raises:
        OSError: the folder cannot be written to; with `ENOSPC` if the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    with written_whole(target) as part:
        yield part


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
