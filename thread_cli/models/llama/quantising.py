"""Requantising a model file, as a step that can be interrupted at any moment."""

from __future__ import annotations

import errno
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import remedy
from thread_cli.supervision import signal_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["FORMATS", "quantise"]

FORMATS: Final = (
    "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k_m", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k",
    "iq4_nl", "iq4_xs", "f16", "bf16", "f32",
)  # fmt: skip
_WORKER: Final = "thread_cli.models.llama.quantiser"


def quantise(
    source: Path,
    target: Path,
    format_: str,
    *,
    threads: int,
    left_out: Sequence[int] = (),
    done: Callable[[float], None] = lambda _: None,
) -> None:
    """Write a model with its weights in one of `FORMATS`, as llama.cpp mixes it, without the layers `left_out`.

    `done` is told the share that is done.

    Raises:
        OSError: llama.cpp could not do it; nearly always since `target` cannot be written.
        UserError: llama-cpp-python is missing.
    """
    if find_spec("llama_cpp") is None:
        raise UserError(f"local models need llama-cpp-python: {remedy('local')}")
    arguments = [str(source), str(target), format_, str(threads), *map(str, left_out)]
    reason = "no reason given"
    with subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, "-P", "-m", _WORKER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as worker:
        try:
            for line in worker.stdout or ():
                count, slash, of = line.strip().partition("/")
                if slash and count.isdecimal() and of.isdecimal():
                    done(int(count) / int(of))
                elif line.strip():
                    reason = line.strip()
        except BaseException:
            worker.kill()
            raise
        status = worker.wait()
    if status < 0:
        reason = f"its process was killed by {signal_name(-status)}"
    if status:
        raise OSError(errno.EIO, f"llama.cpp: {reason}")
