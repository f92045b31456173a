"""Runs one command of the set-up and tells, at least every ten seconds, what it is doing and for how long."""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import threading
import time
from typing import IO, TYPE_CHECKING, Final, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Ran", "Teller", "duration"]

_STEP: Final = re.compile(r"\s*\[\s*(?:(\d+)/(\d+)|(\d+)%)\]")
"""How far ninja (`[3/70]`) or make (`[ 12%]`) is."""
_PACKAGE: Final = re.compile(r"Collecting ([\w.-]+)")
"""Which package comes next; what is indented belongs to the environments that packages are built in."""
_DOING: Final = (
    (re.compile(r"\s*WARNING: Retrying \("), "the package index does not answer, pip tries again"),
    (re.compile(r"\s*Collecting ([\w.-]+)"), "looking up {0}"),
    (
        re.compile(r"\s*Downloading (?:\S*/)?([\w.+-]+?)(?:\.whl|\.tar\.gz)?(?:\.metadata)? (\(.+\))"),
        "downloading {0} {1}",
    ),
    (re.compile(r"\s*Using cached ([\w.+-]+?)(?:\.whl|\.tar\.gz) "), "taking {0} from pip's cache"),
    (re.compile(r"\s*Running command (?:Building|Preparing) \w+ for ([\w.-]+)"), "building {0}"),
    # Some packages compile as early as when they are asked what they need; pip does not say whose turn that is.
    (re.compile(r"\s*Running command (?:Getting requirements|Preparing metadata)"), "building {package}"),
    (re.compile(r"\s*Building wheels? for (?:collected packages: )?([\w.-]+)"), "building {0}"),
    (
        re.compile(r"\s*Running command (?:pip subprocess to )?[Ii]nstall(?:ing)? build dependencies"),
        "fetching build tools",
    ),
    (re.compile(r"\s*Installing collected packages: (.+)"), "unpacking {count}"),
)
"""What lines of pip's output mean. A line that is none of them changes nothing: the clock goes on all the same."""


class Ran(NamedTuple):
    """What came of a command: its exit status, every line of its output, and the seconds that it took."""

    status: int
    lines: list[str]
    seconds: float


class Teller:
    """Prints how the set-up goes, and keeps all output of its commands in a log file.

    While a command runs, a line is printed every `silence` seconds; on a terminal, one line is renewed every second.
    """

    def __init__(self, log: Path, out: TextIO, *, silence: float = 5.0) -> None:
        self.log = log
        self._out = out
        self._every = 1.0 if out.isatty() else silence
        self._terminal = out.isatty()
        self._transient = False

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._out.write(f"{self._rubber()}{text}\n")
        self._out.flush()
        self._transient = False

    def run(
        self,
        title: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        doing: str = "starting",
        unit: str = "",
    ) -> Ran:
        """Run a command under a title, `doing` being said until its output says more.

        Where its output counts steps, they are told as steps of `unit`, or else of what is being done. Raises
        KeyboardInterrupt after the command has ended too, and OSError if it cannot be started or the log cannot be
        written.
        """
        began = time.monotonic()
        state = _State(title, doing, unit)
        with (
            self.log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            ) as process,
        ):
            try:
                log.write(f"$ {' '.join(command)}\n")
                lines = self._follow(process.stdout, log, state)
                status = process.wait()
            except KeyboardInterrupt:
                # Ctrl-C has reached the command as well, a signal to this process alone has not.
                try:
                    process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    process.terminate()
                raise
            except OSError:
                process.terminate()
                raise
        return Ran(status, lines, time.monotonic() - began)

    def _follow(self, output: IO[str] | None, log: TextIO, state: _State) -> list[str]:
        """Copy the lines of a command to the log as they arrive, and print its state now and then, until they end."""
        lines: list[str] = []
        told = time.monotonic()
        arriving = _lines_of(output)
        while True:
            try:
                line = arriving.get(timeout=self._every / 4)
            except queue.Empty:
                line = ""
            if line is None:
                return lines
            if line:
                log.write(line)
                log.flush()
                lines.append(line.rstrip("\n"))
                state.read(line)
            if time.monotonic() - told >= self._every:
                told = time.monotonic()
                self._renew(str(state))

    def _renew(self, text: str) -> None:
        if not self._terminal:
            self.say(text)
            return
        width = shutil.get_terminal_size().columns - 1
        self._out.write(f"{self._rubber()}{text[:width]}")
        self._out.flush()
        self._transient = True

    def _rubber(self) -> str:
        return "\r\x1b[K" if self._transient else ""


class _State:
    """What a command is doing, for how long and how far it is, by what it has printed so far."""

    def __init__(self, title: str, doing: str, unit: str) -> None:
        self._title = title
        self._doing = doing
        self._unit = unit
        self._package = "this project"
        self._began = time.monotonic()
        self._step: tuple[int, int] | None = None
        self._first: tuple[float, int] | None = None
        """When the first step was done, and which one that was."""

    def read(self, line: str) -> None:
        """Take in a line of output."""
        if counted := _STEP.match(line):
            done, total, percent = counted.groups()
            self._step = (int(percent), 100) if percent else (int(done), int(total))
            self._first = self._first or (time.monotonic(), self._step[0])
            return
        if package := _PACKAGE.match(line):
            self._package = package[1]
        for pattern, meaning in _DOING:
            if found := pattern.match(line):
                self._step = self._first = None
                count = found.group(0).count(",") + 1
                packages = f"{count} package{'s' if count > 1 else ''}"
                self._doing = meaning.format(*found.groups(), count=packages, package=self._package)
                return

    def __str__(self) -> str:
        """All that in words."""
        now = time.monotonic()
        said = f"{self._title}, {duration(now - self._began)}: "
        if self._step is None or self._first is None:
            return said + self._doing
        done, total = self._step
        said += f"{self._unit or self._doing}, step {done} of {total}"
        began, first = self._first
        # The first few steps say little about the others.
        if (done - first) * 10 < total or done == total:
            return said
        left = (now - began) / (done - first) * (total - done)
        return f"{said}, about {duration(left) if left < 60 else f'{round(left / 60)} min'} left"


def duration(seconds: float) -> str:
    """Seconds as people write them: `8 s`, `3 min 20 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def _lines_of(stream: IO[str] | None) -> queue.Queue[str | None]:
    """The lines of a stream as they arrive, None after the last."""
    arriving: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream or ():
            arriving.put(line)
        arriving.put(None)

    threading.Thread(target=read, daemon=True).start()
    return arriving
