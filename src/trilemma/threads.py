"""How the threads of a tensor library wait for work."""

import os


def wait_politely() -> None:
    """Let idle worker threads sleep instead of spin; call before torch is first imported.

    GNU OpenMP's workers spin by default. On a machine that anything else uses too, a spinning worker keeps
    the processor from the thread it waits for, and training and inference become many times slower.
    ``OMP_WAIT_POLICY`` in the environment takes precedence.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
