"""llama.cpp's own server as the package `xllamacpp` brings it, with those flags of the program that `local.py` uses."""

from __future__ import annotations

import argparse
import signal

import xllamacpp  # pyright: ignore[reportMissingImports]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    for flag in ("--ctx-size", "--port", "--threads", "--threads-batch", "--n-gpu-layers", "--parallel"):
        parser.add_argument(flag, type=int, required=True)
    parser.add_argument("--kv-unified", action="store_true")
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.n_ctx, params.port, params.n_parallel = options.ctx_size, options.port, options.parallel
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = options.threads, options.threads_batch
    params.n_gpu_layers, params.kv_unified = options.n_gpu_layers, options.kv_unified
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
