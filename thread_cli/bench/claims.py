"""Claims of episodes, for several runners that share a run's folder: no broker, only files.

A claim is a file that is created if it is not there. It names its owner, and each owner has a file that it touches as
long as it lives. An owner is gone when that file does not change for a while, or, on the same machine, when its process
is gone. The watching runner measures that time itself, so no clock has to be right. Claims only spare work: should two
ever play the same episode, still only one result is kept (see `journal.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["BEAT", "STALE", "Claims", "Owner"]

BEAT: Final = 5.0
"""Seconds between two touches."""
STALE: Final = 60.0
"""Seconds without a touch, as watched by another, after which an owner counts as gone."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A runner. `machine` distinguishes machines, their boots and their process namespaces; `started` distinguishes
    processes.
    """

    id: str
    host: str
    machine: str
    pid: int
    started: str

    @classmethod
    def myself(cls) -> Self:
        host, pid = socket.gethostname(), os.getpid()
        token = os.urandom(4).hex()
        return cls(f"{_plain(host)}-{pid}-{token}", host, _machine(), pid, _started(pid))

    @property
    def surely_gone(self) -> bool:
        """Whether its process is known to be gone; False for processes of other machines."""
        if not self.machine or self.machine != _machine():
            return False
        return bool(self.started) and _started(self.pid) != self.started


class Claims:
    """The claims in a folder, as one runner holds and sees them."""

    def __init__(self, folder: Path, *, beat: float = BEAT, stale: float = STALE) -> None:
        self.owner = Owner.myself()
        self._folder = folder
        self._beat, self._stale = beat, stale
        self._seen: dict[str, tuple[int | None, float]] = {}
        """For each watched file its time of change, on the file system's clock, and since when it has been the same, on
        ours.
        """

    @asynccontextmanager
    async def alive(self) -> AsyncGenerator[None]:
        """Touch the owner's file as long as the block lasts."""
        self._touch()
        beating = asyncio.create_task(self._keep_touching(), name="heart-beat")
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
            self._sign(self.owner.id).unlink(missing_ok=True)

    def take(self, key: str) -> bool:
        """Claim an episode; returns whether it is ours now."""
        if self._create(key):
            return True
        held = self._holder(key)
        gone = self._unchanged(self._folder / key) if held is None else self._gone(held)
        return gone and self._remove_stale(key, held) and self._create(key)

    def release(self, key: str) -> None:
        """Give a claim back, unless another runner has taken it over."""
        held = self._holder(key)
        if held == self.owner:
            (self._folder / key).unlink(missing_ok=True)

    def tidy(self, done: set[str]) -> None:
        """Remove files of runners that are gone: their claims of finished episodes, and their own files."""
        for file in list(self._folder.iterdir()):
            key = file.name.removesuffix(".alive")
            owner = self._holder(file.name)
            if owner is not None and owner != self.owner and (key in done or owner.id == key) and self._gone(owner):
                file.unlink(missing_ok=True)

    def _create(self, key: str) -> bool:
        # The claim appears with its content: a reader must not find it empty. As a hard link to its owner's file, it
        # shows by its own time of change when the owner touched that file last.
        try:
            (self._folder / key).hardlink_to(self._sign(self.owner.id))
        except FileExistsError:
            return False
        except OSError:
            return self._create_unlinked(key)
        return True

    def _create_unlinked(self, key: str) -> bool:
        """As `_create`, on a file system without hard links."""
        claim = self._folder / key
        try:
            with claim.open("xb") as file:
                file.write(self._owner_bytes)
        except FileExistsError:
            return False
        except OSError as error:
            claim.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(claim)) from None
        return True

    def _holder(self, key: str) -> Owner | None:
        """The owner of an episode's claim; None if there is no claim, or none that was written completely."""
        try:
            fields: dict[str, Any] = json.loads((self._folder / key).read_bytes())
            return Owner(**fields)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _gone(self, owner: Owner) -> bool:
        return owner.surely_gone or self._unchanged(self._sign(owner.id))

    def _unchanged(self, file: Path) -> bool:
        """Whether a file's owner is gone: the file is missing, or was watched long enough without a change."""
        now = time.monotonic()
        try:
            changed = file.stat().st_mtime_ns
        except FileNotFoundError:
            changed = None
        seen, since = self._seen.setdefault(file.name, (changed, now))
        if changed != seen:
            self._seen[file.name] = changed, now
            return False
        return now - since > self._stale

    def _remove_stale(self, key: str, held: Owner | None) -> bool:
        """Remove the claim of `held`. Returns False if another runner was quicker; its claim stays."""
        taken = self._folder / f".{key}.{self.owner.id}"
        try:
            (self._folder / key).replace(taken)
        except FileNotFoundError:
            return False
        try:
            if self._holder(taken.name) == held:
                return True
            with suppress(OSError):
                (self._folder / key).hardlink_to(taken)
            return False
        finally:
            taken.unlink(missing_ok=True)

    @cached_property
    def _owner_bytes(self) -> bytes:
        return json.dumps(asdict(self.owner)).encode()

    def _sign(self, owner: str) -> Path:
        return self._folder / f"{owner}.alive"

    def _touch(self) -> None:
        sign = self._sign(self.owner.id)
        try:
            os.utime(sign)
        except FileNotFoundError:
            sign.write_bytes(self._owner_bytes)

    async def _keep_touching(self) -> None:
        while True:
            await asyncio.sleep(self._beat)
            with suppress(OSError):
                self._touch()


def _machine() -> str:
    """An identifier of this machine, boot and process namespace; empty if the system has none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """The start of a process, in ticks of the kernel; empty if there is no such process, or it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]


def _plain(host: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in host)[:40]
