"""What a machine is and has: rates, memory, energy meters, processes, and the catalogue of machines."""

from typing import NamedTuple


class Unmeasured(NamedTuple):
    """Why something has no value.

    Attributes:
        reason: one sentence without a final stop.
        failed: whether a model or a process raised an error; else it was not tried, or had no result.
        interrupted: whether it was ended from outside, so that it is worth another try.
    """

    reason: str
    failed: bool = False
    interrupted: bool = False
