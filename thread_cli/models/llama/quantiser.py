"""Requantises a model file, in a process of its own: llama.cpp can neither be interrupted nor says how far it is.

Called with the file, the file to write, the format, the number of CPU threads and the layers to leave out. On stdout it
writes `TENSOR/TENSORS` as it goes on, and what goes wrong in other lines. It ends with the process that started it,
which holds the other end of its stdin.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama

from thread_cli.models.llama.loading import file_type

_ERROR = 4  # GGML_LOG_LEVEL_ERROR
_TENSOR = re.compile(rb"\[ *(\d+)/ *(\d+)\]")
_WHOLE = re.compile(rb"quant size\s*=\s*([\d.]+) MiB")
_sizes: list[float] = []
"""Bytes of the file to write, as the dry run that comes first tells them."""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _log(level: int, text: bytes, _data: Any) -> None:
    if level == _ERROR:
        _say(text.decode("utf-8", "replace").strip())
    elif found := _WHOLE.search(text):
        _sizes.append(float(found[1]) * 2**20)
    elif _sizes and (found := _TENSOR.match(text)):
        _say(f"{int(found[1])}/{int(found[2])}")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _main(source: str, target: str, format_: str, threads: str, *left_out: str) -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    callback = llama.llama_log_callback(_log)
    llama.llama_log_set(callback, ctypes.c_void_p(0))
    llama.llama_backend_init()
    params = llama.llama_model_quantize_default_params()
    params.ftype = file_type(format_)
    params.nthread = int(threads)
    params.allow_requantize = True
    if left_out:
        numbers: Any = (ctypes.c_int32 * (len(left_out) + 1))(*map(int, left_out), -1)
        params.prune_layers = numbers
    pointer: Any = ctypes.byref(params)
    params.dry_run = True
    if llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), pointer) != 0:
        return 1
    free = shutil.disk_usage(Path(target).parent).free
    if _sizes and _sizes[-1] > free:
        _say(f"it takes {_sizes[-1] / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free")
        return 1
    params.dry_run = False
    return int(llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), pointer)) != 0


if __name__ == "__main__":
    status = _main(*sys.argv[1:])
    # At once: the thread that waits for the parent holds stdin, which a regular end would have to close.
    os._exit(status)
