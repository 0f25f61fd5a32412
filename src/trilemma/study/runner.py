"""Walks a study's graph in this process: computes what is absent, reuses what is there."""

import ctypes
import errno
import gc
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from logging import LogRecord, getLogger
from pathlib import Path
from typing import Any

from trilemma.errors import (
    DataError,
    DivergedError,
    ModelError,
    StoreError,
    TrilemmaError,
    is_out_of_memory,
    one_line,
)
from trilemma.files import largest_file, too_large, write_text
from trilemma.progress import Progress
from trilemma.records import records_table, write_table
from trilemma.study.cleaning import keep_needed
from trilemma.study.console import ConsoleListener
from trilemma.study.data_warnings import data_warnings
from trilemma.study.finished import Finished
from trilemma.study.graph import Graph
from trilemma.study.layout import lay_out, provenance
from trilemma.study.spec import Study
from trilemma.study.stage import AGAIN, Stage, StageRun
from trilemma.study.stages import all_records
from trilemma.study.store import DamagedError, Store
from trilemma.units import format_value
from trilemma.web import without_secrets

_FULL = 1 << 20
"""Free bytes below which a disk counts as full."""


def run_study(study: Study, run: Path, store: Path, listener: ConsoleListener) -> list[dict[str, Any]]:
    """Run a study to its two tables; a killed run resumes.

    Args:
        study: the validated study.
        run: the run folder, which the caller holds (:func:`trilemma.study.store.locked`); gets
            the two tables, ``checkpoints.json``, ``study.json`` and ``artifacts.json``.
        store: the folder of artifacts.
        listener: hears of progress.

    Returns:
        The adapted models, as in ``checkpoints.json``: model, adaptation, task, seed and folder of each.

    Raises:
        TrilemmaError: for a fault in study, data or models, found before any work; or a refusing disk.
    """
    getLogger("transformers.trainer_utils").addFilter(_is_not_noise)
    graph = lay_out(study, preparing=listener.preparing)
    keep_study(study, run / "study.json", listener.notice)
    _require_room(graph, listener.notice)
    for warning in data_warnings(graph):
        listener.notice(warning)
    keep_needed(run, graph.stages)
    listener.planned(graph)
    finished = Finished(graph, Store(store))
    walk = _Walk(finished, listener)
    gc.freeze()  # what the libraries hold need not be searched for garbage after every stage
    try:
        for stage in graph.stages:
            walk.advance(stage)
    finally:
        gc.unfreeze()
    listener.preparing("scoring")
    records = records_table(all_records(finished))
    checkpoints = _checkpoints(finished)
    write_text(run / "checkpoints.json", json.dumps(checkpoints, indent=1))
    write_table(finished.items, run / "items.parquet")
    write_table(records, run / "records.parquet")
    if finished.failures:
        own = sum("failure" in facts for facts in finished.facts.values())
        listener.notice(
            f"{own} of {len(graph.stages)} stages failed, and {len(finished.failures) - own} that need them "
            "were not run; the cautions of the report say why"
        )
    return checkpoints


def _is_not_noise(record: LogRecord) -> bool:
    """False for a message of file systems with coarse times, where checkpoints are sorted by number: fine."""
    return "mtime may not be reliable" not in str(record.msg)


def keep_study(study: Study, path: Path, notice: Callable[[str], None]) -> None:
    """Write the study beside its tables, and give notice where those of another one will be replaced."""
    written = study.model_dump(mode="json", exclude_unset=True)
    content = without_secrets(json.dumps({"base": str(study.base.resolve()), **written}, indent=1))
    finished = path.is_file() and (path.parent / "records.parquet").is_file()
    if finished and path.read_bytes() != content.encode():
        notice(f"replaces the result of an earlier version of the study in {path.parent}")
    write_text(path, content)


