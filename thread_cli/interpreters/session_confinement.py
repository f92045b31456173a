"""Confines a session: it may read the libraries and given files, write one folder, and compute.

Files are confined with Landlock, through `sandlock`, which also keeps signals and abstract sockets inside. System calls
are confined with a list of those that computing needs (seccomp): it has none for networks, new processes, other
processes' memory, modes and owners of files. Resource limits bound memory, processor time and the size of a file.
Landlock does not hide whether a file exists.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import struct
import sys
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ConfinementError", "enclose", "held", "limit", "prepare", "restrict", "unavailable"]

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PACKAGES: Final = ("numpy", "pandas", "scipy", "cloudpickle")
_LANDLOCK_CREATE_RULESET, _LANDLOCK_VERSION = 444, 1
_LANDLOCK_ABI: Final = 3
"""From this version on cutting files is guarded."""
_CPU_SECONDS: Final = 600
_OPEN_FILES: Final = 256

_ALLOWED: Final[Sequence[str]] = """
    read write readv writev pread64 pwrite64 preadv pwritev lseek open openat creat close close_range dup dup2 dup3
    stat fstat lstat newfstatat statx access faccessat faccessat2 statfs fstatfs getdents getdents64 readlink readlinkat
    getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir unlink unlinkat link linkat symlink symlinkat
    truncate ftruncate fsync fdatasync flock umask sendfile copy_file_range fadvise64
    mmap mprotect munmap mremap brk madvise msync mincore
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait sigaltstack setitimer getitimer alarm pause
    pipe pipe2 select pselect6 poll ppoll epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2
    getpid getppid gettid getuid geteuid getgid getegid getgroups getresuid getresgid getpgrp getpgid getsid
    getrlimit getrusage getpriority times sysinfo uname getrandom getcpu
    gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep time
    futex set_robust_list get_robust_list rseq set_tid_address membarrier restart_syscall arch_prctl
    sched_yield sched_getaffinity sched_getparam sched_getscheduler wait4 waitid exit exit_group
