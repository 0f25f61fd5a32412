"""Running out of memory as an outcome of a measurement instead of the end of the process."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trilemma.errors import is_out_of_memory
from trilemma.hardware.machine import available_memory
from trilemma.hardware.peak import status_bytes

KEPT_FREE = 0.1
"""Of the memory available at the start, for everything else on the machine."""


class OutOfMemoryError(Exception):
    """The work did not fit in the memory that was free."""


@contextmanager
def memory_ceiling(available: Callable[[], int] = available_memory) -> Iterator[None]:
    """Turn an allocation that does not fit into :class:`OutOfMemoryError`.

    On Linux the process's data limit is lowered to what is available for as long as the block runs.
    Without it the kernel grants the memory and later kills this process, or another one.

    Args:
        available: bytes that this process can still take.

    Raises:
        OutOfMemoryError: from CUDA's allocator, torch's CPU allocator or Python.
    """
    try:
        with _data_limit(available):
            yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError from None


@contextmanager
def _data_limit(available: Callable[[], int]) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = (status_bytes("VmData") or 0) + int(available() * (1 - KEPT_FREE))
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def out_of_memory_kills() -> int | None:
    """How many processes Linux has killed since it started because memory ended; None where nobody counts."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
