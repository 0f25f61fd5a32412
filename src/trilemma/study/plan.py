"""What a study would do, before it does it: stages, downloads, memory and time."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from trilemma.study.console import duration
from trilemma.study.data_warnings import data_warnings
from trilemma.study.estimate import STAGE_SECONDS
from trilemma.study.graph import Graph
from trilemma.study.layout import lay_out
from trilemma.study.power import Resolution, resolutions
from trilemma.study.spec import Study
from trilemma.study.store import has_artifact
from trilemma.terminal import print_lines
from trilemma.units import format_value


class PlannedStages(NamedTuple):
    """The stages of one kind: how many, how many present, operations of all, peak bytes of the largest."""

    kind: str
    all: int
    present: int
    work: float
    memory: float


@dataclass(frozen=True)
class StudyPlan:
    """The plan of a study.

    Attributes:
        study: its name.
        stages: by kind, those in the store included.
        downloads: what would be fetched, with its size where that is known.
        unknown: candidates whose size is not known before they are fetched; they are in no estimate.
        operations: all operations of the stages that are not present, estimated.
        seconds: estimated time of those on this machine.
        memory: estimated peak bytes.
        available: bytes of memory this machine has.
        resolutions: what differences its items and seeds can resolve.
        seeds: how many it has.
        warnings: what of the data misleads a reader of the scores.
    """

    study: str
    stages: list[PlannedStages]
    downloads: list[str]
    unknown: list[str]
    operations: float
    seconds: float
    memory: float
    available: int
    resolutions: list[Resolution]
    seeds: int
    warnings: list[str]


def plan(
    study: Study, store: Path | None = None, preparing: Callable[[str], None] = lambda what: None
) -> StudyPlan:
    """Lay out a study without running it; hub data and models are taken at their published sizes.

    Args:
        study: the study.
        store: folder of artifacts, of which those of the study are counted. What comes from the hub is not
            looked up there, so stages that need it count as absent.
        preparing: called with what is being done.

    Raises:
        TrilemmaError: for whatever would stop the study at its start.
    """
    from trilemma.hardware import machine

    graph = lay_out(study, offline=True, preparing=preparing)
    preparing("looking up what is there")
    absent = [stage for stage in graph.stages if not (store and has_artifact(store, stage.kind, stage.key))]
    missing = Counter(stage.kind for stage in absent)
    planned = []
    for kind in dict.fromkeys(stage.kind for stage in graph.stages):
        work, memory = zip(*(stage.estimate for stage in graph.stages if stage.kind == kind), strict=True)
        planned.append(PlannedStages(kind, len(work), len(work) - missing[kind], sum(work), max(memory)))
    operations = sum(stage.estimate.work for stage in absent)
    return StudyPlan(
        study=study.name,
        stages=planned,
        downloads=list(_downloads(graph)),
        unknown=[label for label, origin in graph.origins.items() if origin.weights is None],
        operations=operations,
        seconds=operations / _matrix_rate() + STAGE_SECONDS * len(absent),
        memory=max(row.memory for row in planned),
        available=machine.available_memory(),
        resolutions=resolutions(graph),
        seeds=len(study.seeds),
        warnings=list(data_warnings(graph)),
    )


def _downloads(graph: Graph) -> Iterator[str]:
    for label, origin in graph.origins.items():
        if origin.remote:
            size = 2.0 * (origin.weights + (origin.embeddings or 0)) if origin.weights else None
            shown = f"about {format_value(size, 'bytes')} in bfloat16" if size else "size unknown"
            yield f"{origin.location} ({label}): {shown}"
    if graph.study.data == "hub":
        tasks = ", ".join(task.name for task in graph.study.tasks)
        yield f"data of {tasks} from the Hugging Face Hub"


def print_plan(plan: StudyPlan, console: Console) -> None:
    """Print a plan for people."""
    table = Table(title=f"plan of study {plan.study}", title_justify="left")
    for heading in ("stage", "count", "present", "operations", "peak memory"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for row in plan.stages:
        unknown = "-" if row.kind in _SIZELESS or not plan.unknown else "unknown"
        work = f"{row.work:.1e}" if row.work else unknown
        memory = format_value(row.memory, "bytes") if row.memory else unknown
        table.add_row(row.kind, str(row.all), str(row.present), work, memory)
    console.print(table)
    print_lines(console, *plan.warnings, style="yellow")
    print_lines(console, *(f"download: {download}" for download in plan.downloads))
    count, present = (sum(getattr(row, name) for row in plan.stages) for name in ("all", "present"))
    stages = f"{count - present} of {count} stages, the rest present" if present else f"{count} stages"
    if plan.unknown:
        rest = "; without them:" if plan.operations else ""
        names = ", ".join(plan.unknown)
        print_lines(console, f"estimated time and memory of {names}: unknown until fetched or opened{rest}")
        if not rest:
            return
    _print_resolutions(plan, console)
    needed, available = format_value(plan.memory, "bytes"), format_value(plan.available, "bytes")
    print_lines(
        console,
        f"estimated time on this machine, {stages}: about {duration(plan.seconds)}, within a factor of three",
        f"estimated peak memory: {needed} of {available}",
    )
    if plan.memory > plan.available:
        remedy = "use adapt method lora or linear-probe, a smaller batch, or a larger machine"
        print_lines(console, f"this is more memory than the machine has: {remedy}", style="yellow")


def _print_resolutions(plan: StudyPlan, console: Console) -> None:
    """What differences the study can resolve, so that nobody spends hours on what cannot be decided."""
    if not plan.resolutions:
        return
    table = Table(title="smallest difference that is found (80% power)", title_justify="left")
    for heading in ("mean over tasks", "items", "difference"):
        table.add_column(heading, justify="left" if heading == "mean over tasks" else "right")
    for one in plan.resolutions:
        table.add_row(one.what, f"{one.items:,}", f"{100 * one.difference:.1f} points")
    console.print(table)
    if plan.seeds == 1:
        print_lines(
            console, "with one seed a difference is one of these trained models, not of the candidates"
        )


_SIZELESS = ("tokenizer", "create", "transform")
"""Kinds of stages that have no estimate, whatever is known of the models."""


def _matrix_rate() -> float:
    """Operations per second of a float32 matrix product on this machine's fastest device."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    extent = 4096 if device == "cuda" else 1024
    matrix = torch.ones(extent, extent, device=device)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # reading a value waits for the product
        best = min(best, time.perf_counter() - began)
    return 2 * extent**3 / best
