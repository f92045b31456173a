"""Models that run in this process, on llama.cpp."""

from thread_cli.models.llama.model import LlamaModel, LlamaOptions
from thread_cli.models.llama.prepare import embedded_model_path

__all__ = ["LlamaModel", "LlamaOptions", "embedded_model_path"]
