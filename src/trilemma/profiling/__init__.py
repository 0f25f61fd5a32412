"""Axis E: what a model costs in parameters, FLOPs, memory, latency and throughput.

Importing this package imports no torch, so that a study can be checked without it.

A measurement is a function from a :class:`~trilemma.profiling.session.Session` to records. To add one,
write it in a file of its own and name it in :data:`MEASUREMENTS`, or, from another package, by an entry
point in the group ``trilemma.measurements``.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from trilemma.profiling.energy_estimates import estimates
from trilemma.profiling.grid import EfficiencyGrid, TrainingGrid
from trilemma.profiling.subject import ProfiledModel, merge_same_shape
from trilemma.progress import Progress, silent
from trilemma.records import Record
from trilemma.registry import Registry

if TYPE_CHECKING:
    from trilemma.profiling.session import Session

__all__ = [
    "MEASUREMENTS",
    "EfficiencyGrid",
    "Measurement",
    "ProfiledModel",
    "TrainingGrid",
    "merge_same_shape",
    "profile",
]


class Measurement(Protocol):
    """Measures every model of a session; what cannot be measured is a record with its reason."""

    def __call__(self, session: "Session") -> Iterable[Record]:
        """Measure; told apart by ``metric``, ``adaptation``, ``batch`` and ``length``."""


# In the order they run: those of the classifier first, so that models are loaded once a kind.
_BUILTIN = {
    "parameters": "trilemma.profiling.measurements.parameters:measure",
    "flops": "trilemma.profiling.measurements.flops:measure",
    "latency": "trilemma.profiling.measurements.latency:measure",
    "work": "trilemma.profiling.measurements.work:measure",
    "training": "trilemma.profiling.measurements.training:measure",
    "state": "trilemma.profiling.measurements.state:measure",
    "generation": "trilemma.profiling.measurements.generation:measure",
    "memory": "trilemma.profiling.measurements.memory:measure",
    "energy": "trilemma.profiling.measurements.energy:measure",
}

MEASUREMENTS: Registry[Measurement] = Registry("measurement", _BUILTIN)


def profile(
    models: Sequence[ProfiledModel],
    grid: EfficiencyGrid,
    *,
    measurements: Sequence[str] | None = None,
    device: str | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Record]:
    """Measure the efficiency of several models side by side.

    Models of the same shape are measured once and reported under each of their names. All models are in
    memory together while they are timed (first as classifiers, then, where causal, as language models),
    and their repetitions alternate, so that a drift of the machine hits all alike.

    Args:
        models: folders on disk.
        grid: batch sizes, lengths, repetitions and limits; where it has ``watts``, energy is estimated from
            the times that were measured.
        measurements: names in :data:`MEASUREMENTS`; by default all.
        device: torch device; by default the GPU where there is one.
        progress: told of finished measurements, in fractions.
        clock: seconds, monotonic.

    Returns:
        Records of axis E with empty ``study``, for the caller to complete; ``adaptation`` is empty but where
        training was measured.

    Raises:
        ModelError: where a folder holds no model that can be loaded.
    """
    from trilemma.profiling.session import Session

    plugins = [name for name in MEASUREMENTS.names() if name not in _BUILTIN]
    names = list(measurements) if measurements is not None else [*_BUILTIN, *plugins]
    functions = [MEASUREMENTS.get(name) for name in names]
    session = Session(merge_same_shape(models), grid, device=device, clock=clock)
    records: list[Record] = []
    for index, measure in enumerate(functions):
        session.report_to(progress, index, len(functions))
        records.extend(measure(session))
        progress(index + 1, len(functions), "measurements")
    session.release()
    return records if grid.watts is None else [*records, *estimates(records, grid.watts)]
