"""Single operations of ggml, computed by llama.cpp's CPU backend or by our own kernels, on arrays of numpy."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

import llama_cpp.llama_cpp as llama
import numpy as np

from thread_cli.models.llama.accelerator import Accelerator

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Graph", "call", "computed", "ours"]

_TYPES: Final = {"float32": 0, "float16": 1, "int32": 26, "int64": 27}
_CPU: Final = 0
_MEMORY: Final = 2**26
_pointer: Final = ctypes.c_void_p
_ggml: Any = getattr(llama, "_lib")  # noqa: B009 -- not declared


class _Parameters(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("memory", _pointer), ("no_alloc", ctypes.c_bool))


def call(name: str, *arguments: Any, result: Any = _pointer) -> Any:
    """Call a function of ggml; floats are passed as 32 bits, tensors as pointers, other numbers as int."""
    function = getattr(_ggml, name)
    function.restype = result
    kinds = {float: ctypes.c_float, int: ctypes.c_int, type(None): _pointer}
    return function(*(kinds[type(each)](each) if type(each) in kinds else each for each in arguments))


class Graph:
    """Tensors and operations on them. Arrays have the outermost dimension first, tensors the innermost."""

    def __init__(self) -> None:
        self._context = _pointer(call("ggml_init", _Parameters(_MEMORY, None, False)))

    def tensor(self, values: np.ndarray) -> Any:
        """A tensor with these values."""
        sizes = (ctypes.c_int64 * values.ndim)(*values.shape[::-1])
        made = _pointer(call("ggml_new_tensor", self._context, _TYPES[values.dtype.name], values.ndim, sizes))
        ctypes.memmove(call("ggml_get_data", made), np.ascontiguousarray(values).ctypes.data, values.nbytes)
        return made

    def __call__(self, operation: str, *arguments: Any) -> Any:
        """The tensor that an operation, such as `rms_norm`, gives."""
        return _pointer(call(f"ggml_{operation}", self._context, *arguments))

    def compute(self, result: Any, shape: tuple[int, ...], *, kernels: bool) -> np.ndarray:
        """What a tensor of that shape, in F32, comes to."""
        graph = _pointer(call("ggml_new_graph", self._context))
        call("ggml_build_forward_expand", graph, result, result=None)
        accelerator = Accelerator("vnni") if kernels else None
        if accelerator is None:
            backend = _pointer(call("ggml_backend_init_by_type", _CPU, None))
        else:
            backend = ours(accelerator, result)
        try:
            assert call("ggml_backend_graph_compute", backend, graph, result=ctypes.c_int) == 0
            data = ctypes.string_at(call("ggml_get_data", result), int(np.prod(shape)) * 4)
        finally:
            call("ggml_backend_free", backend, result=None)
            if accelerator is not None:
                accelerator.close()
            call("ggml_free", self._context, result=None)
        return np.frombuffer(data, np.float32).reshape(shape)


def ours(accelerator: Accelerator, result: Any) -> Any:
    """A backend of our kernels, with two threads, which says that it can compute `result`."""
    registry = accelerator._registry
    accelerator._library.thread_kernels_set(registry, False, True)
    device = _pointer(call("ggml_backend_reg_dev_get", registry, ctypes.c_size_t(0)))
    assert call("ggml_backend_dev_supports_op", device, result, result=ctypes.c_bool)
    backend = _pointer(call("ggml_backend_dev_init", device, None))
    address = call("ggml_backend_reg_get_proc_address", registry, b"ggml_backend_set_n_threads")
    ctypes.CFUNCTYPE(None, _pointer, ctypes.c_int)(address)(backend, 2)
    return backend


def computed(build: Callable[[Graph], Any], shape: tuple[int, ...], *, kernels: bool) -> np.ndarray:
    """The value of the tensor that `build` makes in a new graph."""
    graph = Graph()
    return graph.compute(build(graph), shape, kernels=kernels)
