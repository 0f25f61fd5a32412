"""How the threads of a tensor library wait for work."""

import os

_SPINS = "4000"
"""About ten microseconds. Measured on two cores with small models: as fast as GNU OpenMP's default of some
milliseconds where nothing else runs, and many times faster beside another busy process."""


def wait_politely() -> None:
    """Let idle worker threads sleep soon instead of spinning; call before torch is first imported.

    On a machine that anything else uses too, a worker that spins keeps the processor from the very thread it
    waits for: training beside one other busy process became twenty times slower. ``OMP_WAIT_POLICY`` or
    ``GOMP_SPINCOUNT`` in the environment take precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
