"""What a study would do, before it does it: cells, downloads, memory and time."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from rich.console import Console
from rich.table import Table

from trilemma.errors import DataError
from trilemma.study.attacking import require_attacks
from trilemma.study.data import StudyData
from trilemma.study.estimate import STAGE_SECONDS
from trilemma.study.graph import GraphBuilder
from trilemma.study.origin import require_loadable, resolve
from trilemma.study.plugins import require_importable
from trilemma.study.runner import provenance
from trilemma.study.spec import SetSpec, Study
from trilemma.study.store import has_artifact
from trilemma.tasks import advglue, anli
from trilemma.tasks.task import AdversarialExamples, Examples, Text

_TYPICAL = "word " * 20
"""Stands for a text that is not at hand: GLUE's inputs have 10 to 60 words."""


@dataclass(frozen=True)
class Plan:
    """The plan of a study.

    Attributes:
        study: its name.
        rows: (kind of stage, how many, operations, peak bytes), whether present or not.
        present: how many stages of each kind lie in the store.
        downloads: what would be fetched, with its size where that is known.
        unknown: candidates whose size is not known before they are fetched; they are in no estimate.
        operations: all operations of the stages that are not present, estimated.
        seconds: estimated time of those on this machine.
        memory: estimated peak bytes.
        available: bytes of memory this machine has.
    """

    study: str
    rows: list[tuple[str, int, float, float]]
    present: Mapping[str, int]
    downloads: list[str]
    unknown: list[str]
    operations: float
    seconds: float
    memory: float
    available: int


class _Repeated(Sequence[Text]):
    """n times the same text, without the memory."""

    def __init__(self, text: Text, n: int) -> None:
        self._text, self._n = text, n

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> Text: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Text]: ...
    def __getitem__(self, index: int | slice) -> Text | Sequence[Text]:
        if isinstance(index, slice):
            return _Repeated(self._text, len(range(*index.indices(self._n))))
        if not -self._n <= index < self._n:
            raise IndexError(index)
        return self._text


class PublishedSizes(StudyData):
    """Stands for hub data in a plan: official numbers of rows, no text, nothing fetched."""

    def examples(self, task: str, split: str) -> Examples:
        """A split of the official size with typical texts."""
        if task in self._own:
            return super().examples(task, split)
        known = self.task(task)
        rows = known.official_rows.get(split)
        if rows is None:
            raise DataError(
                f"the size of {task}/{split} is not known without reading it; run with data at hand"
            )
        return Examples(
            task, split, (), _Repeated((_TYPICAL,) * len(known.fields), rows), (), f"published {task}/{split}"
        )

    def _read_set(self, task: str, spec: SetSpec | str) -> list[AdversarialExamples]:
        """A published set at its published size, and the user's own as it is."""
        known = self.task(task)
        if isinstance(spec, SetSpec) or known.data:
            return super()._read_set(task, spec)
        if spec == "advglue":
            sizes = {subset.name: subset.dev_rows for subset in advglue.SUBSETS.get(task, ())}
        elif spec == "anli":
            sizes = {f"anli_{one}": anli.DEV_ROWS[one] for one in anli.ROUNDS if anli.serves(known)}
        else:
            raise DataError(
                f"no adversarial set {spec!r} on the hub; known: advglue, anli, or a set of your own"
            )
        text = (_TYPICAL,) * len(known.fields)
        return [
            AdversarialExamples(task, name, (), _Repeated(text, rows), (), f"published {name}")
            for name, rows in sizes.items()
        ]


def plan(study: Study, store: Path | None = None) -> Plan:
    """Lay out a study without running it; hub data and models are taken at their published sizes.

    Args:
        study: the study.
        store: folder of artifacts, of which those of the study are counted. What comes from the hub is not
            looked up there, so stages that need it count as absent.

    Raises:
        TrilemmaError: for whatever would stop the study at its start.
    """
    from trilemma.hardware import machine

    require_importable(study)
    data = PublishedSizes(study) if study.data == "hub" else StudyData(study)
    data.check()
    require_attacks(study, data)
    origins = {model.label: resolve(model, study.base) for model in study.models}
    for model in study.models:
        require_loadable(model, origins[model.label])
    graph = GraphBuilder(study, data, origins, provenance()).build()
    counts = Counter(stage.kind for stage in graph.stages)
    absent = [stage for stage in graph.stages if not (store and has_artifact(store, stage.kind, stage.key))]
    left = Counter(stage.kind for stage in absent)
    rows = []
    for kind, count in counts.items():
        stages = [stage for stage in graph.stages if stage.kind == kind]
        rows.append((kind, count, sum(s.work for s in stages), max(s.memory for s in stages)))
    downloads = []
    for label, origin in origins.items():
        if origin.remote:
            size = (
                f"about {_bytes(2.0 * (origin.weights + (origin.embeddings or 0)))} in bfloat16"
                if origin.weights
                else "size unknown"
            )
            downloads.append(f"{origin.location} ({label}): {size}")
    if study.data == "hub":
        downloads.append(f"data of {', '.join(task.name for task in study.tasks)} from the Hugging Face Hub")
    operations = sum(stage.work for stage in absent)
    return Plan(
        study=study.name,
        rows=rows,
        present={kind: count - left[kind] for kind, count in counts.items()},
        downloads=downloads,
        unknown=[label for label, origin in origins.items() if origin.weights is None],
        operations=operations,
        seconds=operations / _matrix_rate() + STAGE_SECONDS * len(absent),
        memory=max(row[3] for row in rows),
        available=machine.available_memory(),
    )


def print_plan(plan: Plan, console: Console) -> None:
    """Print a plan for people."""
    table = Table(title=f"plan of study {plan.study}", title_justify="left")
    for heading in ("stage", "cells", "present", "operations", "peak memory"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for kind, count, operations, memory in plan.rows:
        unknown = "-" if kind in _SIZELESS or not plan.unknown else "unknown"
        shown = f"{operations:.1e}" if operations else unknown, _bytes(memory) if memory else unknown
        table.add_row(kind, str(count), str(plan.present[kind]), *shown)
    console.print(table)

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    for download in plan.downloads:
        say(f"download: {download}")
    counted, present = sum(count for _, count, _, _ in plan.rows), sum(plan.present.values())
    stages = f"{counted - present} of {counted} stages, the rest present" if present else f"{counted} stages"
    if plan.unknown:
        rest = "; without them:" if plan.operations else ""
        say(f"estimated time and memory of {', '.join(plan.unknown)}: unknown until fetched or opened{rest}")
        if not rest:
            return
    say(
        f"estimated time on this machine, {stages}: about {_duration(plan.seconds)}, within a factor of three"
    )
    say(f"estimated peak memory: {_bytes(plan.memory)} of {_bytes(plan.available)}")
    if plan.memory > plan.available:
        say(
            "this is more memory than the machine has: use adapt method lora or linear-probe, "
            "a smaller batch, or a larger machine",
            "yellow",
        )


_SIZELESS = ("tokenizer", "create", "transform")
"""Stages that have no estimate, whatever is known of the models."""


def _duration(seconds: float) -> str:
    """In the largest unit of which there are at least two."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} seconds"


def _matrix_rate() -> float:
    """Operations a second of a float32 matrix product on this machine's fastest device."""
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


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
