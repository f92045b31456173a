"""The folder of a bench run: its files, and the order of writing in which nothing is lost or counted twice.

A result is complete when its file is there: it is written under another name and then linked to its own, which fails
where there is one already, so the first of two results of an episode stands. Its log is in place before. Logs of
episodes under way have names that nobody reads; those that killed runners leave are removed when the run is complete.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from pydantic import ValidationError

from thread_cli.bench import FailureClass, Result
from thread_cli.bench.plan import Plan
from thread_cli.contracts.errors import ExitCode, UserError
from thread_cli.files import rename, written_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Journal", "unwritable"]


class Journal:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results"
        self.episodes = path / "episodes"
        self.claims = path / "claims"
        self._prompts = path / "prompts"

    @classmethod
    def begin(cls, path: Path, plan: Plan, prompts: Mapping[str, str]) -> Journal:
        """The folder of this plan's run, new or begun before. `prompts` are the few-shot prompts by hash.

        Raises:
            UserError: the folder holds something else, or the run of another plan, or cannot be written.
        """
        journal = cls(path)
        try:
            folders = (journal.results, journal.episodes, journal.claims, journal._prompts)
            if _strange(path, {folder.name for folder in folders}) and not (path / "bench.toml").exists():
                raise UserError(f"{path} holds something else than a bench run: choose another folder for --log")
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            for name, text in prompts.items():
                with suppress(FileExistsError):
                    _write_new(journal._prompts / f"{name}.txt", text.encode())
            with suppress(FileExistsError):
                _write_new(path / "bench.toml", plan.written())
        except OSError as error:
            raise unwritable(path, error) from None
        journal.demand(plan)
        return journal

    @classmethod
    def opened(cls, path: Path) -> tuple[Journal, Plan]:
        """The folder of a run begun before, and its plan; raises UserError where there is none."""
        if not (path / "bench.toml").exists():
            raise UserError(f"{path} holds no bench run (no bench.toml)")
        return cls(path), Plan.read(path / "bench.toml")

    def demand(self, plan: Plan) -> None:
        """Make sure that the run has this plan.

        Raises:
            UserError: it has another plan; the message says what differs.
        """
        recorded = Plan.read(self.path / "bench.toml")
        if not recorded.same_run(plan):
            changed = recorded.difference(plan) or "it was recorded by another version"
            raise UserError(
                f"{self.path} holds another run, and results of two are not mixed: {changed}; choose another --log"
            )

    # --- results

    def keys(self) -> set[str]:
        """The keys of all results."""
        with os.scandir(self.results) as entries:
            return {entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json")}

    def find(self, key: str) -> Result | None:
        """A result; None where there is none.

        Raises:
            UserError: its file is no result.
        """
        return _read(self.results / f"{key}.json", key)

    def read(self, key: str) -> Result:
        """A result; raises UserError as `find` does, and where there is none."""
        result = self.find(key)
        if result is None:
            raise UserError(f"{self.path} holds no result of {key}")
        return result

    def commit(self, result: Result, log: Path) -> bool:
        """Keep a result with its log; False, and nothing is kept, where there is one already."""
        file, final = self.results / f"{result.key}.json", self.episodes / f"{result.key}.jsonl"
        try:
            if file.exists():
                log.unlink(missing_ok=True)
                return False
            if log.exists():
                log.replace(final)
            _write_new(file, result.model_dump_json(indent=1).encode() + b"\n")
        except OSError as error:
            if file.exists():
                return False
            raise unwritable(file, error) from None
        return True

    def set_aside_failures(self) -> int:
        """Let episodes that failed on the infrastructure be played again: their results are kept as earlier attempts.

        Returns their number.
        """
        again = 0
        for key in sorted(self.keys()):
            result = self.find(key)
            if result is not None and result.failure is FailureClass.infrastructure:
                try:
                    again += self._set_aside(key, result.attempts)
                except OSError as error:
                    raise unwritable(self.results / f"{key}.json", error) from None
        return again

    def _set_aside(self, key: str, attempt: int) -> bool:
        """Move the result of this attempt away; False if another runner has done so already."""
        log, file = self.episodes / f"{key}.jsonl", self.results / f"{key}.json"
        with suppress(FileExistsError, FileNotFoundError):
            rename(log, self._kept(key, attempt))
        taken = file.with_name(f".{file.name}.{os.urandom(4).hex()}.part")
        try:
            file.replace(taken)
        except FileNotFoundError:
            return False
        result = _read(taken, key)
        if result is not None and result.attempts == attempt:
            taken.unlink(missing_ok=True)
            return True
        with suppress(FileExistsError, FileNotFoundError):  # it is the next attempt's, which has just come
            rename(taken, file)
        return False

    # --- logs of episodes under way

    def attempt(self, key: str, owner: str) -> Path:
        """The log file of an episode that is being played."""
        return self.episodes / f".{key}.{owner}.part"

    def attempts(self, key: str) -> int:
        """How many attempts at an episode have failed."""
        return next(number for number in count() if not self._kept(key, number + 1).exists())

    def keep_attempt(self, key: str, log: Path) -> None:
        """Keep the log of an attempt that failed."""
        for number in count(self.attempts(key) + 1):
            with suppress(FileExistsError):
                rename(log, self._kept(key, number))
                return

    def tidy(self) -> None:
        """Remove files that killed runners have left, once every episode has its result."""
        for folder in (self.results, self.episodes):
            for unfinished in folder.glob(".*.part"):
                unfinished.unlink(missing_ok=True)

    def _kept(self, key: str, number: int) -> Path:
        return self.episodes / f"{key}.attempt-{number}.jsonl"


def _write_new(path: Path, content: bytes) -> None:
    """Write a file; raises FileExistsError where there is one already."""
    with written_whole(path, new=True) as part:
        part.write_bytes(content)


def _read(file: Path, key: str) -> Result | None:
    try:
        result = Result.model_validate_json(file.read_bytes())
    except ValidationError as error:
        wrong = error.errors()[0]["msg"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    else:
        if result.key == key:
            return result
        wrong = f"its key is {result.key}"
    raise UserError(f"{file} is no result ({wrong}); remove it, and its episode is played again")


def _strange(folder: Path, ours: set[str]) -> bool:
    """Whether a folder holds files that belong neither to an empty folder nor to a run at its very beginning."""
    return any(
        entry.parent.name != "prompts" and entry.name not in ours and "bench.toml" not in entry.name
        for entry in folder.rglob("*")
    )


def unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"the run cannot be recorded: {path}: {error.strerror}", ExitCode.infrastructure)
