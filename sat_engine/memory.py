"""Memory that a process frees and needs again at every step: kept, so that the system need not clear it anew."""

import ctypes
import sys

# mallopt's names for its parameters (malloc.h)
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process's malloc keep what torch frees on a CPU; return whether it could, which takes glibc.

    An attack makes and frees the same tensors of tens of megabytes at every step. glibc maps each anew and gives it
    back, and the system clears every page of it: up to a quarter of a step (docs/performance.md). It changes the whole
    process, which from then on holds on to its largest memory, so only programs that do nothing but measure call it.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
