"""Which formats of weights run here: each is tried once, with a tiny model in a child, before a model is loaded.

A build of llama.cpp may have instructions that kill the process: some are chosen by the processor it was compiled on,
others are a compiler's fault. Where a child dies, its weights are kept out of llama.cpp's extra buffers (repacked ones,
AMX), or our own kernels are left out; where it dies all the same, a model in that format is refused in one line. What
was found is kept in the cache folder, for this processor and these very libraries.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from thread_cli.contracts.errors import ExitCode, UserError
from thread_cli.distribution import cache_folder
from thread_cli.models.llama.machine import installed
from thread_cli.models.llama.steps import written
from thread_cli.supervision import signal_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from thread_cli.models.llama.accelerator import KernelPath

__all__ = ["Death", "Door", "FormatDies", "Kind", "Passage", "Tried", "checked"]

_PROBE: Final = (sys.executable, "-P", "-m", "thread_cli.models.llama.probe")
_PATIENCE: Final = 60.0
"""Seconds within which a child has to try a format; it takes well below one."""
_SENT: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL}
"""Signals that come from outside, and say nothing of a format."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """Weights of one format as one architecture uses them."""

    format: str
    """ggml's name for the type of a tensor, such as `q4_K`."""
    architecture: str = "llama"
    experts: bool = False
    """Whether the weights of experts are among them (`ggml_mul_mat_id`)."""
    gpu: bool = False
    """Whether a GPU computes with them."""

    @classmethod
    def read(cls, text: str) -> Kind:
        """The kind that `str` wrote."""
        format_, architecture, *more = text.split("/")
        return cls(format_, architecture, "experts" in more, "gpu" in more)

    def __str__(self) -> str:
        return "/".join([self.format, self.architecture, *["experts"] * self.experts, *["gpu"] * self.gpu])


@dataclass(frozen=True, slots=True)
class Passage:
    """How a model may be loaded."""

    extra_buffers: bool = True
    """Whether llama.cpp may keep weights in buffers of its own kinds (`use_extra_bufts`)."""
    kernels: bool = True
    """Whether our own kernels may compute it."""
    amx: bool = True
    """Whether they may multiply by AMX."""

    def __str__(self) -> str:
        ours = "off" if not self.kernels else "on" if self.amx else "on, without AMX"
        return f"extra buffers {'on' if self.extra_buffers else 'off'}, our kernels {ours}"


class Death(BaseModel):
    """A way of loading that did not survive, and what it died of, such as `SIGILL`."""

    model_config = ConfigDict(frozen=True)
    extra_buffers: bool
    kernels: bool
    amx: bool = True
    cause: str

    @property
    def passage(self) -> Passage:
        """The way of loading that died."""
        return Passage(self.extra_buffers, self.kernels, self.amx)


class Tried(BaseModel):
    """What was found of one kind: how it runs, None where it runs in no way, and all that died before."""

    model_config = ConfigDict(frozen=True)
    kind: str
    wanted_kernels: bool
    passage: Passage | None
    deaths: tuple[Death, ...] = ()

    def __str__(self) -> str:
        died = "; ".join(f"{death.cause} with {death.passage}" for death in self.deaths)
        if self.passage is None:
            return f"does not run: {died}"
        return f"runs with {self.passage}{f' ({died})' if died else ''}"


class FormatDies(UserError):
    """No way of loading survives a format."""


