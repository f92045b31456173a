"""Our own kernels, in `kernels/`, offered to llama.cpp for a model: attention over memory that threads share, and more.

They are used where the processor has AVX-512 with VNNI, the package was installed with a compiler, and the release of
llama-cpp-python is one whose interface they know. Elsewhere llama.cpp computes everything itself.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import llama_cpp.llama_cpp as llama

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Accelerator", "missing"]

_LIBRARY: Final = "thread_cli.models.llama._kernels"
_KNOWN: Final = ("0.3.36",)
"""Releases of llama-cpp-python whose structures are those of `kernels/abi.h`. To add one, compare them."""
_offering = threading.Lock()


class Accelerator:
    """What computes one model's operations. To be made if nothing is `missing`."""

    def __init__(self) -> None:
        self._library = _library()
        self._ggml: Any = getattr(llama, "_lib")  # noqa: B009 -- not declared
        self._ggml.ggml_backend_register.argtypes = self._ggml.ggml_backend_unload.argtypes = [ctypes.c_void_p]
        self._registry = ctypes.c_void_p(self._library.thread_kernels_open())
        if not self._registry:
            raise MemoryError

    @contextmanager
    def offered(self, *, loading: bool, whole: bool = False) -> Generator[None]:
        """Let llama.cpp find it while a model is loaded, or else a context is made.

        With `loading`, weights in Q8_0 are kept in the order in which they are needed. With `whole`, all operations of
        the context are done here, without it attention alone.
        """
        # ggml has one list of accelerators for the whole process.
        with _offering:
            self._library.thread_kernels_set(self._registry, loading, whole)
            self._ggml.ggml_backend_register(self._registry)
            try:
                yield
            finally:
                self._ggml.ggml_backend_unload(self._registry)

    def complete(self) -> bool:
        """Whether the context that was made last has none of its operations left to llama.cpp, if it was `whole`."""
        return bool(self._library.thread_kernels_complete(self._registry))

    def close(self) -> None:
        """Free it, after its model and context. May be called twice."""
        if self._registry:
            self._library.thread_kernels_close(self._registry)
        self._registry = ctypes.c_void_p()


@cache
def missing() -> str | None:
    """Why our kernels cannot be used here; None if they can."""
    try:
        installed = version("llama-cpp-python")
    except PackageNotFoundError:
        installed = "unknown"
    if installed not in _KNOWN:
        return f"they are made for llama-cpp-python {', '.join(_KNOWN)}, and this is {installed}"
    if find_spec(_LIBRARY) is None:
        return "this package was installed without a compiler"
    try:
        usable = bool(_library().thread_kernels_usable())
    except OSError as error:
        return f"their library cannot be loaded: {error}"
    return None if usable else "the processor has no AVX-512 with VNNI"


@cache
def _library() -> Any:
    spec = find_spec(_LIBRARY)
    if spec is None or spec.origin is None:
        raise OSError(_LIBRARY)
    # The kernels call ggml, which Python loads for llama_cpp alone.
    ctypes.CDLL(getattr(llama, "_lib")._name, mode=ctypes.RTLD_GLOBAL)  # noqa: B009
    library = ctypes.CDLL(spec.origin)
    library.thread_kernels_usable.restype = ctypes.c_bool
    library.thread_kernels_open.restype = ctypes.c_void_p
    library.thread_kernels_set.argtypes = [ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool]
    library.thread_kernels_set.restype = library.thread_kernels_close.restype = None
    library.thread_kernels_close.argtypes = library.thread_kernels_complete.argtypes = [ctypes.c_void_p]
    library.thread_kernels_complete.restype = ctypes.c_bool
    return library
