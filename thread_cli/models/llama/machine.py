"""What decides how this machine computes models: its processor, its GPUs, and the libraries that are installed."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["build", "digest_of_text", "gpus", "installed", "processor"]

_KERNELS: Final = "thread_cli.models.llama._kernels"
_TELLING: Final = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features", "CPU part")


def processor() -> dict[str, str]:
    """What the system says of the first processor."""
    try:
        first = Path("/proc/cpuinfo").read_text("utf-8", "replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() in _TELLING}


def gpus() -> tuple[str, ...]:
    """The names of NVIDIA's GPUs."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = (line for path in files for line in path.read_text("utf-8", "replace").splitlines())
    return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Model:"))


def build() -> str:
    """The version of llama-cpp-python, and a digest of its libraries' names and sizes, and of our own kernels' size."""
    try:
        number = version("llama-cpp-python")
    except PackageNotFoundError:
        number = "unknown"
    return f"{number} {digest_of_text(repr([(name, path.stat().st_size) for name, path in _libraries()]))}"


def installed() -> str:
    """A digest of this processor and of what `build` tells of, as it was installed: again installed, it is another."""
    libraries = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in _libraries()]
    return digest_of_text(repr((sorted(processor().items()), build(), libraries)))


def _libraries() -> list[tuple[str, Path]]:
    found = find_spec("llama_cpp")
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    libraries = sorted((path.name, path) for each in folders for path in Path(each, "lib").glob("*"))
    kernels = find_spec(_KERNELS)
    if kernels is not None and kernels.origin is not None:
        libraries.append((_KERNELS, Path(kernels.origin)))
    return libraries


def digest_of_text(text: str) -> str:
    """16 hexadecimal digits that follow from a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
