"""Reuse of large CPU buffers between layers instead of allocating fresh pages each time."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 1 << 30


def keep_large_blocks() -> bool:
    """Let glibc reuse blocks of up to 1 GiB (by default blocks above 32 MiB go back to the system at once).

    Feature maps of two or more search regions at 480p are larger than that, so every layer would pay for fresh pages:
    a quarter of the backbone's time with two regions. The process keeps its peak memory. It affects the whole process,
    so only programs call it (the commands, the benchmarks), never the library on its own; the environment variables
    MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ take precedence.

    Returns:
        Whether the allocator took the setting; False where the C library is not glibc, or the environment decides.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    taken: bool = bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
    return taken
