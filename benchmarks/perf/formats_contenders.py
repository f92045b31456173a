"""The contenders of `formats.py`: how each is had, and the process that it runs in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OLD", "OURS", "Child", "Contender", "Died", "contenders"]

OURS, OLD = "thread", "a37971d"
ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("formats_worker.py")
PATCH = Path(__file__).with_name("a37971d.patch")
IK = "ik-llama-cpp-python"
PATIENCE = 900.0
"""Seconds after which a contender that does not answer is ended."""


class Died(Exception):
    """A contender's process ended, or did not answer; says by which signal, and its last line."""


@dataclass(frozen=True)
class Variant:
    """One way to run a contender; `name` says in what it differs from the first one."""

    name: str = ""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    path: Path | None = None
    """The folder that its packages come from, before this interpreter's own."""


@dataclass(frozen=True)
class Contender:
    """A way to run a model. Its variants are tried in order: the first that lives takes part."""

    name: str
    kind: str
    variants: tuple[Variant, ...] = (Variant(),)
    interpreter: Path = Path(sys.executable)

    def start(self, variant: Variant, model: Path, threads: int) -> Child:
        arguments = [self.kind, str(model), str(threads), json.dumps(variant.options)]
        place = {} if variant.path is None else {"PYTHONPATH": str(variant.path)}
        return Child([str(self.interpreter), str(WORKER), *arguments], place)


class Child:
    """A worker's process, which is stopped wherever it is not asked anything: no thread of it waits busily while others
    are measured. `told` is what it says of itself.

    Raises:
        Died: from every call, if the process has ended or does not answer.
    """

    def __init__(self, command: list[str], place: dict[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- kept until the process has ended
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **place},
        )
        self.told = str(self._answer()["told"])

    def ask(self, **what: int) -> dict[str, float]:
        if self._process.stdin is None:
            raise AssertionError
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Died(self._end()) from None
        return self._answer()

    def close(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise AssertionError
        late = threading.Timer(PATIENCE, self._process.kill)
        began = time.monotonic()
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            reason = self._end()
            self.close()
            raise Died(f"no answer in {PATIENCE:.0f} s" if time.monotonic() - began >= PATIENCE else reason)
        self._process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def _end(self) -> str:
        """Why it ended."""
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        last = f": {lines[-1].strip()[:160]}" if lines else ""
        return f"{signal.Signals(-status).name if status < 0 else f'exit code {status}'}{last}"


def contenders(folder: Path, path: str | None, tell: Callable[[str], None]) -> tuple[list[Contender], list[str]]:
    """All that can run here, ours first; and lines on those that cannot, with the reason.

    What has to be installed lies in `folder` from then on. `path`: what ours multiplies by, if not by the best.
    """
    own = Variant(options={"path": path} if path else {})
    found, without = [Contender(OURS, "thread", (own,))], list[str]()
    for make in (_old, _llama, _server, _ik):
        try:
            found.append(make(folder, tell))
        except (OSError, subprocess.CalledProcessError) as error:
            without.append(f"{make.__name__[1:]}: {_last_line(error)}")
    return found, without


def _last_line(error: OSError | subprocess.CalledProcessError) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return (text or str(error)).strip().splitlines()[-1]


def _old(folder: Path, tell: Callable[[str], None]) -> Contender:
    """The commit before the kernels for many formats; where llama.cpp's extra buffers kill it, patched to have none."""
    plain, patched = folder / OLD, folder / f"{OLD}-patched"
    for target, patch in ((plain, None), (patched, PATCH)):
        if not (target / "done").is_file():
            tell(f"installing {target.name}")
            _install_commit(target, patch)
    return Contender(OLD, "thread", (Variant(path=plain), Variant(", without extra buffers (patched)", path=patched)))


def _install_commit(target: Path, patch: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        archive = subprocess.run(["git", "-C", ROOT, "archive", OLD], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", name], check=True, capture_output=True, input=archive)
        if patch is not None:
            _run("patch", "-p1", "-d", name, "-i", str(patch))
        _pip(sys.executable, "--no-deps", "--no-build-isolation", "--upgrade", "--target", str(target), name)
    if not list(target.glob("thread_cli/models/llama/_kernels*")):
        raise OSError("its kernels were not compiled: is there a C compiler?")
    (target / "done").touch()


def _llama(folder: Path, tell: Callable[[str], None]) -> Contender:
    del folder, tell
    return Contender("llama.cpp", "llama", (Variant(), Variant(", without extra buffers", {"plain": True})))


def _server(folder: Path, tell: Callable[[str], None]) -> Contender:
    del folder, tell
    if find_spec("xllamacpp") is None:
        raise OSError("xllamacpp is not installed: it comes with the extra `dev`")
    return Contender("xllamacpp", "xllamacpp", (Variant(), Variant(", without extra buffers", {"plain": True})))


def _ik(folder: Path, tell: Callable[[str], None]) -> Contender:
    """In an environment of its own: its wheel lays libraries named as llama.cpp's beside the packages."""
    interpreter = folder / "ik" / "bin" / "python"
    if not (folder / "ik" / "done").is_file():
        tell(f"installing {IK}")
        _run(sys.executable, "-m", "venv", str(folder / "ik"))
        _pip(str(interpreter), IK)
        (folder / "ik" / "done").touch()
    variants = (
        Variant(", repacked", {"repack": True}),
        Variant(),
        Variant(", without flash attention", {"flash": False}),
    )
    return Contender("ik_llama.cpp", "ik", variants, interpreter)


def _pip(interpreter: str, *arguments: str) -> None:
    _run(interpreter, "-m", "pip", "--disable-pip-version-check", "install", "-q", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
