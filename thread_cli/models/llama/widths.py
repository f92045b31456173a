"""How fast a model decodes by batch size, measured once on a machine and remembered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thread_cli.distribution import cache_folder
from thread_cli.models.llama.backend import Slice
from thread_cli.models.llama.machine import digest_of_text
from thread_cli.models.llama.speeds import Machine
from thread_cli.models.llama.steps import written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from thread_cli.models.llama.backend import Backend

__all__ = ["file_of", "measured", "remembered"]

SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
_PREFIX: Final = 128
"""Tokens that all sequences have in common, and that are in the cache."""
_STEPS: Final = 4
_PATIENCE: Final = 10.0
"""Seconds after which no larger size is measured."""
_TEXT: Final = b"You can craft a chest from eight planks, and four planks from one log of any wood. "


class _Speeds(BaseModel):
    """Tokens per second of all sequences together, by batch size."""

    model_config = ConfigDict(frozen=True)
    model: str
    machine: Machine
    speeds: dict[int, float] = Field(min_length=1)


def file_of(paths: Sequence[Path], way: object, machine: Machine) -> Path:
    """Where the speeds of a model, loaded in a certain `way`, are kept. It is known by its files' names and sizes."""
    files = [(path.name, path.stat().st_size) for path in paths]
    return cache_folder() / "widths" / f"{digest_of_text(repr((files, way, machine.model_dump_json())))}.json"


def remembered(file: Path) -> Mapping[int, float] | None:
    """The speeds that a file keeps, if it does."""
    try:
        return _Speeds.model_validate_json(file.read_bytes()).speeds
    except (OSError, ValidationError):
        return None


def measured(backend: Backend, file: Path, model: str, machine: Machine, *, batch: int) -> Mapping[int, float]:
    """Measure a model, with at most `batch` sequences at once, and keep the speeds in a file.

    The backend must hold nothing, and holds nothing afterwards.

    Raises:
        OSError: the file cannot be written.
        ModelError: llama.cpp failed.
    """
    tokens = backend.vocabulary.tokenize(_TEXT * _PREFIX, first=True, special=False)[:_PREFIX]
    largest = min(backend.sequences, (backend.context - _PREFIX) // (2 * _STEPS), batch)
    speeds: dict[int, float] = {}
    ends = time.monotonic() + _PATIENCE
    try:
        backend.evaluate([Slice(0, 0, tokens, 1)])
        for other in range(1, min(largest, SIZES[-1])):
            backend.share(0, other, 0, _PREFIX)
        at = _PREFIX
        for size in (size for size in SIZES if size <= largest):
            best = float("inf")
            for _ in range(_STEPS):
                began = time.perf_counter()
                backend.evaluate([Slice(each, at, tokens[-1:], 1) for each in range(size)])
                best = min(best, time.perf_counter() - began)
                for each in range(size):
                    backend.clear(each, _PREFIX)
            speeds[size] = round(size / best, 3)
            if time.monotonic() > ends:
                break
    finally:
        for each in range(min(largest, SIZES[-1])):
            backend.clear(each, 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    with written(file) as part:
        part.write_text(_Speeds(model=model, machine=machine, speeds=speeds).model_dump_json(indent=1), "utf-8")
    return speeds