@dataclass(frozen=True)
class _Walk:
    """A walk over the graph: what is finished so far, and who hears of it."""

    so_far: Finished
    listener: ConsoleListener

    def advance(self, stage: Stage) -> None:
        """Reuse a stage's artifact, or compute it, or note why it cannot be."""
        facts, failures, store = self.so_far.facts, self.so_far.failures, self.so_far.store
        upstream = next((failures[s.key] for s in stage.inputs.values() if s.key in failures), None)
        if upstream is not None and stage.needs_all_inputs:
            failures[stage.key] = upstream
            self.listener.finished(stage, 0.0, reused=False, failure=upstream)
            return
        began = time.monotonic()
        try:
            found = store.facts(stage.kind, stage.key)
        except DamagedError:
            found = None
        reused = found is not None and not found.get(AGAIN)
        if found is None or not reused:
            progress = self.listener.started(stage)
            with store.computing(stage.kind, stage.key):
                # Another study may have finished it meanwhile.
                found = self._sound(stage)
                if found is None or found.get(AGAIN):
                    found = self._computed(stage, progress)
        facts[stage.key] = found
        failure = str(found.get("failure", ""))
        if failure:
            failures[stage.key] = failure
        self.listener.finished(stage, time.monotonic() - began, reused=reused, failure=failure)

    def _sound(self, stage: Stage) -> dict[str, Any] | None:
        """The facts of a stage's artifact; one that is damaged is set aside, to be made again."""
        try:
            return self.so_far.store.facts(stage.kind, stage.key)
        except DamagedError as error:
            place = self.so_far.store.set_aside(stage.kind, stage.key)
            self.listener.notice(
                f"{stage}: its artifact is damaged ({error}); it is made again, the old one is {place}"
            )
            return None

    def _computed(self, stage: Stage, progress: Progress) -> dict[str, Any]:
        """The facts of a stage; of one of a candidate that fails, the reason, which is not kept.

        The study goes on without what the stage was for; the next run tries again. What would stop every
        stage (the store, the disk, data) ends the study, and so does a stage that serves all candidates.
        """
        try:
            return self._compute(stage, progress)
        except (StoreError, DataError):
            raise
        except Exception as error:
            if not stage.of_one_candidate:
                if is_out_of_memory(error):
                    raise ModelError(f"{stage}: {_OUT_OF_MEMORY}") from error
                raise
            reason = failure_of(error)
            _give_back_memory()
            return {"failure": reason}

    def _compute(self, stage: Stage, progress: Progress) -> dict[str, Any]:
        store = self.so_far.store
        description = {"title": stage.title, **stage.description}
        with store.writing(stage.kind, stage.key, description) as (out, facts):
            run = StageRun(
                out=out,
                work=store.work(stage.kind, stage.key),
                data=self.so_far.graph.data,
                artifact=lambda source: store.folder(source.kind, source.key),
                failures=self.so_far.failures,
                progress=progress,
                facts=facts,
            )
            began = time.monotonic()
            try:
                stage.compute(run)
            except DivergedError as error:
                # A result of the settings, not of the moment: kept, and the study goes on without the model.
                facts["failure"] = str(error)
            except Exception as error:
                gone = [folder for one in stage.inputs.values() if not (folder := run.artifact(one)).is_dir()]
                if gone:
                    raise StoreError(
                        f"{gone[0]} was removed while the study ran; run the same command to make it again"
                    ) from error
                # Libraries report a full disk in many ways; the disk itself says it plainly.
                if not isinstance(error, TrilemmaError) and shutil.disk_usage(store.root).free < _FULL:
                    raise StoreError(
                        f"the disk is full: cannot write under {store.root}; free space and run the command "
                        "again"
                    ) from error
                if not isinstance(error, TrilemmaError) and _too_large(error):
                    raise StoreError(f"{stage}: {too_large()}") from error
                raise
            facts |= {"stage_seconds": time.monotonic() - began, **provenance()}
        _give_back_memory()
        return facts


def _too_large(error: Exception) -> bool:
    return getattr(error, "errno", None) == errno.EFBIG or "File too large" in str(error)


_OUT_OF_MEMORY = (
    "there is not enough memory; give `adapt` a smaller batch, gradient_accumulation or a shorter "
    "max_length, or method lora or linear-probe, or use a smaller model or a larger machine"
)


def failure_of(error: Exception) -> str:
    """Why a candidate's stage failed, in one sentence; of an error of a library with its kind."""
    if isinstance(error, TrilemmaError):
        return str(error)
    if is_out_of_memory(error):
        return _OUT_OF_MEMORY
    return f"the model failed with {type(error).__name__}: {one_line(error)}"


def _require_room(graph: Graph, notice: Callable[[str], None]) -> None:
    """Refuse, or give notice, before any work where a limit of the process is known to be too low.

    Raises:
        StoreError: where the weights of a candidate do not fit in a file.
    """
    from trilemma.hardware.machine import available_memory

    for label, origin in graph.origins.items():
        size = 2 * (origin.weights or 0)  # at least: how large the vocabulary will be is not known
        if size > largest_file():
            raise StoreError(
                f"the weights of {label} take at least {format_value(size, 'bytes')}, and {too_large()}"
            )
    needed, available = max(stage.estimate.memory for stage in graph.stages), available_memory()
    if needed > available:
        notice(
            f"about {format_value(needed, 'bytes')} of memory may be needed, and there are "
            f"{format_value(available, 'bytes')}"
        )


def _give_back_memory() -> None:
    """Return freed memory to the system.

    Batches of many sizes leave holes that the C library keeps: without this a process of many stages grows
    by gigabytes an hour.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # GNU's; other libraries have none
        if trim is not None:
            trim(0)


def _checkpoints(finished: Finished) -> list[dict[str, Any]]:
    """The folder of each adapted model; AX's are MNLI's."""
    graph, store = finished.graph, finished.store
    return [
        {
            "model": adapted.model,
            "adaptation": adapted.adaptation,
            "task": adapted.task,
            "seed": adapted.seed,
            "folder": str(store.folder(adapted.adapt.kind, adapted.adapt.key).resolve()),
        }
        for adapted in graph.adapted
        if adapted.task == graph.data.training_task(adapted.task) and not finished.failure(adapted.adapt)
    ]
