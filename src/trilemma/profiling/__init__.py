"""Axis E: what a model costs in parameters, FLOPs, memory, latency, throughput and energy.

Importing this package imports no torch, so that a study can be checked without it.

A measurement is a function from a :class:`~trilemma.profiling.session.Session` to records. To add one,
write it in a new file and name it in :data:`MEASUREMENTS`, or, from another package, by an entry point in the
group ``trilemma.measurements``.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from trilemma.profiling.derived import energy_estimates, roofline_shares
from trilemma.profiling.grid import EfficiencyGrid, ProfileGrid, ProfileSettings, TrainingGrid
from trilemma.profiling.models import ModelUnderTest, merge_same_shape
from trilemma.progress import Progress, silent
from trilemma.records import Record
from trilemma.registry import Registry

if TYPE_CHECKING:
    from trilemma.profiling.session import Session

__all__ = [
    "MEASUREMENTS",
    "EfficiencyGrid",
    "Measurement",
    "ModelUnderTest",
    "ProfileGrid",
    "ProfileSettings",
    "TrainingGrid",
    "measure",
    "merge_same_shape",
    "profile",
]


Measurement = Callable[["Session"], Iterable[Record]]
"""Measures every model of a session; what cannot be measured is a record with its reason. No two records of a
model are alike in all of metric, phase, adaptation and point."""

MEASUREMENTS: Registry[Measurement] = Registry("measurement", files="trilemma.profiling.measurements")


def profile(
    models: Sequence[ModelUnderTest],
    grid: EfficiencyGrid,
    *,
    measurements: Sequence[str | Measurement] | None = None,
    device: str | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Record]:
    """Measure the efficiency of several models side by side.

    Models of the same shape and form are measured once and reported under each of their names. All models
    are in memory together while they are timed (first as classifiers, then, where causal, as language
    models), and their repetitions alternate, so that a drift of the machine hits all alike.

    Args:
        models: folders on disk, each in one form.
        grid: what is measured, at which points, and how long; where it has ``watts``, energy is also
            estimated from the times that were measured.
        measurements: names in :data:`MEASUREMENTS`, or measurements themselves; by default all.
        device: torch device; by default the GPU where there is one.
        progress: is given the finished measurements, in fractions.
        clock: seconds, monotonic.

    Returns:
        Records of axis E with empty ``study``, for the caller to complete.

    Raises:
        ModelError: where no folder holds a model that can be loaded; of some that do not, a record says why.
    """
    from trilemma.profiling.session import Session

    session = Session(merge_same_shape(models), grid, device=device, clock=clock)
    return measure(session, measurements, progress)


def measure(
    session: "Session",
    measurements: Sequence[str | Measurement] | None = None,
    progress: Progress = silent,
) -> list[Record]:
    """Run measurements over one session; arguments, result and errors as for :func:`profile`."""
    if measurements is None:  # in an order in which models are loaded once in each form
        functions = MEASUREMENTS.in_order()
    else:
        functions = [MEASUREMENTS.get(one) if isinstance(one, str) else one for one in measurements]
    records = list(session.drop_unloadable())
    for index, function in enumerate(functions):
        session.report_to(progress, index, len(functions))
        records.extend(function(session))
        progress(index + 1, len(functions), "measurements")
    session.release()
    records.extend(roofline_shares(records))
    if session.grid.watts is not None:
        records.extend(energy_estimates(list(records), session.grid.watts))
    return records
