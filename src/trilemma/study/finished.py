"""A finished graph, as the records of its stages are formed from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trilemma.analysis.answers import benchmark_of
from trilemma.errors import StoreError
from trilemma.records import AVERAGE, GENERATED, ITEMS, RECORDS, SEEN, Record
from trilemma.study.data_warnings import seen_in_training
from trilemma.study.graph import AdaptedModel, Graph
from trilemma.study.stage import Stage
from trilemma.study.store import Store


@dataclass(frozen=True)
class Finished:
    """A graph, its artifacts, and what all records of a study share.

    Attributes:
        graph: the study and its stages.
        store: where the artifacts are.
        facts: stage key to the facts of its artifact.
        failures: stage key to the reason why its artifact holds nothing.
    """

    graph: Graph
    store: Store
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def failure(self, stage: Stage) -> str:
        """Why a stage's artifact holds nothing, or ""."""
        return self.failures.get(stage.key, "")

    def table(self, stage: Stage, name: str) -> pa.Table:
        """A table of a stage's artifact.

        Raises:
            StoreError: when it is gone.
        """
        path = self.store.folder(stage.kind, stage.key) / name
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"{path} is gone or unreadable; was it changed while the study ran? Run the command again"
            ) from error

    @cached_property
    def efficiency(self) -> list[Record]:
        """What the profile measured."""
        [stage] = [stage for stage in self.graph.stages if stage.kind == "profile"]
        rows = self.table(stage, "records.parquet").cast(RECORDS).to_pylist()
        return [Record(**{**row, "study": self.graph.study.name}) for row in rows]

    @cached_property
    def models(self) -> dict[str, Record]:
        """By candidate the record of its parameters, whose columns all its records repeat."""
        return {record.model: record for record in self.efficiency if record.metric == "parameters"}

    @cached_property
    def items(self) -> pa.Table:
        """The items table: all answers to evaluation splits, fixed sets and attacks."""
        parts = []
        for adapted in self.graph.adapted:
            columns = {
                "study": self.graph.study.name,
                "model": adapted.model,
                "arch": self.models[adapted.model].arch,
                "adaptation": adapted.adaptation,
                "seed": adapted.seed,
            }
            for stage in adapted.asked:
                if not stage.has_items or self.failure(stage):
                    continue
                table = self.table(stage, "items.parquet").drop_columns(list(stage.item_columns))
                for name, value in {**columns, **stage.item_columns}.items():
                    column = pa.array([value] * len(table), type=ITEMS.field(name).type)
                    table = table.append_column(ITEMS.field(name), column)
                parts.append(table.select(ITEMS.names).cast(ITEMS))
        return pa.concat_tables(parts) if parts else ITEMS.empty_table()

    def of_model(self, model: str, *by: Stage, **columns: Any) -> Record:
        """A record of a candidate.

        Args:
            model: the candidate's name.
            by: the stages that it rests on, which need not have run on this machine or by these versions;
                none for the profile.
            columns: what is of this record alone.
        """
        return Record(model=model, **self._shared(model, by), **columns)

    def of_adapted(self, adapted: AdaptedModel, *by: Stage, **columns: Any) -> Record:
        """A record of an adapted model; arguments as those of :meth:`of_model`."""
        where = {"adaptation": adapted.adaptation, "task": adapted.task, "seed": adapted.seed}
        return self.of_model(adapted.model, *by, **where, **columns)

    def _shared(self, model: str, by: Sequence[Stage]) -> dict[str, Any]:
        """What all records of a candidate have from the profile, and what stages were computed with."""
        shared = {name: getattr(self.models[model], name) for name in _SHARED}
        for name in ("hardware", "versions") if by else ():
            found = (self.facts.get(stage.key, {}) for stage in by)
            shared[name] = " | ".join(dict.fromkeys(str(facts[name]) for facts in found if name in facts))
        return shared

    def completed(self, record: Record) -> Record:
        """A record that was formed from answers, with the columns that answers do not have."""
        added = [GENERATED] if self._is_generated(record) else []
        added += [SEEN] if record.axis == "P" and record.set in self._seen.get(record.task, ()) else []
        flags = tuple(dict.fromkeys((*record.flags, *added)))
        shared = self._answered.get((record.model, record.task)) or self._shared(record.model, ())
        return replace(record, **shared, flags=flags)

    @cached_property
    def _answered(self) -> dict[tuple[str, str], dict[str, Any]]:
        """By model and task what all records of its answers have from the profile and from their stages."""
        by: dict[tuple[str, str], list[Stage]] = {}
        for adapted in self.graph.adapted:
            for task in (adapted.task, AVERAGE):
                answered = (stage for stage in adapted.asked if stage.has_items)
                by.setdefault((adapted.model, task), []).extend(answered)
        return {key: self._shared(key[0], stages) for key, stages in by.items()}

    @cached_property
    def _seen(self) -> dict[str, dict[str, float]]:
        """By task its evaluation splits that are in part in the training split."""
        tasks = dict.fromkeys(adapted.task for adapted in self.graph.adapted)
        return {task: seen_in_training(self.graph, task) for task in tasks}

    def _is_generated(self, record: Record) -> bool:
        """Whether a score is, at least in part, on items of the embedded suite."""
        study, data = self.graph.study, self.graph.data
        if study.data != "embedded" or record.set in self._user_sets:
            return False
        tasks = {spec.name for spec in study.tasks if data.task(spec.name).data is None}
        return record.task in tasks or (record.task == AVERAGE and bool(tasks))

    @cached_property
    def _user_sets(self) -> set[str]:
        """The user's adversarial sets, and the benchmarks that records put them under."""
        names = self.graph.data.user_sets()
        return names | {benchmark_of(name) for name in names}


_SHARED = ("study", "arch", "parameters", "hardware", "kernel", "versions")
"""Columns that all records of a candidate have from the profile."""