""".split()  # noqa: SIM905 - as a list it would be a page long
# Copying a file also copies its mode and times. Landlock does not guard these, so they stay as they are, silently.
_IGNORED: Final = ("chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "utimensat", "futimesat")
_OWN_PROCESS: Final = ("kill", "tgkill")
_IOCTLS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIO[N]CLEX
_SELF: Final = 0x7FFFFFF0
"""Stands for the number of the process in a filter that is made before it."""
_FCNTLS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1031, 1032)  # descriptors, flags, locks, pipe sizes; no owners
_PRCTLS: Final = (15, 16)  # PR_SET_NAME, PR_GET_NAME
_CLONE_THREAD: Final = 0x10000

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_RET_KILL, _RET_ERRNO, _RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _AND_SET, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06  # BPF instruction codes
_EPERM, _ENOTTY, _ENOSYS = 1, 25, 38


class ConfinementError(Exception):
    """A session cannot be confined on this machine. The message is one line."""


def unavailable() -> str:
    """The reason for which this machine cannot confine sessions, as far as it shows from outside; empty if it can."""
    if sys.platform != "linux":
        return "only Linux can"
    if platform.machine() not in _AUDIT_ARCH:
        return f"system calls of {platform.machine()} machines are not known"
    if find_spec("sandlock") is None:
        return "the package sandlock is not installed"
    version = ctypes.CDLL(None).syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 0:
        return "the kernel has no Landlock"
    return "" if version >= _LANDLOCK_ABI else "the kernel's Landlock is too old: Linux 6.2 is needed"


def held() -> int:
    """Bytes of address space that this process holds. It and its children go first where memory runs out."""
    if sys.platform != "linux":
        return 0
    Path("/proc/self/oom_score_adj").write_text("1000")
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit(*, memory: int, file_size: int) -> None:
    """Bound the resources of this process. `memory` counts in bytes of address space."""
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: _CPU_SECONDS,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_FSIZE: file_size,
        resource.RLIMIT_AS: memory,
    }
    for what, wanted in bounds.items():
        hard = resource.getrlimit(what)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):
            if sys.platform == "linux":  # elsewhere some limits exist by name only
                raise


def prepare() -> None:
    """Load the modules for confinement, so that forked processes have them.

    Raises:
        ConfinementError: they are missing.
    """
    try:
        _packed()
    except (ImportError, OSError) as error:
        raise ConfinementError(f"sandlock cannot be loaded: {error}") from error


def enclose(folder: str | None, readable: Sequence[str]) -> None:
    """Confine this process and its children, for good, to reading `readable` and the libraries and to writing below
    `folder`. `restrict` limits their system calls.

    Raises:
        ConfinementError: it cannot be done; the process may be confined in part.
    """
    prepare()
    import sandlock  # pyright: ignore[reportMissingTypeStubs]
    from sandlock import Protection, Sandbox  # pyright: ignore[reportMissingTypeStubs]

    # The list of system calls keeps signals inside as well, and leaves no socket and no device to speak to.
    optional = [p for p in Protection if p is not Protection.FS_TRUNCATE and p is not Protection.FS_REFER]
    paths = sorted({path for path in (*_libraries(), *readable) if Path(path).exists()})
    writable = [] if folder is None else [folder]
    try:
        sandlock.confine(Sandbox(fs_readable=paths, fs_writable=writable, allow_degraded=optional))
    except Exception as error:
        raise ConfinementError(f"Landlock cannot be used: {error}") from error
    _drop_capabilities()


def restrict() -> None:
    """Restrict this process to the system calls that computing needs, and check that the confinement works.

    Raises:
        ConfinementError: it does not.
    """
    this = struct.pack("HBBI", _EQUAL, 0, 1, os.getpid())
    _filter(_packed().replace(struct.pack("HBBI", _EQUAL, 0, 1, _SELF), this))
    for attempt in (lambda: os.listdir("/"), socket.socket, os.fork):  # noqa: PTH208 - it is quicker
        try:
            attempt()
        except PermissionError:
            continue
        raise ConfinementError("the confinement does not hold")


def _libraries() -> list[str]:
    """The files and folders that Python, its packages and C libraries read."""
    found = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    # Packages may be elsewhere: in a user's own folder, or wherever $PYTHONPATH leads.
    found += [
        str(Path(file).parents[1]) for name in _PACKAGES if (file := getattr(sys.modules.get(name), "__file__", None))
    ]
    found += [str(Path(sys.base_prefix, "lib")), "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"]
    return [*found, "/usr/share/zoneinfo", "/etc/ld.so.cache", "/dev/null", "/dev/urandom"]


@cache
def _numbers() -> dict[str, int]:
    """The numbers of the system calls on this machine; those that it does not have are left out."""
    from sandlock import _sdk  # pyright: ignore[reportPrivateUsage, reportMissingTypeStubs]

    names = [*_ALLOWED, *_IGNORED, *_OWN_PROCESS, "clone", "clone3", "ioctl", "fcntl", "prctl", "prlimit64"]
    numbers = {name: int(_sdk._lib.sandlock_syscall_nr(name.encode())) for name in names}  # pyright: ignore[reportPrivateUsage]
    return {name: number for name, number in numbers.items() if number >= 0}


def _program(numbers: dict[str, int]) -> list[tuple[int, int, int, int]]:
    """The filter, as instructions: code, jump if true, jump if false, operand."""
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        raise ConfinementError(f"system calls of {machine} machines are not known")
    refuse = (_RETURN, 0, 0, _RET_ERRNO | _EPERM)
    allow = (_RETURN, 0, 0, _RET_ALLOW)
    program = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _RET_KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, 0x40000000),  # the x32 calls of x86_64
        refuse,
    ]

    def only(name: str, argument: int, test: int, values: Sequence[int], errno: int = _EPERM) -> None:
        """Allow a call where the low half of an argument is one of `values`, or has all their bits."""
        if name not in numbers:
            return
        checks = [step for value in values for step in ((test, 0, 1, value), allow)]
        block = [(_LOAD, 0, 0, 16 + 8 * argument), *checks, (_RETURN, 0, 0, _RET_ERRNO | errno)]
        program.extend([(_EQUAL, 0, len(block), numbers[name]), *block])

    for names, answer in ((_ALLOWED, _RET_ALLOW), (_IGNORED, _RET_ERRNO), (["clone3"], _RET_ERRNO | _ENOSYS)):
        for name in names:
            if name in numbers:
                program += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, answer)]
    for name in _OWN_PROCESS:
        only(name, 0, _EQUAL, [_SELF])
    only("clone", 0, _AND_SET, [_CLONE_THREAD])
    only("ioctl", 1, _EQUAL, _IOCTLS, _ENOTTY)
    only("fcntl", 1, _EQUAL, _FCNTLS)
    only("prctl", 0, _EQUAL, _PRCTLS)
    if "prlimit64" in numbers:  # reading limits only: both halves of the pointer to new ones are zero
        block = [(_LOAD, 0, 0, 32), (_EQUAL, 0, 3, 0), (_LOAD, 0, 0, 36), (_EQUAL, 0, 1, 0), allow, refuse]
        program += [(_EQUAL, 0, len(block), numbers["prlimit64"]), *block]
    return [*program, refuse]


@cache
def _packed() -> bytes:
    """The filter as the kernel takes it, with `_SELF` for the number of the process."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in _program(_numbers()))


def _filter(code: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    buffer = ctypes.create_string_buffer(code, len(code))
    wanted = Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0) != 0:
        raise ConfinementError(f"seccomp cannot be used: {os.strerror(ctypes.get_errno())}")


def _drop_capabilities() -> None:
    """Give up the capabilities of root, many of which Landlock does not restrict."""
    header = ctypes.create_string_buffer(struct.pack("II", 0x20080522, 0))
    nothing = ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, nothing) != 0:
        raise ConfinementError(f"capabilities cannot be dropped: {os.strerror(ctypes.get_errno())}")
