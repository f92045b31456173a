"""Models by name, `OWNER/REPO[:QUANT]`: fetched once into the cache of `huggingface_hub`, and found there ever after.

The package's own download begins anew when a process is interrupted, and compares sizes alone. Here what has come is
kept beside the cache's files and continued, by the package's own HTTP download, and the SHA-256 that the hub names is
checked before the file is one of the cache's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import at_home, remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = ["chosen", "fetched"]

_NAME: Final = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(:(?P<quant>[\w.-]+))?")
_PART: Final = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf$)")
_PATIENCE: Final = 10.0
"""Seconds within which the hub has to answer anything at all."""
_PREFERRED: Final = ("q4_k_m", "q8_0")
"""The quantisations that are taken where none is named, as llama.cpp's `-hf` does."""


def fetched(name: str, tell: Callable[[str], None] | None = None) -> Path:
    """The file of a model, or its first part; downloaded where the cache does not have it whole.

    Progress is shown on stderr. Without a connection the cache alone counts.

    Raises:
        UserError: there is no such model, it cannot be had, or what came is not what the hub names.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(f"llama:hf:{name}: write llama:hf:OWNER/REPO or llama:hf:OWNER/REPO:QUANT")
    try:
        import huggingface_hub as hub
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise UserError(f"models by name need huggingface_hub ({error}): {remedy('local')}") from None
    repo, quant = match["repo"], match["quant"] or ""
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    with _one_line_errors(name, endpoint):
        try:
            _reach(endpoint)
            files = chosen(hub.HfApi(endpoint=endpoint).list_repo_files(repo), quant, name)
        except (errors.OfflineModeIsEnabled, *_unreachable()) as error:
            kept = _kept(repo, quant, name)
            if not kept:
                raise UserError(
                    f"llama:hf:{name}: {endpoint} cannot be reached, and the cache has no such file"
                ) from error
            return kept[0]
        parts = [_one(repo, file, endpoint, tell) for file in files]
        return parts[0]


def chosen(files: Sequence[str], quant: str, name: str) -> list[str]:
    """The file of a quantisation among those of a repository, or its parts in their order.

    Raises:
        UserError: there is none.
    """
    models = sorted(file for file in files if file.lower().endswith(".gguf") and "mmproj" not in file.lower())
    wanted = [quant] if quant else list(_PREFERRED)
    for each in wanted:
        fitting = [file for file in models if _names(file, each)]
        if fitting:
            return _parts_of(fitting[0], models)
    if models and not quant:
        return _parts_of(models[0], models)
    there = f"; there are {', '.join(Path(each).name for each in models[:8])}" if models else ": it holds no GGUF files"
    raise UserError(f"llama:hf:{name}: the repository has no file {quant or 'of a model'}{there}")


def _names(file: str, quant: str) -> bool:
    base = Path(file).name.lower()
    return quant.lower() in (base, base.removesuffix(".gguf")) or bool(
        re.search(rf"(^|[-._]){re.escape(quant.lower())}([-._]|$)", _PART.sub("", base).removesuffix(".gguf"))
    )


def _parts_of(file: str, files: Sequence[str]) -> list[str]:
    part = _PART.search(file)
    if part is None:
        return [file]
    return [each for each in files if _PART.sub("", each) == _PART.sub("", file)]


def _one(repo: str, file: str, endpoint: str, tell: Callable[[str], None] | None) -> Path:
    """One file, whole and checked."""
    import huggingface_hub
    from huggingface_hub import constants

    hub = cast("Any", huggingface_hub)
    cached = hub.try_to_load_from_cache(repo, file, cache_dir=_cache())
    url = hub.hf_hub_url(repo, file, endpoint=endpoint)
    remote = hub.get_hf_file_metadata(url, endpoint=endpoint)
    if isinstance(cached, str) and (remote.etag is None or Path(cached).resolve().name == remote.etag):
        return Path(cached)
    if remote.etag is None or remote.size is None:
        raise UserError(f"{url} names neither size nor digest of the file, so that it cannot be checked")
    blobs = _cache() / constants.REPO_ID_SEPARATOR.join(["models", *repo.split("/")]) / "blobs"
    if not (blobs / remote.etag).exists():
        _download(remote.location, blobs / remote.etag, remote.size, Path(file).name, tell)
    # Enters it into the cache's folders of snapshots; nothing is left to download.
    return Path(hub.hf_hub_download(repo, file, endpoint=endpoint, cache_dir=_cache()))


def _download(location: str, blob: Path, size: int, file: str, tell: Callable[[str], None] | None) -> None:
    """Download the missing part of a file, check it, and make it one of the cache's."""
    from filelock import FileLock
    from huggingface_hub import file_download, utils

    etag, part = blob.name, blob.with_name(f"{blob.name}.part")
    blob.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{part}.lock"):
        have = part.stat().st_size if part.exists() else 0
        if have > size:
            part.unlink()
            have = 0
        free = shutil.disk_usage(blob.parent).free
        if size - have > free:
            raise UserError(
                f"{file} needs {(size - have) / 1e9:.1f} GB more, and {blob.parent} has {free / 1e9:.1f} GB left"
            )
        if tell:
            tell(f"fetching {file}, {size / 1e9:.2f} GB" + (f", of which {have / size:.0%} are there" if have else ""))
        with part.open("ab") as written:
            cast("Any", file_download).http_get(
                location,
                written,
                resume_size=have,
                headers=cast("Any", utils).build_hf_headers(),
                expected_size=size,
                displayed_filename=file,
            )
        digest = _digest(part)
        if re.fullmatch("[0-9a-f]{64}", etag) and digest != etag:
            part.unlink()
            raise UserError(f"{file} came with the SHA-256 {digest[:16]}…, not {etag[:16]}…: removed; try again")
        part.replace(blob)
    Path(f"{part}.lock").unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(repo: str, quant: str, name: str) -> list[Path]:
    """The files of a model that the cache holds, all parts of it; empty where it does not."""
    folders = sorted(
        _cache().glob(f"models--{repo.replace('/', '--')}/snapshots/*"), key=lambda path: path.stat().st_mtime
    )
    for folder in reversed(folders):
        files = [str(path.relative_to(folder)) for path in folder.rglob("*.gguf") if path.exists()]
        try:
            found = chosen(files, quant, name)
        except UserError:
            continue
        part = _PART.search(found[0])
        if part is None or len(found) == int(part[2]):
            return [folder / file for file in found]
    return []


