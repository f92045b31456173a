"""The folder of a bench run: what is kept, and in which order it is written so that nothing is lost or counted twice.

A result is complete when its file is there: it is written under another name and then linked to its own, which fails
where there is one already, so the first of two results of an episode stands. Its log is in place before. Logs of
episodes under way have names that nobody reads; what a killed runner leaves of them is swept away when its episode is
claimed anew.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from thread_cli.bench import FailureClass, Result
from thread_cli.bench.plan import Plan
from thread_cli.engine.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Journal"]

_FAILED: Final = 4
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


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
            if path.is_dir() and not (path / "bench.toml").exists() and any(path.iterdir()):
                raise UserError(f"{path} holds something else than a bench run: choose another folder for --log")
            for folder in (journal.results, journal.episodes, journal.claims, journal._prompts):
                folder.mkdir(parents=True, exist_ok=True)
            for name, text in prompts.items():
                with suppress(FileExistsError):
                    _write_new(journal._prompts / f"{name}.txt", text.encode())
            with suppress(FileExistsError):
                _write_new(path / "bench.toml", plan.written())
        except OSError as error:
            raise _unwritable(path, error) from None
        journal.demand(plan)
        return journal

    @classmethod
    def opened(cls, path: Path) -> tuple[Journal, Plan]:
        """The folder of a run begun before, and its plan; raises UserError where there is none."""
        if not (path / "bench.toml").exists():
            raise UserError(f"{path} holds no bench run (no bench.toml)")
        return cls(path), Plan.read(path / "bench.toml")

    def demand(self, plan: Plan) -> None:
        """Make sure that the run is the one of this plan.

        Raises:
            UserError: it is another's; the message says what differs.
        """
        recorded = Plan.read(self.path / "bench.toml")
        if recorded.identity != plan.identity:
            changed = recorded.difference(plan) or "it was recorded by another version"
            raise UserError(
                f"{self.path} holds another run, and results of two are not mixed: {changed}; choose another --log"
            )

    # --- results

    def keys(self) -> set[str]:
        """The keys of all results."""
        with os.scandir(self.results) as entries:
            return {entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json")}

    def has(self, key: str) -> bool:
        return (self.results / f"{key}.json").exists()

    def read(self, key: str) -> Result:
        """A result.

        Raises:
            UserError: its file is no result.
        """
        file = self.results / f"{key}.json"
        try:
            return Result.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise UserError(
                f"{file} is no result ({error.errors()[0]['msg']}); remove it, and its episode is played again"
            ) from None
        except OSError as error:
            raise UserError(f"{file}: {error.strerror}") from None

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
            raise _unwritable(file, error) from None
        return True

    def set_aside_failures(self) -> int:
        """Let episodes that failed on the infrastructure be played again: their results are kept as earlier attempts.

        Returns how many there are.
        """
        again = 0
        for key in sorted(self.keys()):
            if self.read(key).failure is not FailureClass.infrastructure:
                continue
            log = self.episodes / f"{key}.jsonl"
            if log.exists():
                self.keep_attempt(key, log)
            (self.results / f"{key}.json").unlink(missing_ok=True)
            again += 1
        return again

    # --- logs of episodes under way

    def attempt(self, key: str, owner: str) -> Path:
        """Where the log of an episode that is being played is written."""
        return self.episodes / f".{key}.{owner}.part"

    def attempts(self, key: str) -> int:
        """How many attempts at an episode have failed."""
        return sum(1 for _ in self._kept(key))

    def keep_attempt(self, key: str, log: Path) -> None:
        """Keep the log of an attempt that failed."""
        for number in range(self.attempts(key) + 1, 1_000_000):
            kept = self.episodes / f"{key}.attempt-{number}.jsonl"
            try:
                kept.hardlink_to(log)
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise _unwritable(kept, error) from None
                log.replace(kept)
            log.unlink(missing_ok=True)
            return

    def sweep(self, key: str, owner: str) -> None:
        """Remove what a runner that is gone has left of an episode."""
        self.attempt(key, owner).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed runners have left, once every episode has its result."""
        for folder in (self.results, self.episodes, self._prompts):
            for unfinished in folder.glob(".*.part"):
                unfinished.unlink(missing_ok=True)

    def _kept(self, key: str) -> Iterator[Path]:
        for number in range(1, 1_000_000):
            kept = self.episodes / f"{key}.attempt-{number}.jsonl"
            if not kept.exists():
                return
            yield kept


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is there wholly or not at all; raises FileExistsError where there is one already."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(unfinished)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"the run cannot be recorded: {path}: {error.strerror}", _FAILED)
