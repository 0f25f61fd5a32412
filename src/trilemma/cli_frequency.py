"""``trilemma profile --frequencies``: time and energy by clock frequency, and which one to choose."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.cli_profile_page import SweptPlace
    from trilemma.deploy.choose import Objective
    from trilemma.deploy.clock_model import Power
    from trilemma.deploy.frequency import Phases, Place, Plan, Setting
    from trilemma.deploy.query_features import Tokenize
    from trilemma.profile.clocks import Clocks
    from trilemma.profile.grid import EfficiencyGrid
    from trilemma.profile.variants import Variant
    from trilemma.records import Record

Places = dict["Place", dict[str, list["Setting"]]]
"""By model, batch and length, the settings of each phase."""

TIMES = ("latency", "generation")

TOGETHER = (("prefill", "decode"), ("classification",))
"""Phases of one answer; classification is a workload of its own."""


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
) -> None:
    """Measure at each frequency, or estimate, and print what each phase should run at.

    Args:
        console: to print to.
        variants: models in their forms.
        grid: of points.
        device: torch device; by default the GPU where there is one.
        asked: frequencies and how to choose among them.

    Raises:
        TrilemmaError: for what is asked and cannot be.
    """
    from trilemma.cli_deploy import objective_of
    from trilemma.deploy.clock_model import Power
    from trilemma.deploy.query_policy import read_queries
    from trilemma.errors import TrilemmaError
    from trilemma.profile.clocks import clocks_of
    from trilemma.profile.lab import require_device
    from trilemma.profile.machine import default_device

    bounds = objective_of(asked.slo, None)
    queries = [] if asked.queries is None else read_queries(asked.queries)
    if queries and len(grid.length) < 2:
        raise TrilemmaError("classes of queries need two or more lengths; give them by --length, e.g. 32,512")
    require_device(device)
    on = device or default_device()
    if asked.watts is None:
        places = measured_places(
            console, clocks_of(on), variants, grid, on, asked.frequencies, allow=asked.allow
        )
    elif asked.allow:
        raise TrilemmaError(
            "--watts estimates and --allow-frequency-control measures; leave out one of the two"
        )
    else:
        power = Power.usual(asked.watts, asked.idle_watts, max(asked.frequencies))
        places = estimated_places(console, power, variants, grid, on, asked.frequencies)
    order = [name for names in TOGETHER for name in names]
    places = {
        place: {name: phases[name] for name in order if name in phases} for place, phases in places.items()
    }
    choices = choose(console, places, asked.slowdown, bounds, grid.decode - 1)
    if queries and places:
        choose_by_query(console, places, queries, asked.slowdown, tokenizers_of(variants))
    if asked.report is not None and places:
        from trilemma.cli_profile_page import write_frequency_page
        from trilemma.profile.machine import hardware, versions

        facts = [hardware(on), versions(), *([ESTIMATED] if asked.watts is not None else [])]
        write_frequency_page("Time and energy by clock frequency", facts, choices, asked.report)
        say(console, f"report: {asked.report}")


def measured_places(
    console: "Console",
    clocks: "Clocks",
    variants: "Sequence[Variant]",
    grid: "EfficiencyGrid",
    device: str,
    frequencies: Sequence[int],
    *,
    allow: bool,
) -> Places:
    """Measure at each frequency, and give the clocks back.

    Args:
        console: to print to.
        clocks: of the device.
        variants: models in their forms.
        grid: of points.
        device: torch device.
        frequencies: in MHz.
        allow: whether the clocks may be changed.

    Raises:
        ClockError: where the clocks may not or cannot be changed.
    """
    from trilemma.deploy.frequency import measured_settings
    from trilemma.profile import profile
    from trilemma.profile.frequency import sweep
    from trilemma.study.console import progress_bar

    with progress_bar(console, "profiling at each frequency") as progress:

        def work(mhz: int) -> "list[Record]":
            subjects = [variant.subject for variant in variants]
            names = (*TIMES, "energy")
            return profile(subjects, grid, measurements=names, device=device, progress=progress)

        swept = sweep(clocks, frequencies, work, allow=allow)
    for one in swept:
        if one.observed is not None and abs(one.observed / one.mhz - 1) > 0.05:
            say(console, f"at {one.mhz} MHz the clock was {one.observed:.0f} MHz: something else decided")
    records = {float(one.mhz): one.result for one in swept}
    found = measured_settings(records, grid.decode - 1)
    if not found:
        say(console, _why(records.values()))
    return found


def estimated_places(
    console: "Console",
    power: "Power",
    variants: "Sequence[Variant]",
    grid: "EfficiencyGrid",
    device: str,
    frequencies: Sequence[int],
) -> Places:
    """Measure at the clocks as they are, taken as the highest frequency, and estimate the others.

    Nothing touches the clocks. What of a phase's time depends on them follows from its roofline.

    Args:
        console: to print to.
        power: of the device over its frequency.
        variants: models in their forms.
        grid: of points.
        device: torch device.
        frequencies: in MHz.
    """
    from trilemma.deploy.clock_model import estimated_places as estimate
    from trilemma.profile import profile
    from trilemma.profile.roofline import find
    from trilemma.profile.variants import PRECISIONS
    from trilemma.study.console import progress_bar

    subjects = [variant.subject for variant in variants]
    with progress_bar(console, "profiling") as progress:
        records = profile(subjects, grid, measurements=TIMES, device=device, progress=progress)
    roofline = find(device, PRECISIONS).roofline
    found = estimate(records, subjects, roofline, power, frequencies, grid.decode)
    say(console, ESTIMATED)
    return found


def choose(
    console: "Console",
    places: Places,
    slowdown: float,
    bounds: "Objective",
    steps: int,
) -> "dict[Place, SweptPlace]":
    """Print every place's settings and what each phase should run at.

    Args:
        console: to print to.
        places: settings.
        slowdown: share of time that may be added to each phase.
        bounds: of TTFT, TPOT and latency, in seconds.
        steps: tokens decoded after the first.

    Raises:
        DeployError: for a slowdown that is no share.
    """
    from trilemma.cli_profile_page import SweptPlace

    found = {}
    for place, phases in places.items():
        settings: dict[str, Setting] = {}
        sentences: list[str] = []
        for names in TOGETHER:
            own = {name: phases[name] for name in names if name in phases}
            if own:
                for chosen, sentence in _chosen(own, slowdown, bounds, steps):
                    settings |= chosen
                    sentences.append(sentence)
        found[place] = SweptPlace(phases, settings, sentences)
        _show(console, place, phases)
        for sentence in sentences:
            say(console, sentence)
    return found


def _chosen(
    phases: "Phases", slowdown: float, bounds: "Objective", steps: int
) -> "Iterator[tuple[Mapping[str, Setting], str]]":
    from trilemma.deploy.frequency import frequency_by_phase, lowest_energy
    from trilemma.errors import DeployError

    plan = frequency_by_phase(phases, slowdown)
    estimate = ", estimate" if plan.estimate else ""
    yield (
        plan.settings,
        f"least energy{estimate} within {slowdown:.0%} more time: {_clocks(plan.settings)}; saves "
        f"{plan.saving:.0%} of the energy and adds {plan.slowdown:.1%} to the time{_single(plan)}",
    )
    limits = {"prefill": bounds.ttft, "decode": None if bounds.tpot is None else bounds.tpot * steps}
    limits = {name: limit for name, limit in limits.items() if limit is not None and name in phases}
    if not limits and bounds.latency is None:
        return
    named = {"prefill": "TTFT", "decode": "TPOT"}
    said = [
        f"{named[name]} at most {1e3 * limit / (steps if name == 'decode' else 1):g} ms"
        for name, limit in limits.items()
        if limit is not None
    ]
    said += [f"latency at most {1e3 * bounds.latency:g} ms"] if bounds.latency is not None else []
    try:
        for name, limit in limits.items():
            lowest_energy({name: phases[name]}, limit or 0.0)  # says which bound it is that nothing meets
        within = {
            name: [one for one in settings if one.seconds <= limits.get(name, float("inf"))]  # type: ignore[operator]
            for name, settings in phases.items()
        }
        latency = float("inf") if bounds.latency is None else bounds.latency
        best = lowest_energy(within, latency)
    except DeployError as error:
        yield {}, f"{', '.join(said)}: {error}"
        return
    yield best, f"least energy{estimate} with {', '.join(said)}: {_clocks(best)}"


def _clocks(settings: "Mapping[str, Setting]") -> str:
    return ", ".join(f"{name} at {one.mhz:g} MHz" for name, one in settings.items())


def _single(plan: "Plan") -> str:
    """What one frequency for all phases would do."""
    if len(plan.settings) < 2 or not plan.single:
        return ""
    mhz = next(iter(plan.single.values())).mhz
    saved = 1 - sum(one.joules for one in plan.single.values()) / sum(
        one.joules for one in plan.fastest.values()
    )
    return f"; the best single frequency, {mhz:g} MHz, saves {saved:.0%}"


def _show(console: "Console", place: "Place", phases: "Phases") -> None:
    from rich.table import Table

    from trilemma.deploy.frequency import pareto
    from trilemma.report.metrics import format_value

    say(console, f"{place.model}, batch {place.batch}, length {place.length}")
    estimate = any(one.estimate for settings in phases.values() for one in settings)
    table = Table(
        "phase", "MHz", "time", "energy, estimate" if estimate else "energy", "on the front", box=None
    )
    for phase, settings in phases.items():
        front = {one.mhz for one in pareto(settings)}
        for one in sorted(settings, key=lambda one: -one.mhz):
            mark = "yes" if one.mhz in front else ""
            time, energy = format_value(1e3 * one.seconds, "ms"), format_value(one.joules, "J")
            table.add_row(phase, f"{one.mhz:g}", time, energy, mark)
    console.print(table)


def choose_by_query(
    console: "Console",
    places: Places,
    queries: Sequence[str],
    slowdown: float,
    tokenizers: "Mapping[str, Tokenize]",
) -> None:
    """Print classes of queries and what each phase of each class should run at.

    Args:
        console: to print to.
        places: settings at two or more lengths.
        queries: texts.
        slowdown: share of time that may be added to each phase.
        tokenizers: by model; of others, words and marks are counted.

    Raises:
        DeployError: where nothing tells the queries apart.
    """
    from trilemma.deploy.query_features import words_and_marks
    from trilemma.deploy.query_policy import class_queries

    for model, batch in dict.fromkeys((place.model, place.batch) for place in places):
        by_length = {
            place.length: {name: phases[name] for name in TOGETHER[0] if name in phases} or phases
            for place, phases in places.items()
            if (place.model, place.batch) == (model, batch)
        }
        tokenize = tokenizers.get(model, words_and_marks)
        found = class_queries(queries, by_length, slowdown, tokenize)
        counted = "tokens" if model in tokenizers else "words and marks, as the model has no tokenizer"
        say(console, f"{model}, batch {batch}: {len(queries)} queries in classes by {counted}")
        ranks = [
            f"{name.replace('_', ' ')} {one.spearman:+.2f}"
            for name, one in found.correlations.items()
            if one.spearman is not None
        ]
        say(console, f"  Spearman's correlation with the energy of that many tokens: {', '.join(ranks)}")
        classes = found.policy.classes
        ends = ["", *(f"{bound:g}" for bound in classes.bounds), ""]
        for number, plan in found.policy.plans.items():
            low, high = ends[number], ends[number + 1]
            where = f"{low} to below {high}" if low and high else f"below {high}" if high else f"from {low}"
            what = f"{classes.feature.replace('_', ' ')} {where}" if low or high else "all"
            say(
                console,
                f"  {what} ({found.counts[number]} queries, measured at {found.lengths[number]}): "
                f"{_clocks(plan.settings)}; saves {plan.saving:.0%}",
            )


def tokenizers_of(variants: "Sequence[Variant]") -> "dict[str, Callable[[str], list[int]]]":
    """What counts a text's tokens, by name of the model, for those that have a tokenizer."""
    from trilemma.errors import ModelError
    from trilemma.models.loading import load_tokenizer

    found: dict[str, Callable[[str], list[int]]] = {}
    for variant in variants:
        try:
            tokenizer = load_tokenizer(
                variant.subject.folder, trust_remote_code=variant.subject.trust_remote_code
            )
        except ModelError:
            continue
        found[variant.subject.name] = lambda text, own=tokenizer: list(own(text)["input_ids"])  # type: ignore[misc]
    return found


def _why(results: "Iterable[list[Record]]") -> str:
    """Why nothing can be chosen."""
    notes = [
        one.note for records in results for one in records if "energy" in one.metric and one.value is None
    ]
    reason = notes[0].removeprefix("not measured: ") if notes else "nothing was measured"
    return f"no frequency can be chosen by its energy, which was not measured: {reason}"


def say(console: "Console", text: str) -> None:
    """Print one line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
