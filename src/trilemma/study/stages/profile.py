"""The efficiency of all candidates."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trilemma.adapt.settings import AdaptSettings
from trilemma.profiling.derived import energy_estimates
from trilemma.profiling.grid import EfficiencyGrid
from trilemma.records import INTERRUPTED, Record, records_table, write_table
from trilemma.study import estimate
from trilemma.study.finished import Finished
from trilemma.study.graph import Graph
from trilemma.study.origin import Origin
from trilemma.study.spec import ModelSpec, Study
from trilemma.study.stage import AGAIN, Loading, Source, Stage, StageEstimate, StageRun, source_setting

_OPERATIONS_PER_SECOND = 3e10
"""Those of a small processor in small models: what turns the grid's time into work."""

_PROCESS_SECONDS = 10.0
"""For starting the fresh process in which a model's memory is measured."""


@dataclass(frozen=True, kw_only=True)
class SharedShape:
    """Candidates that differ in their weights alone, which are measured once.

    Attributes:
        names: of the candidates.
        source: the weights that are measured.
        load: how their folder may be opened.
        adaptations: how a candidate is fine-tuned, one entry per method: what a step computes, not on which
            data.
    """

    names: tuple[str, ...]
    source: Source
    load: Loading
    adaptations: tuple[AdaptSettings, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """All that can change what is measured."""
        adaptations = [_of_step(settings) for settings in self.adaptations]
        own = {"names": self.names, "load": asdict(self.load), "adaptations": adaptations}
        return own | source_setting(self.source)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileStage(Stage, kind="profile", version=7, needs_all_inputs=False):
    """Measures all candidates in rounds that interleave, and forecasts each from the others.

    It is one stage, so that a drift of the machine hits all candidates alike.

    Attributes:
        shapes: what is measured.
        grid: where; None: sizes only. Without watts, which change no measurement: the estimates are made with
            the tables.
        machine: hardware, versions and kernels.
    """

    shapes: tuple[SharedShape, ...]
    grid: EfficiencyGrid | None
    machine: Mapping[str, str]

    @property
    def settings(self) -> dict[str, Any]:
        grid = self.grid.model_dump(mode="json", exclude={"watts"}) if self.grid else None
        models = {f"model{place}": shape.settings for place, shape in enumerate(self.shapes)}
        return {"models": models, "grid": grid, **self.machine}

    @property
    def inputs(self) -> dict[str, Stage]:
        sources = {f"model{place}": shape.source for place, shape in enumerate(self.shapes)}
        return {role: source for role, source in sources.items() if isinstance(source, Stage)}

    def compute(self, run: StageRun) -> None:
        from trilemma.profiling import EfficiencyGrid, ModelUnderTest, profile

        failures = {shape: run.failures.get(getattr(shape.source, "key", ""), "") for shape in self.shapes}
        models = [
            ModelUnderTest(
                names=shape.names,
                folder=Path(run.model(shape.source)),
                adaptations=shape.adaptations,
                **asdict(shape.load),
            )
            for shape in self.shapes
            if not failures[shape]
        ]
        if self.grid is None:
            records = profile(models, EfficiencyGrid(), measurements=["parameters"], progress=run.progress)
        else:
            from trilemma.study.forecasting import forecasts

            records = profile(models, self.grid, progress=run.progress)
            records = [*records, *forecasts(models, records)]
        what: dict[str, Any] = {"axis": "E", "metric": "parameters", "unit": "count", "basis": "counted"}
        absent = (
            Record(model=name, **what, status="failed", reason=failure)
            for shape, failure in failures.items()
            for name in shape.names
            if failure
        )
        run.facts[AGAIN] = any(INTERRUPTED in record.flags for record in records)
        write_table(records_table([*records, *absent]), run.out / "records.parquet")


def _of_step(settings: AdaptSettings) -> dict[str, Any]:
    """What of an adaptation changes the time and memory of a step."""
    return settings.model_dump(mode="json", include={"method", "lora"})


def lay_out(graph: Graph) -> Iterator[ProfileStage]:
    """One stage for all candidates."""
    study = graph.study
    shapes: dict[str, SharedShape] = {}
    for model in study.models:
        same = model.from_scratch and (model.arch, model.size, model.transforms)
        adaptations = _adaptations(study, model)
        shape = repr((same or model.label, [_of_step(settings) for settings in adaptations]))
        first = SharedShape(
            names=(),
            source=graph.sources[model.label, study.seeds[0]],
            load=Loading(model.trust_remote_code, model.allow_pickle),
            adaptations=adaptations,
        )
        known = shapes.get(shape, first)
        shapes[shape] = replace(known, names=(*known.names, model.label))
    grid = study.efficiency and study.efficiency.model_copy(update={"watts": None})
    yield ProfileStage(
        title=f"of {len(shapes)} shapes",
        estimate=_estimate([graph.origins[shape.names[0]] for shape in shapes.values()], grid),
        shapes=tuple(shapes.values()),
        grid=grid,
        machine=graph.machine,
    )


def _adaptations(study: Study, model: ModelSpec) -> tuple[AdaptSettings, ...]:
    """How a candidate is fine-tuned: of each method the settings that come first in the study."""
    chosen = [study.settings_for(one, task, model) for task in study.tasks for one in study.adapt]
    methods = {settings.method: settings for settings in reversed(chosen)}
    return tuple(AdaptSettings.model_validate(_of_step(methods[name])) for name in sorted(methods))


def _estimate(origins: list[Origin], grid: EfficiencyGrid | None) -> StageEstimate:
    """The time of the grid; the memory of its largest training step, which needs most."""
    if grid is None:
        return StageEstimate()
    points = len(grid.batch) * len(grid.length) * (2 if grid.decode else 1)
    training = grid.points("train")
    points += len(training)
    seconds = len(origins) * points * grid.seconds * 2  # as much again for warming up and measuring memory
    seconds += len(origins) * _PROCESS_SECONDS
    step = max((point.tokens for point in training), default=0)
    memory = max(estimate.training(origin, 0, step).memory for origin in origins)
    return StageEstimate(seconds * _OPERATIONS_PER_SECOND, memory)


def records(finished: Finished) -> Iterator[Record]:
    """Axis E; what a reader must know about a candidate stands at its number of parameters."""
    study = finished.graph.study
    notes = {model.label: model.note for model in study.models}
    watts = study.efficiency.watts if study.efficiency else None
    estimated = energy_estimates(finished.efficiency, watts) if watts else ()
    for record in (*finished.efficiency, *estimated):
        note = notes.get(record.model, "") if record.metric == "parameters" else ""
        yield replace(record, note="; ".join(filter(None, (note, record.note)))) if note else record
