"""Bringing ALFWorld's official games to the data folder: resumable, verified, never half there.

The archive is the one that `alfworld-download` fetches the text games from. Files that are there are not asked for
again; an archive is kept as `….part` until it is whole, and unpacked beside its destination before it is moved there.
"""

from __future__ import annotations

import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPResponse

__all__ = ["download"]

_RELEASES: Final = "https://github.com/alfworld/alfworld/releases/download"
_MIRROR: Final = "THREAD_ALFWORLD_URL"
_ARCHIVE: Final = "0.4.0/json_2.1.2_tw-pddl.zip"
_CHUNK: Final = 1 << 20
_TIMEOUT: Final = 60.0  # seconds without a byte
_TRIES: Final = 5
"""Tries in a row that bring nothing new; a try that got further does not count."""
_PAUSE: Final = 1.0  # seconds, doubled at each try that brought nothing
_TOLD: Final = 10.0  # seconds between two lines about the progress


def download(folder: Path, tell: Callable[[str], None]) -> None:
    """Bring the games below `folder`, from `$THREAD_ALFWORLD_URL` or else from ALFWorld's releases.

    Raises:
        UserError: the server cannot be reached, what it sends is no such archive, or the folder cannot be written.
    """
    url = f"{os.environ.get(_MIRROR, _RELEASES).rstrip('/')}/{_ARCHIVE}"
    archive = folder / Path(_ARCHIVE).name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            tell(f"downloading {url}")
            _fetch(url, archive, tell)
        tell(f"unpacking {archive.name} into {folder}")
        _unpack(archive, folder)
        archive.unlink()
    except OSError as error:
        raise UserError(f"ALFWorld's games cannot be written to {folder}: {error.strerror or error}") from None


def _fetch(url: str, archive: Path, tell: Callable[[str], None]) -> None:
    """Fetch `url`, going on at the end of what an earlier try has left, until all of it is there."""
    part = archive.with_name(archive.name + ".part")
    failed, pause = 0, _PAUSE
    while True:
        before = _size(part)
        try:
            _fetch_rest(url, part, tell)
        except (HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise UserError(f"{url}: the server answers {error.code} {error.reason}") from None
            failed = failed + 1 if _size(part) <= before else 0
            reason = getattr(error, "reason", None) or error
            if failed == _TRIES:
                raise UserError(
                    f"{url}: {reason}; {_size(part) >> 20} MB are kept in {part}: run the command again to go on"
                ) from None
            tell(f"the connection broke off ({reason}), trying again")
            time.sleep(pause if failed else 0)
            pause = pause * 2 if failed else _PAUSE
        else:
            part.replace(archive)
            return


def _fetch_rest(url: str, part: Path, tell: Callable[[str], None]) -> None:
    """One try; raises an error of the connection where it ends before the whole is there."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - http or https
    try:
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 416 or error.headers.get("Content-Range") != f"bytes */{have}":
                raise
            return
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        have = file.tell()
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        last_line = time.monotonic()
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            if time.monotonic() - last_line > _TOLD:
                last_line = time.monotonic()
                tell(f"{have >> 20} MB" + (f" of {total >> 20} MB" if total else ""))
    if total is not None and have < total:
        raise ConnectionError(f"{have} of {total} bytes came")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive beside its destination, checking each file's sum, and move its files there one by one."""
    beside = folder / f".{archive.name}.unpacked"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(beside)  # keeps members below the folder, and raises on a wrong sum
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        archive.unlink()
        raise UserError(f"{archive.name} was damaged ({error}) and has been removed: run the command again") from None
    for file in sorted(beside.rglob("*")):
        goal = folder / file.relative_to(beside)
        if file.is_dir():
            goal.mkdir(exist_ok=True)
        else:
            file.replace(goal)
    shutil.rmtree(beside)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
