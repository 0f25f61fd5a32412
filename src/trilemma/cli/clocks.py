"""``trilemma profile --frequencies``: time and energy by clock frequency, and which one to choose."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.cli.profile_page import SweptPlace
    from trilemma.clocks.choose import Phases, Place, Plan, Setting
    from trilemma.clocks.model import Power
    from trilemma.clocks.settings import Clocks
    from trilemma.decision.deployments import Objective
    from trilemma.profiling.grid import EfficiencyGrid
    from trilemma.profiling.subject import ProfiledModel
    from trilemma.profiling.variants import Variant
    from trilemma.records import Record
    from trilemma.statistics import Interval

Places = dict["Place", dict[str, list["Setting"]]]
"""By model, batch and length, the settings of each phase."""

TIMED = ("latency", "generation")
"""Measurements of time."""

TOGETHER = (("prefill", "decode"), ("classification",))
"""Phases of one answer."""

ESTIMATED = (
    "estimates: times were measured at the clocks as they are, taken as the highest frequency; the others "
    "follow from the roofline and the given watts; the clocks were not touched"
)


class Sweep(NamedTuple):
    """What is asked of a sweep; see ``trilemma profile --help``."""

    frequencies: Sequence[int]
    allow: bool = False
    watts: float | None = None
    idle_watts: float = 0.0
    slowdown: float = 0.05
    slo: str = ""
    queries: Path | None = None
    report: Path | None = None


def by_frequency(
    console: "Console",
    variants: "Sequence[Variant]",
    grid: "EfficiencyGrid",
    device: str | None,
    asked: Sweep,
) -> bool:
    """Measure at each frequency, or estimate, and print what each phase should run at.

    Args:
        console: to print to.
        variants: models in their forms.
        grid: of points.
        device: torch device; by default the GPU where there is one.
        asked: frequencies and how to choose among them.

    Returns:
        Whether every bound that was asked for can be met.

    Raises:
        TrilemmaError: for what is asked and cannot be.
    """
    from dataclasses import replace

    from trilemma.cli.forecast import objective_of
    from trilemma.cli.query_classes import by_query, tokenizers_of
    from trilemma.clocks.model import Power
    from trilemma.clocks.query_policy import read_queries
    from trilemma.clocks.settings import clocks_of
    from trilemma.errors import TrilemmaError
    from trilemma.hardware.machine import default_device, hardware, versions
    from trilemma.profiling.lab import require_device

    bounds = objective_of(asked.slo, None)
    if not 0 <= asked.slowdown < math.inf:
        raise TrilemmaError(f"--max-slowdown {asked.slowdown:g} is no share of time; 0.05 allows 5% more")
    queries = [] if asked.queries is None else read_queries(asked.queries)
    if queries and len(grid.length) < 2:
        raise TrilemmaError("classes of queries need two or more lengths; give them by --length, e.g. 32,512")
    require_device(device)
    on = device or default_device()
    subjects = [replace(variant.subject, adaptations=()) for variant in variants]  # nothing is trained
    facts = [hardware(on), versions()]
    if asked.watts is None:
        places = _measured(console, clocks_of(on), subjects, grid, on, asked)
    elif asked.allow:
        raise TrilemmaError(
            "--watts estimates and --allow-frequency-control measures; leave out one of the two"
        )
    else:
        power = Power.usual(asked.watts, asked.idle_watts, max(asked.frequencies))
        facts.append(f"{ESTIMATED}: {asked.watts:g} W under load, {asked.idle_watts:g} W idle")
        places = _estimated(console, power, subjects, grid, on, asked.frequencies)
    if not places:
        say(console, "no frequency can be chosen: no phase has both its time and its energy")
        return False
    met, choices = choose(console, places, asked.slowdown, bounds, grid.decode - 1)
    classes = {}
    if queries:
        classes = by_query(places, queries, asked.slowdown, tokenizers_of(subjects))
        for title, lines in classes.items():
            say(console, title)
            for line in lines:
                say(console, f"  {line}")
    if asked.report is not None:
        from trilemma.cli.profile_page import write_frequency_page

        write_frequency_page("Time and energy by clock frequency", facts, choices, asked.report, classes)
        say(console, f"report: {asked.report}")
    return met


def _measured(
    console: "Console",
    clocks: "Clocks",
    subjects: "Sequence[ProfiledModel]",
    grid: "EfficiencyGrid",
    device: str,
    asked: Sweep,
) -> Places:
    """Settings measured at each frequency; the clocks are given back.

    Raises:
        ClockError: where the clocks may not or cannot be changed.
    """
    from trilemma.clocks.choose import measured_settings
    from trilemma.clocks.control import sweep
    from trilemma.profiling import profile
    from trilemma.study.console import progress_bar

    with progress_bar(console, "profiling at each frequency") as progress:

        def work(mhz: int) -> "list[Record]":
            names = (*TIMED, "energy")
            return profile(subjects, grid, measurements=names, device=device, progress=progress)

        swept = sweep(clocks, asked.frequencies, work, allow=asked.allow)
    for one in swept:
        if one.observed is not None and abs(one.observed / one.mhz - 1) > FAR:
            say(console, f"at {one.mhz} MHz the clock was {one.observed:.0f} MHz: something else decided")
    _say_unmeasured(console, [record for one in swept for record in one.result])
    records = {float(one.mhz): one.result for one in swept}
    return _of_workload(measured_settings(records, grid.decode - 1))


FAR = 0.05
"""Share by which a clock may be off what was asked for, or is taken for it, without a remark."""


def _estimated(
    console: "Console",
    power: "Power",
    subjects: "Sequence[ProfiledModel]",
    grid: "EfficiencyGrid",
    device: str,
    frequencies: Sequence[int],
) -> Places:
    """Settings from times at the clocks as they are, taken as the highest frequency; nothing sets a clock."""
    from trilemma.clocks.model import estimable, estimated_places
    from trilemma.errors import TrilemmaError
    from trilemma.hardware.machine import clock_mhz
    from trilemma.hardware.roofline import find
    from trilemma.profiling import profile
    from trilemma.study.console import progress_bar

    models, reasons = estimable(subjects)
    for reason in reasons:
        say(console, reason)
    known = [subject for subject in subjects if subject.name in models]
    if not known:
        raise TrilemmaError("no model is left of which an estimate could be made; name another")
    on_cpu, now = device.startswith("cpu"), clock_mhz()
    if on_cpu and now is not None and abs(now / max(frequencies) - 1) > FAR:
        say(
            console,
            f"the clock is at {now:.0f} MHz now, and what it takes now is taken for what it would at "
            f"{max(frequencies)} MHz; give the present clock as the highest",
        )
    rates = find(device, [model.multiplies for model in models.values()])
    if rates.note:
        say(console, rates.note)
    with progress_bar(console, "profiling") as progress:
        records = profile(known, grid, measurements=TIMED, device=device, progress=progress)
    _say_unmeasured(console, records)
    found = estimated_places(
        records, models, rates.roofline, power, frequencies, grid.decode, host_follows=on_cpu
    )
    say(console, ESTIMATED)
    return _of_workload(found)


def _of_workload(places: Places) -> Places:
    """Phases in order; where a model generates, its passes as a classifier are left out."""
    found: Places = {}
    for place, phases in places.items():
        names = next(group for group in TOGETHER if any(name in phases for name in group))
        found[place] = {name: phases[name] for name in names if name in phases}
    return found


def _say_unmeasured(console: "Console", records: "Iterable[Record]") -> None:
    """Why times or energies are lacking, each reason once for each model."""
    from trilemma.profiling.session import NOT_GENERATIVE

    reasons: dict[tuple[str, str], list[str]] = {}
    for one in records:
        reason = one.note.removeprefix("not measured: ")
        if one.value is None and one.metric in _SWEPT and reason != NOT_GENERATIVE:
            where = "" if one.length is None else f"batch {one.batch}, length {one.length}"
            reasons.setdefault((one.model, reason), []).append(where)
    for (model, reason), places in reasons.items():
        at = "; ".join(dict.fromkeys(filter(None, places)))
        say(console, f"{model} is not measured{f' at {at}' if at else ''}: {reason}")


_SWEPT = {
    *("ttft_ms", "tpot_ms", "latency_ms", "energy_j_per_example"),
    *("prefill_energy_j_per_token", "decode_energy_j_per_token"),
}
"""What a sweep needs."""


def choose(
    console: "Console", places: Places, slowdown: float, bounds: "Objective", steps: int
) -> "tuple[bool, dict[Place, SweptPlace]]":
    """Print every place's settings and what each phase should run at.

    Args:
        console: to print to.
        places: settings.
        slowdown: share of time that may be added to each phase.
        bounds: of TTFT, TPOT and latency, in seconds.
        steps: tokens decoded after the first.

    Returns:
        Whether all bounds can be met; and what was chosen: by the bounds where there are any, else within
        the slowdown.
    """
    from trilemma.cli.profile_page import SweptPlace

    met, found = True, {}
    for place, phases in places.items():
        chosen, sentence = _within_slowdown(phases, slowdown)
        sentences = [sentence]
        if (bounds.ttft, bounds.tpot, bounds.latency) != (None, None, None):
            kept, sentence = _within_bounds(phases, bounds, steps)
            sentences.append(sentence)
            met, chosen = met and kept is not None, kept or {}
        found[place] = SweptPlace(phases, chosen, sentences)
        _show(console, place, phases, chosen)
        for sentence in sentences:
            say(console, sentence)
    return met, found


def _within_slowdown(phases: "Phases", slowdown: float) -> "tuple[Mapping[str, Setting], str]":
    from trilemma.clocks.choose import clocks_in_words, frequency_by_phase

    plan = frequency_by_phase(phases, slowdown)
    estimate = ", estimate" if plan.estimate else ""
    within = f"least energy{estimate} within {slowdown:.0%} more time: {clocks_in_words(plan.settings)}"
    if all(one == plan.fastest[name] for name, one in plan.settings.items()):
        return plan.settings, f"{within}; no lower frequency saves energy within it"
    unsure = [
        name
        for name, one in plan.settings.items()
        if one != plan.fastest[name] and _overlap(one.joules_interval, plan.fastest[name].joules_interval)
    ]
    doubt = f"; the intervals do not tell the energies of {' and '.join(unsure)} apart" if unsure else ""
    saved = f"saves {plan.saving:.0%} of the energy and adds {plan.slowdown:.1%} to the time"
    return plan.settings, f"{within}; {saved}{_single(plan)}{doubt}"


def _overlap(one: "Interval | None", other: "Interval | None") -> bool:
    return one is not None and other is not None and one.low <= other.high and other.low <= one.high


def _within_bounds(
    phases: "Phases", bounds: "Objective", steps: int
) -> "tuple[Mapping[str, Setting] | None, str]":
    """The settings of least energy that meet all bounds, or None; and a sentence."""
    from trilemma.clocks.choose import clocks_in_words, lowest_energy

    per_phase = {"prefill": ("TTFT", bounds.ttft, 1), "decode": ("TPOT", bounds.tpot, steps)}
    allowed = dict(phases)
    said, missed = [], []
    for name, (title, bound, times) in per_phase.items():
        if bound is None:
            continue
        said.append(f"{title} at most {1e3 * bound:g} ms")
        if name not in phases:
            missed.append(f"no {title} was measured here")
            continue
        allowed[name] = [one for one in phases[name] if one.seconds <= bound * times]
        if not allowed[name]:
            missed.append(f"{title} is {_fastest({name: phases[name]}, times)}")
    if bounds.latency is not None:
        said.append(f"latency at most {1e3 * bounds.latency:g} ms")
    within = math.inf if bounds.latency is None else bounds.latency
    best = None if missed else lowest_energy(allowed, within)
    if best is None and not missed:
        missed.append(f"latency is {_fastest(allowed, 1)}")
    if best is None:
        return None, f"no frequency meets {', '.join(said)}: {'; '.join(missed)}"
    estimate = ", estimate" if any(one.estimate for one in best.values()) else ""
    return best, f"least energy{estimate} with {', '.join(said)}: {clocks_in_words(best)}"


def _fastest(phases: "Phases", times: int) -> str:
    """What the fastest settings take, a part of so many."""
    from trilemma.clocks.choose import clocks_in_words

    fastest = {name: min(settings, key=lambda one: one.seconds) for name, settings in phases.items()}
    taken = 1e3 * sum(one.seconds for one in fastest.values()) / times
    return f"{taken:.4g} ms at the fastest, {clocks_in_words(fastest)}"


def _single(plan: "Plan") -> str:
    """What one frequency for all phases would do."""
    if len(plan.settings) < 2 or not plan.single:
        return ""
    mhz = next(iter(plan.single.values())).mhz
    saved = 1 - sum(one.joules for one in plan.single.values()) / sum(
        one.joules for one in plan.fastest.values()
    )
    return f"; the best single frequency, {mhz:g} MHz, saves {saved:.0%}"


def _show(console: "Console", place: "Place", phases: "Phases", chosen: "Mapping[str, Setting]") -> None:
    from rich.table import Table

    from trilemma.analysis.metrics import format_value
    from trilemma.clocks.choose import pareto

    say(console, f"{place.model}, batch {place.batch}, length {place.length}")
    estimate = any(one.estimate for settings in phases.values() for one in settings)
    energy = "energy of the batch, estimate" if estimate else "energy of the batch"
    table = Table("phase", "MHz", "time", energy, "on the front", "chosen", box=None)
    for phase, settings in phases.items():
        front = pareto(settings)
        for one in sorted(settings, key=lambda one: -one.mhz):
            time = format_value(1e3 * one.seconds, "ms", *_ends(one.seconds_interval, 1e3))
            joules = format_value(one.joules, "J", *_ends(one.joules_interval, 1.0))
            marks = ["yes" if one in front else "", "yes" if one == chosen.get(phase) else ""]
            table.add_row(phase, f"{one.mhz:g}", time, joules, *marks)
    console.print(table)


def _ends(interval: "Interval | None", factor: float) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (factor * interval.low, factor * interval.high)


def say(console: "Console", text: str) -> None:
    """Print one line as it is."""
    from trilemma.terminal import printable

    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
