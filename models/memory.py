"""Keep large tensors' memory instead of giving it back to the kernel after every layer.

glibc maps and unmaps every large allocation, and a convolution on a CPU makes one per layer: most of the time is then
spent in the kernel. The environment variables MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ have the same effect.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""

_KEEP_BYTES = 2**30
"""Both thresholds: allocations up to this are kept, as is this much free memory."""


def keep_freed_memory() -> bool:
    """Tell the allocator of this process to keep what is freed; False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP_BYTES) and mallopt(_TRIM_THRESHOLD, _KEEP_BYTES))
