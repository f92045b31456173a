"""Models that run in this process, on llama.cpp."""

import os

# llama.cpp's threads wait for each other by spinning. Where others want the processor too, that takes it from those who
# are waited for, and a step takes seconds: a thousand turns are enough to wait for one that runs. GCC's OpenMP reads
# this when it is loaded, which is with llama.cpp, below.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from thread_cli.models.llama.model import LlamaModel, LlamaOptions
from thread_cli.models.llama.prepare import embedded_model_path

__all__ = ["LlamaModel", "LlamaOptions", "embedded_model_path"]
