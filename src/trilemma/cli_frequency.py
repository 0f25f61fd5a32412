"""``trilemma profile --frequencies``: time and energy by clock frequency, and which one to choose."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.deploy.frequency import Place, Setting
    from trilemma.profile.clocks import Clocks
    from trilemma.profile.grid import EfficiencyGrid
    from trilemma.profile.variants import Variant
    from trilemma.records import Record

MEASUREMENTS = ("latency", "generation", "energy")


def sweep_frequencies(
    console: "Console",
    clocks: "Clocks",
    variants: "Sequence[Variant]",
    grid: "EfficiencyGrid",
    device: str,
    frequencies: Sequence[int],
    *,
    allow: bool,
    slowdown: float,
) -> None:
    """Measure at each frequency, give the clocks back, and print what each phase should run at.

    Args:
        console: to print to.
        clocks: of the device.
        variants: models in their forms.
        grid: of points.
        device: torch device.
        frequencies: in MHz.
        allow: whether the clocks may be changed.
        slowdown: share of time that may be added to each phase.

    Raises:
        ClockError: where the clocks may not or cannot be changed.
        DeployError: for a slowdown that is no share.
    """
    from trilemma.deploy.frequency import measured_settings
    from trilemma.errors import DeployError
    from trilemma.profile import profile
    from trilemma.profile.frequency import sweep
    from trilemma.study.console import progress_bar

    if not 0 <= slowdown < math.inf:
        raise DeployError(f"a slowdown of {slowdown:g} is no share of time; 0.05 allows 5% more")
    with progress_bar(console, "profiling at each frequency") as progress:

        def work(mhz: int) -> "list[Record]":
            subjects = [variant.subject for variant in variants]
            return profile(subjects, grid, measurements=MEASUREMENTS, device=device, progress=progress)

        swept = sweep(clocks, frequencies, work, allow=allow)
    for one in swept:
        if one.observed is not None and abs(one.observed / one.mhz - 1) > 0.05:
            _print(console, f"at {one.mhz} MHz the clock was {one.observed:.0f} MHz: something else decided")
    records = {float(one.mhz): one.result for one in swept}
    settings = measured_settings(records, grid.decode - 1)
    if not settings:
        _print(console, _why(records.values()))
    for place, phases in settings.items():
        _tell(console, place, phases, slowdown)


def _tell(console: "Console", place: "Place", phases: "dict[str, list[Setting]]", slowdown: float) -> None:
    from rich.table import Table

    from trilemma.deploy.frequency import frequency_by_phase, pareto
    from trilemma.report.metrics import format_value

    _print(console, f"{place.model}, batch {place.batch}, length {place.length}")
    table = Table("phase", "MHz", "time", "energy", "on the front", box=None)
    for phase, settings in phases.items():
        front = {one.mhz for one in pareto(settings)}
        for one in sorted(settings, key=lambda one: -one.mhz):
            mark = "yes" if one.mhz in front else ""
            time, energy = format_value(1e3 * one.seconds, "ms"), format_value(one.joules, "J")
            table.add_row(phase, f"{one.mhz:g}", time, energy, mark)
    console.print(table)
    # Classification is a workload of its own; a plan is of the phases of generation.
    together: tuple[tuple[str, ...], ...] = (("prefill", "decode"), ("classification",))
    for names in together:
        chosen = {name: phases[name] for name in names if name in phases}
        if not chosen:
            continue
        plan = frequency_by_phase(chosen, slowdown)
        by_phase = ", ".join(f"{name} at {one.mhz:g} MHz" for name, one in plan.settings.items())
        _print(
            console,
            f"least energy within {slowdown:.0%} more time: {by_phase}; "
            f"saves {plan.saving:.0%} of the energy and adds {plan.slowdown:.1%} to the time",
        )


def _why(results: "Iterable[list[Record]]") -> str:
    """Why nothing can be chosen."""
    notes = [
        one.note for records in results for one in records if "energy" in one.metric and one.value is None
    ]
    reason = notes[0].removeprefix("not measured: ") if notes else "nothing was measured"
    return f"no frequency can be chosen by its energy, which was not measured: {reason}"


def _print(console: "Console", text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
