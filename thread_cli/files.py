"""Files that are there wholly or not at all, whatever happens to whoever writes them."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["rename", "written_whole"]

_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_HARDLY_ANY: Final = 2**22
"""Free bytes of a disk that counts as full when writing to it has failed."""
_LONGEST: Final = 60
"""Characters of a file's name that the name of its unfinished part has."""


@contextmanager
def written_whole(target: Path, *, new: bool = False) -> Generator[Path]:
    """The path to write to in place of `target`, which appears when all is written, or not at all.

    It lies in the same folder, as `.NAME….part`, and replaces an older `target` unless that is to be `new`. Several
    processes may write the same file at once. A process that is killed leaves its part behind.

    Raises:
        FileExistsError: `target` is there already, and was to be `new`.
        OSError: it cannot be written, and names `target`; with `ENOSPC` if the disk is full.
    """
    part = target.with_name(f".{target.name[:_LONGEST]}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        part.touch(exist_ok=False)
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if new:
            rename(part, target)
        else:
            part.replace(target)
    except FileExistsError:
        raise
    except OSError as error:
        # Some libraries do not say why they could not write.
        if target.parent.exists() and shutil.disk_usage(target.parent).free < _HARDLY_ANY:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        if error.filename == str(part):
            error.filename, error.filename2 = str(target), None
        raise
    finally:
        with suppress(OSError):  # a part that cannot be removed was never made, and that error is raised already
            part.unlink(missing_ok=True)


def rename(file: Path, name: Path) -> None:
    """Give a file another name in the same file system; raises FileExistsError where that is taken."""
    try:
        name.hardlink_to(file)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if name.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(name)) from None
        file.replace(name)
    file.unlink(missing_ok=True)
