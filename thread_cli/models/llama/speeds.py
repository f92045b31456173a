"""How fast this machine runs each format, measured once and remembered; and which one agents are best served by.

The rule: a format's cost is the time of a workload as agents make it, with most of what they read shared and cached:
512 tokens read, 64 written by one thread, and 64 by each of eight that write at once. Of the formats within 5 % of the
lowest cost, the most precise one is chosen.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import cache_folder
from thread_cli.models.llama.door import FormatDies
from thread_cli.models.llama.machine import build, digest_of_text, gpus, processor
from thread_cli.models.llama.quantising import quantise
from thread_cli.models.llama.steps import stage, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from thread_cli.models.llama.loading import Header

__all__ = ["CANDIDATES", "Machine", "Measured", "Speed", "measured", "recall"]

CANDIDATES: Final = ("q8_0", "q4_k_m", "iq4_nl", "q4_0")
"""From the most to the least precise."""
READ: Final = 512
WRITTEN: Final = 64
MANY: Final = 8
_CLOSE: Final = 1.05
_STEPS: Final = 40
_ENOUGH: Final = 5.0
"""Seconds after which a figure is not tried for again."""
_LARGE: Final = 10**9
"""Bytes above which a model is measured without most of its layers."""
_TEXT: Final = b"You can craft a chest from eight planks, and four planks from one log of any wood. "


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Speed(_Record):
    """Tokens per second."""

    prompt: float = Field(gt=0)
    alone: float = Field(gt=0)
    """Written by one thread."""
    together: float = Field(gt=0)
    """Written by eight at once, of all eight."""

    @property
    def cost(self) -> float:
        """Seconds that the workload takes."""
        return READ / self.prompt + WRITTEN / self.alone + MANY * WRITTEN / self.together


class Machine(_Record):
    """All that the speeds of formats depend on, but the model."""

    processor: str
    features: str
    """A digest of what the processor can do."""
    threads: int
    build: str
    """The version of llama-cpp-python, and a digest of its libraries' names and sizes, and of our own kernels' size."""
    gpu_layers: int
    gpus: tuple[str, ...]

    @classmethod
    def here(cls, threads: int, gpu_layers: int = 0) -> Machine:
        described = processor()
        return cls(
            processor=described.get("model name") or platform.processor() or platform.machine(),
            features=digest_of_text(repr(sorted(described.items()))),
            threads=threads,
            build=build(),
            gpu_layers=gpu_layers,
            gpus=gpus() if gpu_layers else (),
        )

    @property
    def file(self) -> Path:
        """Where its speeds are kept."""
        return cache_folder() / "speeds" / f"{digest_of_text(self.model_dump_json())}.json"


class Measured(_Record):
    """Speeds of a machine, of as many formats as have been measured, with one model."""

    machine: Machine
    model: str
    digest: str
    """Of that model."""
    layers: int | None = None
    """How many of its layers were measured, if not all."""
    speeds: dict[str, Speed] = Field(default_factory=dict[str, Speed])

    @property
    def complete(self) -> bool:
        return all(name in self.speeds for name in CANDIDATES)

    @property
    def best(self) -> str:
        """The format to choose."""
        lowest = min(speed.cost for speed in self.speeds.values())
        return next(name for name in CANDIDATES if name in self.speeds and self.speeds[name].cost <= lowest * _CLOSE)

    def table(self) -> Iterator[str]:
        """The figures in lines for people."""
        part = f", {self.layers} of its layers" if self.layers else ""
        cores = f"{self.machine.threads} thread{'s' * (self.machine.threads != 1)}"
        yield f"measured on this machine with {self.model}{part}, {cores}; tokens per second:"
        yield f"{'format':<8}{'prefill':>10}{'decode':>12}{'batch of 8':>13}{'workload':>11}"
        for name, speed in self.speeds.items():
            chosen = "  chosen" if name == self.best else ""
            figures = f"{speed.prompt:>10.0f}{speed.alone:>12.1f}{speed.together:>13.1f}{speed.cost:>9.2f} s"
            yield f"{name:<8}{figures}{chosen}"


def recall(machine: Machine) -> Measured | None:
    """What was measured on this machine, if anything was; it may be incomplete."""
    try:
        return Measured.model_validate_json(machine.file.read_bytes())
    except (OSError, ValidationError):
        return None


def measured(
    path: Path, digest: str, header: Header, machine: Machine, tell: Callable[[str], None], *, anew: bool = False
) -> Measured:
    """The speeds of all candidates on this machine: as remembered, else measured with this model. Each is kept at once.

    Raises:
        OSError: the cache folder cannot be written to.
        UserError: the model cannot be run.
    """
    known = None if anew else recall(machine)
    if known is not None and known.complete:
        return known
    _tell_of_a_busy_machine(tell)
    resumed = known is not None and known.digest == digest
    found = known if known is not None and resumed else Measured(machine=machine, model=path.name, digest=digest)
    layers = found.layers or _layers(path, header)
    left_out = range(layers or header.layers, header.layers)
    deadly: list[FormatDies] = []
    for name in CANDIDATES:
        if name in found.speeds:
            continue
        try:
            speed = _candidate(path, name, left_out, machine, tell)
        except FormatDies as death:
            tell(f"{name} is left out: {death.message}")
            deadly.append(death)
            continue
        except (OSError, UserError):
            if not left_out:
                raise
            tell(f"{path.name} does not run without some of its layers: measuring all of them")
            layers, left_out = None, range(0)
            speed = _candidate(path, name, left_out, machine, tell)
        found = found.model_copy(update={"layers": layers, "speeds": {**found.speeds, name: speed}})
        with written(machine.file) as part:
            part.write_text(found.model_dump_json(indent=1), "utf-8")
    if not found.speeds:
        raise deadly[0]
    return found


def _tell_of_a_busy_machine(tell: Callable[[str], None]) -> None:
    busy = os.getloadavg()[0]
    if busy > (os.cpu_count() or 1):
        tell(f"the machine is busy (load {busy:.1f}), so figures will be low: --force measures again when it is not")


def _layers(path: Path, header: Header) -> int | None:
    """How many layers to measure; None for all."""
    size = path.stat().st_size
    return None if size <= _LARGE else max(1, round(header.layers * _LARGE / size))


def _candidate(path: Path, name: str, left_out: range, machine: Machine, tell: Callable[[str], None]) -> Speed:
    machine.file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=".", suffix=".part", dir=machine.file.parent) as file:
        candidate = Path(file.name)
        done = stage(tell, f"making {name} to measure it")
        quantise(path, candidate, name, threads=machine.threads, left_out=left_out, done=done)
        tell(f"measuring {name}")
        return _speed(candidate, machine)


def _speed(path: Path, machine: Machine) -> Speed:
    from thread_cli.models.llama.backend import Backend, Slice

    backend = Backend(
        path, context=2 * READ, sequences=MANY, batch=READ, threads=machine.threads, gpu_layers=machine.gpu_layers
    )
    tokens = backend.vocabulary.tokenize(_TEXT * READ, first=True, special=False)[:READ]
    ends = [READ] * MANY

    def read() -> None:
        backend.clear(0, 0)
        backend.evaluate([Slice(0, 0, tokens, 1)])

    def write(count: int) -> None:
        backend.evaluate([Slice(each, ends[each], tokens[-1:], 1) for each in range(count)])
        ends[:count] = [end + 1 for end in ends[:count]]

    try:
        reading = _quickest(read, 3)
        for other in range(1, MANY):
            backend.share(0, other, 0, READ)
        return Speed(
            prompt=READ / reading,
            alone=1 / _quickest(lambda: write(1), _STEPS),
            together=MANY / _quickest(lambda: write(MANY), _STEPS),
        )
    finally:
        backend.close()


def _quickest(work: Callable[[], None], times: int) -> float:
    """Seconds of the quickest of so many tries: whatever else the machine does only makes them slower."""
    ends = time.monotonic() + _ENOUGH
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
        if time.monotonic() > ends:
            break
    return best
