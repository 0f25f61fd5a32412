"""What a tensor library must find in the environment when it is first imported: idle threads, large pages."""

import os

from trilemma.errors import TrilemmaError
from trilemma.files import settle_home

_SPINS = "4000"
"""About ten microseconds. Measured on two cores with small models: as fast as GNU OpenMP's default of some
milliseconds where nothing else runs, and many times faster beside another busy process."""


LEAST_ADDRESSES = 1_500_000_000
"""Bytes of address space; with less, the libraries may hang while they are imported."""


def require_addresses() -> None:
    """Refuse a process whose address space is too small for the libraries alone.

    Raises:
        TrilemmaError: naming the limit.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESSES:
        raise TrilemmaError(
            f"this process may take {limit:,} bytes of addresses, and its libraries alone take about "
            f"{LEAST_ADDRESSES:,}; raise the limit (`ulimit -v`)"
        )


def prepare() -> None:
    """Let idle threads sleep soon and put large tensors in large pages; call before torch is imported.

    On a machine that runs anything else, a worker that spins keeps the processor from the very thread that it
    waits for: training beside one other busy process became twenty times slower. A new tensor of some
    megabytes costs more than an old one, since it is mapped one page of 4 KiB after the other: on a virtual
    machine a scan into a new tensor took 2.4 times as long as into an old one, with pages of 2 MiB 1.5 times.

    ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT``, and ``THP_MEM_ALLOC_ENABLE``, take precedence where set.
    """
    settle_home()
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
