"""A profile, or a sweep over clock frequencies, as one HTML page: charts, and the tables as printed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from trilemma.analysis.cautions import join
from trilemma.analysis.metrics import format_value
from trilemma.analysis.reading import cleaned
from trilemma.analysis.values import candidates
from trilemma.cli.profile_tables import sheets
from trilemma.clocks.choose import Place, Setting, pareto
from trilemma.files import write_text
from trilemma.profiling.exchange import ModelProfile, PointProfile, Profile, Value
from trilemma.records import Record, records_table
from trilemma.report.charts.clocks import Mark, frequency_section
from trilemma.report.charts.encoding import Figure
from trilemma.report.charts.figures import OVER_GRID, length_figure
from trilemma.report.charts.phases import phases_figure
from trilemma.report.charts.roofline import roofline_figure
from trilemma.report.layout import Sheet
from trilemma.report.pages import page
from trilemma.report.pages.figure_sections import ChartSection, section_of

_RENAMED = {"batch_latency_ms": "latency_ms", "peak_memory_bytes": "peak_inference_memory_bytes"}
"""A profile's metric to that of records under which the chart over lengths draws it; others have one name."""

_WHOLE = (
    " Latency is that of prefill and all decoding, or of one forward pass; latency, memory and state are "
    "those of the whole batch."
)
"""What the chart's metrics mean here."""

_FEW = 4
"""Models that a title names."""


MOST_PLACES = 400
"""Batches and lengths of which charts are drawn; a chart is kept for each of them."""


def write_profile_page(profile: Profile, path: Path) -> None:
    """Write a profile as a page, whole or not at all.

    Raises:
        StoreError: where that place cannot be written.
    """
    records = cleaned(_records(profile))
    everyone = candidates(records) if len(records) else []
    figures: list[Figure | None] = []
    places = {(point.batch, point.length) for model in profile.models for point in model.points}
    if everyone and len(places) <= MOST_PLACES:
        figures = [length_figure(records), phases_figure(records), roofline_figure(records)]
    body = [section_of(figure, everyone) for figure in figures if figure is not None]
    body = [replace(one, lead=one.lead + _WHOLE) if one.figure.name == "length" else one for one in body]
    names = [model.name for model in profile.models]
    title = f"Profile of {join(names) if 0 < len(names) <= _FEW else f'{len(names)} models'}"
    rates = [f"{name} {format_value(rate, 'FLOP/s')}" for name, rate in profile.roofline.flops.items()]
    bandwidth = format_value(profile.roofline.bandwidth, "bytes/s")
    facts = [
        profile.hardware,
        profile.versions,
        f"Roofline: memory {bandwidth}, products {', '.join(rates) or 'of no precision'}",
        *profile.notes,
    ]
    if len(places) > MOST_PLACES:
        facts.append(f"{len(places):,} batches and lengths are too many to draw; the tables have them all")
    write_text(path, page.render(title, facts, body, [*_models(profile), *sheets(profile)]))


def _models(profile: Profile) -> Iterator[Sheet]:
    """What each model is, and in which form."""
    rows = tuple(
        (
            model.name,
            model.arch,
            format_value(model.parameters, "count"),
            model.dtype,
            model.attention or "–",
            ", ".join([model.kernel, *(["torch.compile"] if model.compiled else [])]),
            "–" if model.max_length is None else f"{model.max_length:,} tokens",
        )
        for model in profile.models
    )
    header = ("model", "architecture", "weights", "precision", "attention", "kernel", "longest input")
    if rows:
        yield Sheet("Models", header, rows, ())


def _records(profile: Profile) -> pd.DataFrame:
    """Inference as the records of a study, which charts read: numbers above 0 alone, and the roofline."""
    found: list[Record] = []
    for model in profile.models:
        own = _Recorder(profile, model)
        found += own.machine()
        for point in model.points:
            if point.phase == "inference":
                found += own.point(point)
    records: pd.DataFrame = records_table(found).to_pandas()
    return records


