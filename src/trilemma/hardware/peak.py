"""The most memory a process held while it did something.

On Linux the kernel's own high-water mark of the resident set is reset before the work and read after it,
so every piece of work has its own peak. Where it cannot be reset, the peak is that of the process's whole
life, and a fresh process is needed for each piece of work.
"""

import ctypes
import gc
import sys
from pathlib import Path

import psutil

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak() -> bool:
    """Give freed memory back to the system and set the high-water mark to what is resident now.

    Returns:
        Whether the mark could be reset.
    """
    release_freed()
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """High-water mark of the resident set since the last reset (or since the process began)."""
    if (found := status_bytes("VmHWM")) is not None:
        return found
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def status_bytes(field: str) -> int | None:
    """What Linux says of this process in ``/proc/self/status``, for instance ``VmHWM``; None elsewhere."""
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def resident_bytes() -> int:
    """Resident set now, without memory that is merely freed but not given back."""
    release_freed()
    return int(psutil.Process().memory_info().rss)


def release_freed() -> None:
    """Collect garbage and give freed heap memory back to the system, where the C library can."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
