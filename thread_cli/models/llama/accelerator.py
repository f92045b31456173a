"""Our own kernels, in `kernels/`, offered to llama.cpp for a model: attention over memory that threads share, and more.

They are used where the processor has AVX-512 with VNNI (and AMX beside it, where it has that), the package was
installed with a compiler, and a check finds that ggml's structures, and what the kernels compute, are as they should
be. Elsewhere llama.cpp computes everything itself.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

import llama_cpp.llama_cpp as llama

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["KNOWN", "PATHS", "Accelerator", "KernelPath", "fault", "library", "missing", "paths", "usable_path"]

KernelPath = Literal["vnni", "amx", "amx-emulated"]
"""What multiplies: AVX-512 VNNI, AMX, or, for tests, what AMX would compute in plain C. Results have the same bits."""
PATHS: Final[dict[KernelPath, int]] = {"vnni": 0, "amx": 1, "amx-emulated": 2}
KNOWN: Final = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16")
"""The formats of weights that the kernels multiply, by ggml's names; `kernels/formats.c` has them."""
_LIBRARY: Final = "thread_cli.models.llama._kernels"
_offering = threading.Lock()


class Accelerator:
    """What computes one model's operations, by a path that `usable_path` names, or one that is to be tested.

    Raises:
        UserError: memory is short.
    """

    def __init__(self, path: KernelPath) -> None:
        self._library = library()
        self._ggml: Any = getattr(llama, "_lib")  # noqa: B009 -- not declared
        self._ggml.ggml_backend_register.argtypes = self._ggml.ggml_backend_unload.argtypes = [ctypes.c_void_p]
        self._registry = ctypes.c_void_p(self._library.thread_kernels_open(PATHS[path]))
        if not self._registry:
            raise UserError("not enough memory for our kernels: choose a smaller model or context")

    @contextmanager
    def offered(self, *, loading: bool, all_operations: bool = False) -> Generator[None]:
        """Let llama.cpp find it while a model is loaded, or else a context is made.

        With `loading`, weights in formats that the kernels know are kept in the order in which they are needed. With
        `all_operations`, all those of the context are done here; without it, attention and the products of those
        weights.
        """
        # ggml has one list of accelerators for the whole process.
        with _offering:
            self._library.thread_kernels_set(self._registry, loading, all_operations)
            self._ggml.ggml_backend_register(self._registry)
            try:
                yield
            finally:
                self._ggml.ggml_backend_unload(self._registry)

    def packed(self) -> int:
        """Bytes of the model's file whose weights the kernels multiply."""
        return int(self._library.thread_kernels_packed(self._registry))

    def complete(self) -> bool:
        """Whether llama.cpp has no operation left of the newest context, if that was made with `all_operations`."""
        return bool(self._library.thread_kernels_complete(self._registry))

    def fault(self) -> str:
        """Why all evaluation fails from now on: llama.cpp asked packed weights for what they cannot do; else empty."""
        found = self._library.thread_kernels_fault(self._registry)
        return f"our kernels cannot go on with this model: {found.decode()}; try model.kernels=false" if found else ""

    def close(self) -> None:
        """Free it, after its model and context. May be called twice."""
        if self._registry:
            self._library.thread_kernels_close(self._registry)
        self._registry = ctypes.c_void_p()


@cache
def missing() -> str | None:
    """Why our kernels cannot be tried here; None if they can. Whether they pass their check is another question."""
    if find_spec(_LIBRARY) is None:
        return "this package was installed without a compiler"
    try:
        return None if paths() else "the processor has no AVX-512 with VNNI"
    except OSError as error:
        return f"their library cannot be loaded: {error}"


def usable_path(*, amx: bool = True) -> KernelPath | None:
    """The best path that the check finds nothing wrong with, AMX only if it may be; None if there is none.

    Raises:
        OSError: the library cannot be loaded.
    """
    return next((path for path in paths() if (amx or path != "amx") and fault(path) is None), None)


@cache
def paths() -> tuple[KernelPath, ...]:
    """The paths that this processor has, the best one first; those of tests are not among them.

    Raises:
        OSError: the library cannot be loaded.
    """
    best = int(library().thread_kernels_path())
    order: tuple[KernelPath, ...] = ("amx", "vnni")
    return tuple(path for path in order if PATHS[path] <= best)


@cache
def fault(path: KernelPath) -> str | None:
    """What the check of a path finds wrong, in words; None if nothing is.

    A structure of ggml that lies elsewhere than it should can end the process: do this in a child process first.
    """
    llama.llama_backend_init()
    found = library().thread_kernels_check(PATHS[path])
    return None if found is None else f"they do not fit this build of llama.cpp: {found.decode()}"


@cache
def library() -> Any:
    """The kernels' C interface.

    Raises:
        OSError: it was not compiled, or cannot be loaded.
    """
    spec = find_spec(_LIBRARY)
    if spec is None or spec.origin is None:
        raise OSError(_LIBRARY)
    # The kernels call ggml, which Python loads for llama_cpp alone.
    ctypes.CDLL(getattr(llama, "_lib")._name, mode=ctypes.RTLD_GLOBAL)  # noqa: B009
    loaded = ctypes.CDLL(spec.origin)
    handle, number, size, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double
    for name, result, arguments in (
        ("path", number, []),
        ("open", handle, [number]),
        ("set", None, [handle, ctypes.c_bool, ctypes.c_bool]),
        ("complete", ctypes.c_bool, [handle]),
        ("packed", ctypes.c_size_t, [handle]),
        ("fault", ctypes.c_char_p, [handle]),
        ("close", None, [handle]),
        ("check", ctypes.c_char_p, [number]),
        ("multiply", number, [number, number, size, size, handle, size, handle, handle]),
        ("read", real, [handle, size, number]),
        ("peak", real, [number, number, size]),
    ):
        try:
            function = getattr(loaded, f"thread_kernels_{name}")
        except AttributeError:
            raise OSError("it was compiled from another version: install the package again") from None
        function.restype, function.argtypes = result, arguments
    return loaded