class Door:
    """What a model passes before it is loaded.

    Args:
        folder: where outcomes are kept; by default in the cache folder, apart for each processor and installation.
        program: tries kinds, called as `probe` is.
        patience: seconds after which a child that says nothing counts as dead.
        amx: whether our kernels are tried with AMX, and where that dies without; by default where there is AMX.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        program: Sequence[str] = _PROBE,
        patience: float = _PATIENCE,
        amx: bool | None = None,
    ) -> None:
        self.folder = folder or cache_folder() / "door" / _installed()
        self._program = program
        self._patience = patience
        self._amx = _has_amx() if amx is None else amx

    def passage(self, kinds: Iterable[Kind], *, kernels: bool) -> Passage:
        """How a model of these kinds of weights may be loaded. Kinds that are not known yet are tried now.

        Raises:
            FormatDies: one runs in no way; the message names it, what it died of, and what to do.
        """
        wanted = sorted(set(kinds))
        found = {kind: tried for kind in wanted if (tried := self._recall(kind, kernels)) is not None}
        found |= self._try([kind for kind in wanted if kind not in found], kernels)
        for kind, tried in found.items():
            if tried.passage is None:
                causes = ", ".join(sorted({death.cause for death in tried.deaths}))
                raise FormatDies(
                    f"weights in {kind.format} do not run on this {'GPU' if kind.gpu else 'processor'}: a trial died "
                    f"({causes}), whatever was switched off; take the model in another format (`thread models` lists "
                    "what runs here), or compile llama-cpp-python on this machine",
                    ExitCode.infrastructure,
                )
        passages = [tried.passage for tried in found.values() if tried.passage is not None]
        return Passage(
            all(passage.extra_buffers for passage in passages),
            kernels and all(each.kernels for each in passages),
            all(each.amx for each in passages),
        )

    def known(self) -> list[Tried]:
        """All that has been found of this processor and these libraries, by format."""
        found = [_read(path) for path in self.folder.glob("*.json")]
        return sorted(
            (tried for tried in found if tried is not None), key=lambda tried: (tried.kind, tried.wanted_kernels)
        )

    def _file(self, kind: Kind, kernels: bool) -> Path:
        return self.folder / f"{str(kind).replace('/', '-')}{'-kernels' * kernels}.json"

    def _recall(self, kind: Kind, kernels: bool) -> Tried | None:
        tried = _read(self._file(kind, kernels))
        return tried if tried is not None and (tried.kind, tried.wanted_kernels) == (str(kind), kernels) else None

    def _try(self, kinds: Sequence[Kind], kernels: bool) -> dict[Kind, Tried]:
        """Try kinds in all ways, the fastest first, until each has lived through one; keep what was found."""
        deaths: dict[Kind, list[Death]] = {kind: [] for kind in kinds}
        found: dict[Kind, Tried] = {}

        def settle(kind: Kind, passage: Passage | None) -> None:
            found[kind] = Tried(kind=str(kind), wanted_kernels=kernels, passage=passage, deaths=tuple(deaths[kind]))

        for passage in _ways(kernels, self._amx):
            left = [kind for kind in kinds if kind not in found]
            for kind, cause in self._attempt(left, passage).items():
                if cause:
                    death = Death(
                        extra_buffers=passage.extra_buffers, kernels=passage.kernels, amx=passage.amx, cause=cause
                    )
                    deaths[kind].append(death)
                    continue
                settle(kind, passage)
                if cause is None:
                    self._keep(kind, found[kind])
        for kind in set(kinds) - found.keys():
            settle(kind, None)
            self._keep(kind, found[kind])
        return found

    def _keep(self, kind: Kind, tried: Tried) -> None:
        # What cannot be kept is tried again the next time; a model can be run without a place to write to.
        with suppress(OSError), written(self._file(kind, tried.wanted_kernels)) as part:
            part.write_text(tried.model_dump_json(indent=1), "utf-8")

    def _attempt(self, kinds: Sequence[Kind], passage: Passage) -> dict[Kind, str | None]:
        """What each kind died of: None for those that lived, and an empty text for those that could not be tried.

        Of these, a format that llama.cpp does not know is refused when the model is loaded.
        """
        outcomes: dict[Kind, str | None] = {}
        left = list(kinds)
        while left:
            lived, cause = self._child(left, passage)
            outcomes |= dict.fromkeys(lived)
            left = [kind for kind in left if kind not in outcomes]
            if left and cause is not None:
                outcomes[left.pop(0)] = cause
        return outcomes

    def _child(self, kinds: Sequence[Kind], passage: Passage) -> tuple[list[Kind], str | None]:
        """Try kinds one after the other in a child; those that lived, and what the next one died of, if one did."""
        switches = [f"--extra-buffers={passage.extra_buffers:d}", f"--kernels={passage.kernels:d}"]
        switches += [f"--amx={passage.amx:d}"] if self._amx else []
        with subprocess.Popen(  # noqa: S603 -- this very program
            [*self._program, *switches, *map(str, kinds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        ) as child:
            try:
                output, _ = child.communicate(timeout=self._patience * len(kinds))
                status = child.returncode
            except subprocess.TimeoutExpired:
                child.kill()
                output, _ = child.communicate()
                status = None
            except BaseException:
                child.kill()
                raise
        lived = [kind for kind in kinds if str(kind) in output.split()]
        if len(lived) == len(kinds):
            return lived, None
        if status is None:
            return lived, f"no end within {self._patience:.0f} s"
        return lived, signal_name(-status) if status < 0 and -status not in _SENT else ""


def checked() -> dict[KernelPath, str]:
    """The paths of our kernels here, each with what a check in a child finds wrong; an empty text if nothing is.

    Raises:
        OSError: the kernels' library cannot be loaded.
    """
    # Only here, as in `_has_amx`: the base install lacks llama-cpp-python.
    from thread_cli.models.llama.accelerator import paths

    return {path: _checked(path) for path in paths()}


def _checked(path: KernelPath) -> str:
    with subprocess.Popen(  # noqa: S603 -- this very program
        [*_PROBE, f"--check={path}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return f"its check did not end within {_PATIENCE:.0f} s"
    if child.returncode < 0:
        return f"its check died ({signal_name(-child.returncode)})"
    return output.strip() if child.returncode == 0 else "its check could not be run"


def _ways(kernels: bool, amx: bool) -> list[Passage]:
    """The ways to load a model, the fastest first; AMX is a more likely cause of death than all else."""
    if not kernels:
        return [Passage(True, False), Passage(False, False)]
    ours = [(True, True), (True, False)] if amx else [(True, True)]
    ways = [Passage(extra_buffers, *each) for extra_buffers in (True, False) for each in ours]
    return [*ways, Passage(True, False), Passage(False, False)]


@cache
def _has_amx() -> bool:
    """Whether this processor has AMX, and our kernels know how to use it."""
    from thread_cli.models.llama.accelerator import missing, paths

    return missing() is None and "amx" in paths()


def _read(path: Path) -> Tried | None:
    try:
        return Tried.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


@cache
def _installed() -> str:
    return installed()
