"""Our own kernels, in `kernels/`, offered to llama.cpp for a model: attention over memory that threads share, and more.

They are used where the processor has AVX-512 with VNNI (and AMX beside it, where it has that), the package was installed with
a compiler, and a check finds that ggml's structures and what the kernels compute are as they should be. Elsewhere llama.cpp
computes everything itself.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

import llama_cpp.llama_cpp as llama

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["PATHS", "Accelerator", "Path", "fault", "library", "missing", "paths"]

Path = Literal["vnni", "amx", "amx-emulated"]
"""What multiplies: AVX-512 VNNI, AMX, or, for tests, what AMX would compute in plain C. Results have the same bits."""
PATHS: Final[dict[Path, int]] = {"vnni": 0, "amx": 1, "amx-emulated": 2}
_LIBRARY: Final = "thread_cli.models.llama._kernels"
_offering = threading.Lock()


class Accelerator:
    """What computes one model's operations. To be made if nothing is `missing`. `path` None: the processor's best."""

    def __init__(self, path: Path | None = None) -> None:
        self._library = library()
        self._ggml: Any = getattr(llama, "_lib")  # noqa: B009 -- not declared
        self._ggml.ggml_backend_register.argtypes = self._ggml.ggml_backend_unload.argtypes = [ctypes.c_void_p]
        self._registry = ctypes.c_void_p(self._library.thread_kernels_open(PATHS[path or paths()[0]]))
        if not self._registry:
            raise MemoryError

    @contextmanager
    def offered(self, *, loading: bool, whole: bool = False) -> Generator[None]:
        """Let llama.cpp find it while a model is loaded, or else a context is made.

        With `loading`, weights in the formats that the kernels know are kept in the order in which they are needed. With
        `whole`, all operations of the context are done here; without it, attention and the products of those weights.
        """
        # ggml has one list of accelerators for the whole process.
        with _offering:
            self._library.thread_kernels_set(self._registry, loading, whole)
            self._ggml.ggml_backend_register(self._registry)
            try:
                yield
            finally:
                self._ggml.ggml_backend_unload(self._registry)

    def packed(self) -> int:
        """Bytes of the model's file whose weights the kernels multiply."""
        return int(self._library.thread_kernels_packed(self._registry))

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
    if find_spec(_LIBRARY) is None:
        return "this package was installed without a compiler"
    try:
        found = paths()
    except OSError as error:
        return f"their library cannot be loaded: {error}"
    if not found:
        return "the processor has no AVX-512 with VNNI"
    return fault(found[0])


@cache
def paths() -> tuple[Path, ...]:
    """The paths that this processor has, the best one first; those of tests are not among them.

    Raises:
        OSError: the library cannot be loaded.
    """
    best = int(library().thread_kernels_path())
    return {-1: (), PATHS["vnni"]: ("vnni",), PATHS["amx"]: ("amx", "vnni")}[best]


@cache
def fault(path: Path) -> str | None:
    """What the check of a path finds wrong, in words; None if nothing is.

    A structure of ggml that lies elsewhere than it should can end the process: what loads a model checks in another one first.
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
        ("close", None, [handle]),
        ("check", ctypes.c_char_p, [number]),
        ("multiply", ctypes.c_bool, [number, number, size, size, handle, size, handle, handle]),
        ("read", real, [handle, size, number]),
        ("peak", real, [number, number, size]),
    ):
        function = getattr(loaded, f"thread_kernels_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded
