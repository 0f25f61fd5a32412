"""Walks a study's graph in this process: computes what is absent, reuses what is there."""

import ctypes
import gc
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trilemma.errors import DivergedError, StoreError, TrilemmaError
from trilemma.files import write_text
from trilemma.progress import Progress
from trilemma.records import write_table
from trilemma.study.attacking import require_attacks
from trilemma.study.console import silence_noise
from trilemma.study.data import StudyData
from trilemma.study.graph import Graph, GraphBuilder
from trilemma.study.origin import Origin, fetch, require_loadable, resolve
from trilemma.study.plugins import require_importable
from trilemma.study.spec import Study
from trilemma.study.stage import Stage, StageRun
from trilemma.study.stages import FUNCTIONS
from trilemma.study.store import DamagedError, Store
from trilemma.study.tables import build_tables

_FULL = 1 << 20


class Listener(Protocol):
    """Told what a run does, for a display."""

    def preparing(self, what: str) -> None:
        """Something before the first stage: reading data, fetching a model."""

    def planned(self, graph: Graph) -> None:
        """The stages are known."""

    def notice(self, what: str) -> None:
        """Something that a reader should see and that stays on the screen."""

    def started(self, stage: Stage) -> Progress:
        """A stage begins; returns what is told of the work inside it."""

    def finished(self, stage: Stage, seconds: float, *, reused: bool, failure: str) -> None:
        """A stage ended; ``failure`` is the reason where it failed, else empty."""


