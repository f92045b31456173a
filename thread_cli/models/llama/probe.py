"""Tries kinds of weights with tiny models, in a process of its own: it may die of it.

Called with `--extra-buffers=0` or `1`, `--kernels=0` or `1`, where there is AMX `--amx=0` or `1`, and kinds as
`door.Kind` writes them. Each that ran is told in a line on stdout; the first one that is missing is what the process
died of. With `--check=PATH` alone, it is told what the check of a path of our kernels finds wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Final

from thread_cli.models.llama.accelerator import PATHS, fault
from thread_cli.models.llama.backend import Backend, Slice
from thread_cli.models.llama.door import Kind, Passage
from thread_cli.models.llama.specimen import specimen

_BATCH: Final = 32
_TIMES: Final = 2
"""As often is a single token evaluated, so that more than one batch finds the other's cells."""


def _run(path: Path, kind: Kind, passage: Passage) -> None:
    backend = Backend(
        path, context=128, sequences=1, batch=64, threads=2, gpu_layers=-1 if kind.gpu else 0, passage=passage
    )
    try:
        tokens = array("i", range(1, _BATCH + 1))
        backend.evaluate([Slice(0, 0, tokens, _BATCH)])
        for padded in (backend.policy.pads, False):
            # llama.cpp multiplies a single token by other functions, which this program otherwise never calls.
            backend.policy = replace(backend.policy, pads=padded)
            for number in range(_TIMES):
                backend.clear(0, _BATCH + number)
                backend.evaluate([Slice(0, _BATCH + number, tokens[:1], 1)])
    finally:
        backend.close()


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", choices=PATHS)
    parser.add_argument("--extra-buffers", type=int, default=1)
    parser.add_argument("--kernels", type=int, default=1)
    parser.add_argument("--amx", type=int, default=1)
    parser.add_argument("kinds", nargs="*", type=Kind.read)
    options = parser.parse_args()
    if options.check:
        sys.stdout.write(fault(options.check) or "")
    passage = Passage(bool(options.extra_buffers), bool(options.kernels), bool(options.amx))
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            path = Path(folder, "specimen.gguf")
            specimen(path, kind)
            _run(path, kind, passage)
            path.unlink()
            sys.stdout.write(f"{kind}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main()