def _cache() -> Path:
    from huggingface_hub import constants

    return at_home(Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE))


def _reach(endpoint: str) -> None:
    """Ask the hub for anything: `huggingface_hub` tries a listing again for some twenty seconds where nobody answers.

    Raises:
        httpx2.TransportError: it cannot be reached.
        OfflineModeIsEnabled: nothing is to be asked for (`HF_HUB_OFFLINE`).
    """
    import httpx2
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:
        raise errors.OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
    httpx2.head(endpoint, timeout=_PATIENCE)


def _unreachable() -> tuple[type[Exception], ...]:
    import httpx2

    return (httpx2.TransportError,)


@contextmanager
def _one_line_errors(name: str, endpoint: str) -> Generator[None]:
    """Tell in one line what goes wrong inside."""
    from huggingface_hub import errors

    said = f"llama:hf:{name}: "
    try:
        yield
    except UserError:
        raise
    except errors.GatedRepoError:
        raise UserError(f"{said}its authors ask for consent: give it at {endpoint}, and set HF_TOKEN") from None
    except errors.RepositoryNotFoundError:
        raise UserError(f"{said}{endpoint} has no such repository, or it is private: set HF_TOKEN") from None
    except errors.EntryNotFoundError:
        raise UserError(f"{said}the file is listed at {endpoint} and cannot be had there") from None
    except (errors.HfHubHTTPError, *_unreachable()) as error:
        raise UserError(f"{said}{endpoint} failed: {_line(error)}; the same command goes on from here") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else _line(error)
        raise UserError(f"{said}{reason} ({_cache()}); the same command goes on from here") from None
    except ValueError as error:
        raise UserError(f"{said}{_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
