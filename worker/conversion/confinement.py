"""What a process gives up before it reads a stranger's pickle: network, files, other processes, its user, memory.

Each measure is independent of the others. Those that the system refuses are named, so that the worker's log says
what does not hold here; limits and the closed list of descriptors hold everywhere.
"""

import ctypes
import os
import platform
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass

# A uid that no system gives to anybody: it owns no file, and no other process runs as it.
NOBODY_ELSE = 61_750
GIBIBYTE = 1024**3
_NEW_USER, _NEW_IPC, _NEW_NETWORK = 0x10000000, 0x08000000, 0x40000000  # sched.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # prctl.h
_RETURN_ALLOW, _RETURN_KILL, _RETURN_EPERM = 0x7FFF0000, 0x80000000, 0x00050001  # seccomp.h
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The kernel's numbers on one architecture: its own, that of seccomp(2), and those of the calls that stay."""

    audit: int
    seccomp: int
    allowed: tuple[int, ...]


# read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn pread64 pwrite64 readv
# writev sched_yield mremap madvise nanosleep getpid exit uname ftruncate getrusage sysinfo getuid sigaltstack gettid
# futex sched_getaffinity clock_gettime clock_getres clock_nanosleep exit_group newfstatat getrandom membarrier rseq
MACHINES = {
    "x86_64": Machine(
        audit=0xC000003E,
        seccomp=317,
        allowed=(
            0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 24, 25, 28, 35, 39, 60, 63, 77, 98, 99, 102, 131,
            186, 202, 204, 228, 229, 230, 231, 262, 318, 324, 334,
        ),
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        seccomp=277,
        allowed=(
            63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 67, 68, 65, 66, 124, 216, 233, 101, 172, 93, 160,
            46, 165, 179, 174, 132, 178, 98, 123, 113, 114, 115, 94, 79, 278, 283, 293,
        ),
    ),
}  # fmt: skip


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filters", ctypes.POINTER(_Filter)))


def leave_network() -> list[str]:
    """Enter a network without interfaces; must come before other threads exist. Returns what could not be had."""
    flags = _NEW_NETWORK | _NEW_IPC | (0 if os.geteuid() == 0 else _NEW_USER)
    return _attempt("a network namespace", lambda: _checked(_libc().unshare(flags)))


def give_up_the_rest(*, memory_bytes: int, file_bytes: int, cpu_seconds: int) -> list[str]:
    """Limit the process, give it a user of its own, and leave it only reading, writing and memory.

    memory_bytes are on top of what is mapped already (torch alone may take gigabytes), in all at least 4 GiB. No file
    can be opened afterwards: descriptors 0 to 2 are all there is. Returns what could not be had.
    """
    _limit(resource.RLIMIT_AS, max(4 * GIBIBYTE, _mapped_bytes() + memory_bytes))
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_CPU, cpu_seconds)
    _limit(resource.RLIMIT_CORE, 0)
    missing = _attempt("a user of its own", _change_user) if os.geteuid() == 0 else ["a user of its own"]
    _limit(resource.RLIMIT_NPROC, 0)
    os.closerange(3, _open_limit())
    _limit(resource.RLIMIT_NOFILE, 3)
    # after the change of user, which would undo them
    _checked(_libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    _checked(_libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    return missing + _attempt("a filter of system calls", _keep_few_calls)


def _attempt(what: str, measure: Callable[[], object]) -> list[str]:
    try:
        measure()
    except OSError as error:
        return [f"{what} ({error.strerror})"]
    return []


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (allowed, allowed))


def _mapped_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  nothing more is imported here than must be
        return int(file.read().split()[0]) * resource.getpagesize()


def _open_limit() -> int:
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 2**20)


def _change_user() -> None:
    os.setgroups([])
    os.setresgid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
    os.setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)


def _keep_few_calls() -> None:
    """Have the kernel refuse every call but those listed, in all threads (seccomp(2) with TSYNC)."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(0, f"its calls are not listed for {platform.machine()}")
    count = len(machine.allowed)
    steps = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_JUMP_IF_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _RETURN_KILL),
        (_LOAD, 0, 0, 0),  # the call's number
        *((_JUMP_IF_EQUAL, count - index, 0, number) for index, number in enumerate(machine.allowed)),
        (_RETURN, 0, 0, _RETURN_EPERM),
        (_RETURN, 0, 0, _RETURN_ALLOW),
    ]
    filters = (_Filter * len(steps))(*(_Filter(*step) for step in steps))
    program = _Program(len(steps), filters)
    set_mode_filter, all_threads = 1, 1
    _checked(_libc().syscall(machine.seccomp, set_mode_filter, all_threads, ctypes.byref(program)))