@dataclass
class Outcome:
    """What a walk over the graph came to.

    Attributes:
        facts: stage key to the facts of its artifact.
        failures: stage key to the reason why it has none.
    """

    facts: dict[str, dict[str, object]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def prepare(study: Study, listener: Listener) -> tuple[StudyData, Graph]:
    """Read the data, fetch the models and lay out the stages; faults are found here, before any work."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # the listener shows progress
    silence_noise()
    require_importable(study)
    listener.preparing("reading the data")
    data = StudyData(study)
    data.check()
    require_attacks(study, data)
    origins: dict[str, Origin] = {}
    for model in study.models:
        if model.id:
            listener.preparing(f"fetching {model.id}")
        origins[model.label] = fetch(model) if model.id else resolve(model, study.base)
        require_loadable(model, origins[model.label])
    listener.preparing("laying out the stages")
    return data, GraphBuilder(study, data, origins, provenance()).build()


def provenance() -> dict[str, str]:
    """What an artifact was computed with, beside what its key holds."""
    import torch

    from trilemma.hardware import machine
    from trilemma.ops import compiled_kernels

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "hardware": machine.hardware(device, clock=False),
        "versions": machine.versions(),
        "kernels": compiled_kernels(),
    }


def run_study(study: Study, run: Path, store: Path, listener: Listener) -> None:
    """Run a study to its two tables; a killed run goes on where it stood.

    Args:
        study: the validated study.
        run: the run folder, which the caller holds (:func:`trilemma.study.store.locked`); gets
            ``records.parquet``, ``items.parquet``, ``checkpoints.json`` and ``study.json``.
        store: the folder of artifacts.
        listener: told of progress.

    Raises:
        TrilemmaError: for a fault in study, data or models, found before any work; or a refusing disk.
    """
    data, graph = prepare(study, listener)
    _keep_study(study, run / "study.json", listener)
    listener.planned(graph)
    artifacts = Store(store)
    outcome = Outcome()
    for stage in graph.stages:
        _advance(stage, data, artifacts, outcome, listener)
    listener.preparing("scoring")
    records, items = build_tables(study, data, graph, artifacts, outcome.facts, outcome.failures)
    write_text(run / "checkpoints.json", json.dumps(_checkpoints(graph, artifacts, outcome), indent=1))
    write_table(items, run / "items.parquet")
    write_table(records, run / "records.parquet")


def _keep_study(study: Study, path: Path, listener: Listener) -> None:
    """Write the study beside its tables, and say so where those of another one will be replaced."""
    content = study.model_dump_json(indent=1, exclude_unset=True)
    finished = path.is_file() and (path.parent / "records.parquet").is_file()
    if finished and path.read_bytes() != content.encode():
        listener.notice(f"replaces the result of an earlier version of the study in {path.parent}")
    write_text(path, content)


def _advance(stage: Stage, data: StudyData, store: Store, outcome: Outcome, listener: Listener) -> None:
    """Reuse a stage's artifact, or compute it, or note why it cannot be."""
    upstream = next(
        (outcome.failures[s.key] for s in stage.inputs.values() if s.key in outcome.failures), None
    )
    if upstream is not None and stage.kind != "profile":
        outcome.failures[stage.key] = upstream
        listener.finished(stage, 0.0, reused=False, failure=upstream)
        return
    began = time.monotonic()
    try:
        facts = store.facts(stage.kind, stage.key)
    except DamagedError:
        facts = None
    reused = facts is not None
    if facts is None:
        progress = listener.started(stage)
        with store.computing(stage.kind, stage.key):
            facts = _sound(stage, store, listener)  # another study may have finished it meanwhile
            if facts is None:
                facts = _compute(stage, data, store, outcome.failures, progress)
    outcome.facts[stage.key] = facts
    failure = str(facts.get("failure", ""))
    if failure:
        outcome.failures[stage.key] = failure
    listener.finished(stage, time.monotonic() - began, reused=reused, failure=failure)


def _sound(stage: Stage, store: Store, listener: Listener) -> dict[str, object] | None:
    """The facts of a stage's artifact; one that is damaged is set aside, to be made anew."""
    try:
        return store.facts(stage.kind, stage.key)
    except DamagedError as error:
        place = store.set_aside(stage.kind, stage.key)
        listener.notice(f"{stage}: its artifact is damaged ({error}); made anew, the old one is {place}")
        return None


def _compute(
    stage: Stage, data: StudyData, store: Store, failures: Mapping[str, str], progress: Progress
) -> dict[str, object]:
    description = {
        "cell": stage.cell,
        "settings": dict(stage.settings),
        "inputs": {r: s.key for r, s in stage.inputs.items()},
    }
    with store.writing(stage.kind, stage.key, description) as (out, facts):
        inputs = {role: store.folder(source.kind, source.key) for role, source in stage.inputs.items()}
        sources = stage.inputs.items()
        failed = {role: failures[source.key] for role, source in sources if source.key in failures}
        run = StageRun(stage, inputs, out, store.work(stage.kind, stage.key), data, facts, failed, progress)
        began = time.monotonic()
        try:
            FUNCTIONS[stage.kind](run)
        except DivergedError as error:
            # A result of the settings, not of the moment: kept, so that the study goes on without the cell.
            facts["failure"] = str(error)
        except Exception as error:
            gone = [folder for folder in inputs.values() if not folder.is_dir()]
            if gone:
                raise StoreError(
                    f"{gone[0]} was removed while the study ran; run the same command again to make it anew"
                ) from error
            # Libraries report a full disk in many ways; the disk itself says it plainly.
            if not isinstance(error, TrilemmaError) and shutil.disk_usage(store.root).free < _FULL:
                raise StoreError(
                    f"the disk is full: cannot write under {store.root}; free space and run the command again"
                ) from error
            raise
        facts |= {"stage_seconds": time.monotonic() - began, **provenance()}
    _give_back_memory()
    return facts


def _give_back_memory() -> None:
    """Return freed memory to the system.

    Batches of ever other sizes leave holes that the C library keeps: without this a process of many stages
    grows by gigabytes an hour.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # GNU's; other libraries have none
        if trim is not None:
            trim(0)


def _checkpoints(graph: Graph, store: Store, outcome: Outcome) -> list[dict[str, Any]]:
    """Where each adapted model lies."""
    return [
        {
            "model": cell.model,
            "adaptation": cell.adaptation,
            "task": cell.task,
            "seed": cell.seed,
            "folder": str(store.folder(cell.adapt.kind, cell.adapt.key).resolve()),
        }
        for cell in graph.cells
        if cell.adapt.key not in outcome.failures and cell.task == cell.adapt.settings["task"]
    ]


def checkpoints(run: Path) -> list[dict[str, Any]]:
    """The adapted models of a finished run: model, adaptation, task, seed and folder of each."""
    content = json.loads((run / "checkpoints.json").read_text("utf-8"))
    return [{**entry, "folder": Path(entry["folder"])} for entry in content]
