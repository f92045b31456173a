"""Says why a command of the set-up failed, from what it printed, and what to install or do about it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Advice", "advise"]

_PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
_COMPILER: Final = (
    "install one (Debian and Ubuntu: `sudo apt-get install build-essential`, Fedora: `sudo dnf install gcc-c++ make`, "
    "macOS: `xcode-select --install`)"
)
_FULL: Final = (
    "the disk is full: free some space where this folder, TMPDIR (else /tmp) and pip's cache lie; `make run` needs "
    "about 1 GB, `make test` 3 GB, and 10 GB where torch comes with its libraries for GPUs"
)
_MEMORY: Final = "the memory is full: end other programs, or compile on one core with `CMAKE_BUILD_PARALLEL_LEVEL=1`"
_VENV: Final = (
    "this Python cannot make virtual environments: install its module for that (Debian and Ubuntu: "
    f"`sudo apt-get install {_PYTHON}-venv`)"
)
_SETTINGS: Final = "check the network, the proxy (`HTTPS_PROXY`) and pip's settings (`pip config list`)"
_NETWORK: Final = f"the package index cannot be reached: {_SETTINGS}"
_INDEX: Final = f"the package index does not answer, or does not have the versions in constraints.txt: {_SETTINGS}"
_HEADERS: Final = (
    "the headers of Python are missing: install them (Debian and Ubuntu: "
    f"`sudo apt-get install {_PYTHON}-dev`, Fedora: `sudo dnf install python3-devel`)"
)
_MAKE: Final = f"there is neither make nor ninja to build with: {_COMPILER}"
_CMAKE: Final = (
    "there is no recent CMake: install it (Debian and Ubuntu: `sudo apt-get install cmake`, Fedora: `sudo dnf install "
    "cmake`, or `pip install cmake`)"
)
_DAMAGED: Final = "the environment in .venv is damaged: run `make clean`, then try again"

# The first cause with a sign wins: a full disk makes compilers fail too, and without a network no build tool arrives.
_CAUSES: Final[dict[str, tuple[str, ...]]] = {
    _FULL: (r"No space left on device", r"Errno 28\b", r"Disk quota exceeded"),
    _MEMORY: (
        r"Killed signal terminated program",
        r"virtual memory exhausted",
        r"out of memory allocating",
        r"\bcannot allocate memory",
    ),
    _VENV: (r"ensurepip is not available", r"No module named '?(?:venv|ensurepip)"),
    _NETWORK: (
        r"NewConnectionError",
        r"NameResolutionError",
        r"Temporary failure in name resolution",
        r"Failed to establish a new connection",
        r"ConnectTimeoutError",
        r"ReadTimeoutError",
        r"ProxyError",
        r"SSLError",
        r"Connection refused",
        r"Network is unreachable",
    ),
    # Without a build program CMake does not look for a compiler, and misses it as well.
    _MAKE: (
        r"unable to find a build program corresponding to",
        r"CMAKE_MAKE_PROGRAM is not set",
        r"Could not find ninja",
        r"\b(?:make|ninja): (?:command )?not found",
    ),
    f"there is no C and C++ compiler: {_COMPILER}": (
        r"No CMAKE_C(?:XX)?_COMPILER could be found",
        r"is not a full path and was not found in the PATH",
        r"CMAKE_C(?:XX)?_COMPILER not set",
        r"command '?\S*(?:cc|g\+\+|c\+\+|clang)'? failed: No such file",
        r"unable to execute '?\S*(?:cc|g\+\+|c\+\+|clang)'?: No such file",
        r"\b(?:g?cc|g\+\+|c\+\+): (?:command )?not found",
        r"No such file or directory: '(?:g?cc|g\+\+|c\+\+)'",
    ),
    f"the C and C++ compiler does not work, or a part of it is missing: {_COMPILER}": (
        r"is not able to compile a simple test program",
        r"cannot find -l(?:c|m|stdc\+\+)\b",
        r"cannot execute .?cc1",
        r"Could not find compiler set in environment variable",
    ),
    _HEADERS: (r"fatal error: '?Python\.h'?(?: file not found|: No such file)",),
    f"the header {{0}} is missing, which comes with a compiler: {_COMPILER}": (
        r"fatal error: '?([\w/.+-]+)'?(?: file not found|: No such file)",
    ),
    _CMAKE: (
        r"Could not find CMake",
        r"CMake [\d.]+ or higher is required",
        r"No such file or directory: '?cmake",
        r"\bcmake: (?:command )?not found",
    ),
    f"the compiler is too old for C++17: {_COMPILER}": (
        r"unrecognized command[- ]line option .-std=",
        r"no known features for CXX compiler",
        r"target requires the language dialect",
    ),
    _INDEX: (r"No matching distribution found for", r"ResolutionImpossible"),
    "it was interrupted: the same command goes on with it": (r"Operation cancelled by user",),
    _DAMAGED: (r"No module named '?pip\b", r"externally-managed-environment"),
}
_SIGNS: Final = [(re.compile("|".join(signs), re.IGNORECASE), cause) for cause, signs in _CAUSES.items()]
_UNKNOWN: Final = "the lines above are what it said about it"


class Advice(NamedTuple):
    """The lines of output that show what failed, and one sentence that says what is wrong and what to do."""

    excerpt: list[str]
    sentence: str


def advise(lines: Sequence[str]) -> Advice:
    """Why a command that printed these lines failed, as far as its output tells."""
    for sign, cause in _SIGNS:
        for number, line in enumerate(lines):
            if found := sign.search(line):
                named = next((group for group in found.groups() if group), "")
                return Advice(_around(lines, number), cause.format(named))
    errors = [number for number, line in enumerate(lines) if re.search(r"error:", line, re.IGNORECASE)]
    return Advice(_around(lines, errors[0] if errors else len(lines)), _UNKNOWN)


def _around(lines: Sequence[str], number: int) -> list[str]:
    """The lines around one of them, without empty ones and without the far end of long ones."""
    near = [line for line in lines[max(0, number - 6) : number + 10] if line.strip()]
    return [line if len(line) <= 200 else f"{line[:200]}…" for line in near]