@dataclass(frozen=True)
class _Recorder:
    """Makes records of one model."""

    profile: Profile
    model: ModelProfile

    def machine(self) -> Iterator[Record]:
        """The machine's rates, that of products in the precision in which the model multiplies."""
        rates = self.profile.roofline
        yield self._record("machine_bytes_per_s", Value(value=rates.bandwidth, unit="bytes/s"))
        precision = multiplied(self.model)
        if precision in rates.flops:
            note = "products of packed weights" if precision == "packed" else f"products in {precision}"
            value = Value(value=rates.flops[precision], unit="FLOP/s", note=note)
            yield self._record("machine_flops_per_s", value)

    def point(self, point: PointProfile) -> Iterator[Record]:
        """What was measured at one point, under the names that a study gives it.

        The state is that of the whole batch, as in the tables; a study's is that of one sequence.
        """
        values = {name: value for name, value in point.values.items() if value.value and value.value > 0}
        for name, value in values.items():
            if (metric := _RENAMED.get(name, name)) in OVER_GRID:
                yield self._record(metric, value, point)
        steps = max(point.decode - 1, 1)
        if "tpot_ms" in values:
            tokens = f"{steps} further token{'s' * (steps > 1)}"
            yield self._record("decode_ms", _times(values["tpot_ms"], steps, tokens), point)
        whole = ("prefill", "ttft_ms") if self.model.causal else ("classify", "batch_latency_ms")
        for phase, (own, time), parts in (
            ("prefill", whole, 1),
            ("decode", ("decode_step", "tpot_ms"), steps),
        ):
            for what in ("flops", "bytes"):
                if (work := values.get(f"{phase}_{what}")) is not None:
                    yield self._record(f"{own}_{what}", _times(work, 1 / parts), point)
            share = values.get(f"{phase}_roofline_share")
            if share is not None and share.value is not None and time in values:
                least = _times(values[time], share.value, share.note.split("; ")[0])
                yield self._record(
                    f"{own}_least_ms", least.model_copy(update={"low": None, "high": None}), point
                )

    def _record(self, metric: str, value: Value, point: PointProfile | None = None) -> Record:
        return Record(
            study="",
            model=self.model.name,
            arch=self.model.arch,
            parameters=self.model.parameters,
            adaptation="",
            task="",
            set="",
            seed=None,
            axis="E",
            metric=metric,
            batch=None if point is None else point.batch,
            length=None if point is None else point.length,
            n=value.n,
            value=value.value,
            unit=value.unit,
            low=value.low,
            high=value.high,
            note=value.note,
            hardware=self.profile.hardware,
            kernel=self.model.kernel,
            versions=self.profile.versions,
        )


def multiplied(model: ModelProfile) -> str:
    """The precision in which it multiplies, as the measurement ``work`` tells it."""
    return "int8" if model.arch == "hgrn_bit" and model.dtype != "packed" else model.dtype


def _times(value: Value, factor: float, note: str = "") -> Value:
    """A multiple of a number and its interval, with a note of its own."""
    ends = {
        end: None if number is None else factor * number
        for end, number in (("value", value.value), ("low", value.low), ("high", value.high))
    }
    return value.model_copy(update={**ends, "note": note})


@dataclass(frozen=True)
class SweptPlace:
    """One place of a sweep over clock frequencies.

    Attributes:
        settings: by phase, what it takes at each frequency.
        chosen: by phase, the setting it should run at; absent phases have none.
        sentences: what was chosen, in words.
    """

    settings: Mapping[str, Sequence[Setting]]
    chosen: Mapping[str, Setting]
    sentences: Sequence[str]


def write_frequency_page(
    title: str,
    facts: Sequence[str],
    places: Mapping[Place, SweptPlace],
    path: Path,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a sweep over clock frequencies as a page, whole or not at all.

    Args:
        title: heading of the page.
        facts: lines below it, such as hardware and versions.
        places: what was measured, or estimated, and chosen by model, batch and length.
        path: the HTML file to write.
        classes: of queries, what each should run at: sentences by what they are about.

    Raises:
        StoreError: where that place cannot be written.
    """
    marks = {
        (*_key(place), phase): _marks(settings, swept.chosen.get(phase))
        for place, swept in places.items()
        for phase, settings in swept.settings.items()
        if settings
    }
    said = {_where(place): swept.sentences for place, swept in places.items() if swept.sentences}
    body: list[ChartSection | page.Words] = [
        *([frequency_section(marks)] if marks else []),
        *([page.Words("chosen", "What to run at", said)] if said else []),
        *([page.Words("queries", "By class of query", classes)] if classes else []),
    ]
    write_text(path, page.render(title, facts, body, list(_settings(places, marks))))


def _key(place: Place) -> tuple[str, str, str]:
    return place.model, str(place.batch), str(place.length)


def _where(place: Place) -> str:
    return f"{place.model}, batch {place.batch}, length {place.length}"


def _settings(
    places: Iterable[Place], marks: Mapping[tuple[str, str, str, str], Sequence[Mark]]
) -> Iterator[Sheet]:
    """The frequencies of each place."""
    for place in places:
        own = [(key[-1], mark) for key in marks if key[:-1] == _key(place) for mark in marks[key]]
        rows = tuple(
            (
                phase,
                f"{mark.mhz:g}",
                format_value(mark.milliseconds, "ms"),
                format_value(mark.joules, "J"),
                "yes" if mark.front else "",
                "yes" if mark.chosen else "",
            )
            for phase, mark in own
        )
        energy = "energy, estimate" if any(mark.estimate for _, mark in own) else "energy"
        if rows:
            yield Sheet(_where(place), ("phase", "MHz", "time", energy, "on the front", "chosen"), rows, ())


def _marks(settings: Sequence[Setting], chosen: Setting | None) -> list[Mark]:
    """The settings, highest frequency first."""
    front = pareto(settings)
    return [
        Mark(one.mhz, 1e3 * one.seconds, one.joules, one in front, one == chosen, one.estimate)
        for one in sorted(settings, key=lambda one: -one.mhz)
    ]
