"""Artifacts to the two tables."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trilemma.analysis.comparisons import AVERAGE
from trilemma.analysis.panels import benchmark_of
from trilemma.analysis.scores import score
from trilemma.analysis.scores.attacks import (
    AttackRun,
    TransferRun,
    attack_records,
    gap_records,
    transfer_records,
)
from trilemma.errors import StoreError
from trilemma.profiling.energy_estimates import estimates
from trilemma.records import ITEMS, RECORDS, Record, records_table
from trilemma.study.consistency import own_settings
from trilemma.study.correct_answers import joules_per_correct_answer
from trilemma.study.data import StudyData
from trilemma.study.graph import Cell, Graph
from trilemma.study.spec import ModelSpec, Study
from trilemma.study.stage import Stage
from trilemma.study.store import Store
from trilemma.tasks.task import Examples

Facts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Tables:
    study: Study
    data: StudyData
    graph: Graph
    store: Store
    facts: Facts
    failures: Mapping[str, str]

    def build(self) -> tuple[pa.Table, pa.Table]:
        efficiency = self._efficiency()
        facts = _model_facts(efficiency)
        items = self._items(facts)
        scores = [self._complete(record, facts) for record in self._scores(items)]
        records = [
            *self._shapes(efficiency),
            *self._pretraining(facts),
            *self._training(facts),
            *self._failed(facts),
            *scores,
            *(self._complete(record, facts) for record in self._attacks(facts)),
            *joules_per_correct_answer(efficiency, scores, self._candidates()),
        ]
        return records_table(records), items

    def _efficiency(self) -> list[Record]:
        stage = self.graph.profile
        assert stage is not None
        table = self._table(stage, "records.parquet").cast(RECORDS)
        records = [replace(Record(**row), study=self.study.name) for row in table.to_pylist()]
        watts = self.study.efficiency.watts if self.study.efficiency else None
        return records if watts is None else [*records, *estimates(records, watts)]

    def _candidates(self) -> list[tuple[str, str]]:
        """Models and adaptations."""
        return list(dict.fromkeys((cell.model, cell.adaptation) for cell in self.graph.cells))

    def _table(self, stage: Stage, name: str) -> pa.Table:
        path = self.store.folder(stage.kind, stage.key) / name
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"{path} is gone or unreadable; was it changed while the study ran? "
                "run the same command again, which makes it anew"
            ) from error

    def _shapes(self, efficiency: list[Record]) -> Iterator[Record]:
        """Axis E; what a reader must know of a candidate stands at its number of parameters."""
        notes = {model.label: model.note for model in self.study.models}
        for record in efficiency:
            note = notes.get(record.model, "") if record.metric == "parameters" else ""
            yield replace(record, note="; ".join(filter(None, (note, record.note))))

    def _pretraining(self, facts: Mapping[str, Record]) -> Iterator[Record]:
        """What each candidate was trained on before, so that unequal candidates are seen to be unequal."""
        for model in self.study.models:
            base = replace(facts[model.label], axis="P", unit="tokens", note="", value=None)
            stage = self.graph.pretraining.get(model.label)
            if stage is not None and stage.key in self.failures:
                yield replace(base, metric="pretraining_tokens", note=f"failed: {self.failures[stage.key]}")
            elif stage is not None:
                found = self.facts[stage.key]
                base = self._with_provenance(base, [stage])
                corpus = self.study.pretrain.corpus if self.study.pretrain else ()
                note = f"corpus: {', '.join(corpus)}; tokenizer shared by all models from scratch"
                yield replace(base, metric="pretraining_tokens", value=float(found["tokens"]), note=note)
                for metric, unit in (
                    ("held_out_perplexity", "perplexity a token"),
                    ("held_out_word_perplexity", "perplexity a word"),
                    ("held_out_bits_per_byte", "bits a byte"),
                ):
                    tokens, value = int(found["held_out_tokens"]), found[metric]
                    note = _FEW_WORDS if value is None else ""
                    yield replace(base, metric=metric, value=value, unit=unit, n=tokens, note=note)
            elif model.from_scratch:
                yield replace(base, metric="pretraining_tokens", value=0.0, note=_NONE)
            else:
                yield replace(base, metric="pretraining_tokens", note=f"not measured: {_elsewhere(model)}")

    def _training(self, facts: Mapping[str, Record]) -> Iterator[Record]:
        """What adaptation took, from the training itself."""
        for cell in self._unique_cells():
            found = self.facts.get(cell.adapt.key, {})
            if cell.adapt.key in self.failures or not found:
                continue
            train = self.data.examples(str(cell.adapt.settings["task"]), "train")
            base = self._with_provenance(self._of_cell(facts, cell), [cell.adapt])
            base = replace(base, axis="E", level="", note="", partial=train.partial)
            rows, rate = int(found["rows"]), float(found["learning_rate"])
            note = f"learning rate {rate:g}, {found['precision']}"
            seconds = float(found["seconds"])
            yield replace(base, metric="training_seconds", value=seconds, unit="s", n=rows, note=note)
            own = "; ".join(self._own_settings(cell))
            steps = int(found["steps"])
            yield replace(base, metric="learning_rate", value=rate, unit="", n=steps, note=own)
            note = _share(train, rows)
            yield replace(base, metric="training_rows", value=float(rows), unit="rows", n=rows, note=note)
            epochs = float(found["epochs"])
            yield replace(base, metric="training_epochs", value=epochs, unit="epochs", n=rows)

    def _own_settings(self, cell: Cell) -> Iterator[str]:
        """Settings of this candidate alone, where they are not the study's for the task."""
        [model] = [model for model in self.study.models if model.label == cell.model]
        [task] = [task for task in self.study.tasks if task.name == cell.task]
        for adaptation in self.study.adapt:
            chosen = self.study.settings_for(adaptation, task, model)
            if chosen.method == cell.adaptation:
                yield from own_settings(self.study.settings_for(adaptation, task), chosen)

    def _failed(self, facts: Mapping[str, Record]) -> Iterator[Record]:
        for cell in self.graph.cells:
            if cell.adapt.key in self.failures:
                metric = self.data.task(cell.task).metrics[0]
                base = replace(self._of_cell(facts, cell), axis="P", unit="fraction")
                note = f"not measured: failed: {self.failures[cell.adapt.key]}"
                yield replace(base, metric=metric, level="clean", note=note)
                continue
            for stage in cell.answers:
                if stage.key in self.failures:
                    yield self._unanswered(facts, cell, stage)

    def _unanswered(self, facts: Mapping[str, Record], cell: Cell, stage: Stage) -> Record:
        """The record of a set that an adapted model could not answer."""
        task, name = (
            self.data.task(cell.task),
            str(stage.settings.get("set", f"attack:{stage.settings.get('name')}")),
        )
        base = replace(self._of_cell(facts, cell), set=name, unit="fraction")
        note = f"not measured: failed: {self.failures[stage.key]}"
        if name in task.evaluation_splits:
            return replace(base, axis="P", metric=task.metrics[0], level="clean", note=note)
        return replace(base, axis="R", metric="robust_accuracy", level="all", note=note)

    def _items(self, facts: Mapping[str, Record]) -> pa.Table:
        parts = []
        for cell in self.graph.cells:
            for stage in cell.answers:
                if stage.key in self.failures:
                    continue
                table = self._table(stage, "items.parquet")
                columns = {
                    "study": self.study.name,
                    "model": cell.model,
                    "arch": facts[cell.model].arch,
                    "adaptation": cell.adaptation,
                    "seed": cell.seed,
                }
                for name, value in columns.items():
                    column = pa.array([value] * len(table), type=ITEMS.field(name).type)
                    table = table.append_column(ITEMS.field(name), column)
                parts.append(table.select(ITEMS.names).cast(ITEMS))
        return pa.concat_tables(parts) if parts else ITEMS.empty_table()

    def _scores(self, items: pa.Table) -> list[Record]:
        tasks = {spec.name: self.data.task(spec.name) for spec in self.study.tasks}
        partial = {
            (name, examples.split): examples.partial
            for name in tasks
            for examples in (*self.data.evaluation(name), *self.data.adversarial(name))
        }
        for cell in self.graph.cells:
            evaluated = self.data.task(cell.task).evaluation_splits[0]
            for attack in cell.attacks:
                partial[cell.task, f"attack:{attack}"] = partial[cell.task, evaluated]
        return score(items, tasks, partial=partial)

    def _attacks(self, facts: Mapping[str, Record]) -> Iterator[Record]:
        """What attacks took, and how their examples do on the study's other models."""
        runs, transfers, white_box = [], [], set()
        for cell in self.graph.cells:
            for name, stage in cell.attacks.items():
                if stage.key not in self.failures:
                    examples = self._table(stage, "examples.parquet").to_pylist()
                    record = self._of_attack(facts, cell, f"attack:{name}", name, examples)
                    facts_of = self.facts.get(stage.key, {})
                    white_box |= {name} if facts_of.get("white_box") else set()
                    unmeasured = str(facts_of.get("similarity_note", ""))
                    runs.append(AttackRun(record, examples, unmeasured))
        for transfer in self.graph.transfers:
            made = transfer.source.attacks[transfer.attack]
            if transfer.stage.key not in self.failures and made.key not in self.failures:
                answers = self._table(transfer.stage, "answers.parquet").to_pylist()
                examples = self._table(made, "examples.parquet").slice(0, 1).to_pylist()
                shown = f"attack:{transfer.attack}:{transfer.source.model}"
                record = self._of_attack(facts, transfer.target, shown, transfer.attack, examples)
                transfers.append(TransferRun(record, answers))
        yield from attack_records(runs)
        yield from gap_records(runs, white_box)
        yield from transfer_records(transfers)

    def _of_attack(
        self, facts: Mapping[str, Record], cell: Cell, name: str, method: str, examples: list[dict[str, Any]]
    ) -> Record:
        level = str(examples[0]["level"]) if examples else ""
        return replace(self._of_cell(facts, cell), axis="R", set=name, level=level, method=method, note="")

    def _complete(self, record: Record, facts: Mapping[str, Record]) -> Record:
        base = facts[record.model]
        generated = _GENERATED if self._is_generated(record) else ""
        completed = replace(
            record,
            note="; ".join(filter(None, (record.note, generated))),
            study=self.study.name,
            arch=base.arch,
            parameters=base.parameters,
            kernel=base.kernel,
        )
        stages = (
            stage
            for cell in self.graph.cells
            if cell.model == record.model and record.task in (cell.task, AVERAGE)
            for stage in cell.answers
        )
        return self._with_provenance(completed, stages)

    def _is_generated(self, record: Record) -> bool:
        """Whether a score is, at least in part, on items of the embedded suite."""
        if self.study.data != "embedded" or record.set in self._own_sets:
            return False
        tasks = {spec.name for spec in self.study.tasks if self.data.task(spec.name).data is None}
        return record.task in tasks or (record.task == AVERAGE and bool(tasks))

    @cached_property
    def _own_sets(self) -> set[str]:
        """The user's adversarial sets, and the benchmarks that records put them under."""
        names = self.data.own_sets()
        return names | {benchmark_of(name) for name in names}

    def _with_provenance(self, record: Record, stages: Iterable[Stage]) -> Record:
        """What the stages were computed with, which need not be this machine or these versions."""
        found = [self.facts.get(stage.key, {}) for stage in stages]
        hardware, versions = (
            " | ".join(dict.fromkeys(str(facts[name]) for facts in found if name in facts))
            for name in ("hardware", "versions")
        )
        return replace(record, hardware=hardware, versions=versions)

    def _of_cell(self, facts: Mapping[str, Record], cell: Cell) -> Record:
        return replace(
            facts[cell.model], adaptation=cell.adaptation, task=cell.task, seed=cell.seed, value=None, n=None
        )

    def _unique_cells(self) -> Iterator[Cell]:
        """Cells that trained: AX shares MNLI's adapted model."""
        seen = set()
        for cell in self.graph.cells:
            if (cell.model, cell.adapt.key) not in seen:
                seen.add((cell.model, cell.adapt.key))
                yield cell


def _share(train: Examples, rows: int) -> str:
    """How much of the official training split a cell was trained on."""
    official = train.official_rows
    if train.partial:
        return f"partial training split: {len(train):,} of {official:,} official rows"
    rows = min(rows, len(train))  # adversarial training adds rows of its own
    return f"{rows:,} of {official:,} official training rows" if official and rows < official else ""


_FEW_WORDS = "not measured: the text has too few words between white space"
_GENERATED = "embedded suite: generated by a grammar, not GLUE"
_NONE = "none: trained from scratch on the tasks alone; tokenizer shared by all models from scratch"


def _elsewhere(model: ModelSpec) -> str:
    return f"pretrained elsewhere ({model.id or model.path or model.package}), with a tokenizer of its own"


def _model_facts(efficiency: list[Record]) -> dict[str, Record]:
    """What every record of a model repeats: architecture, parameters, hardware, kernel, versions."""
    return {record.model: record for record in efficiency if record.metric == "parameters"}


def build_tables(
    study: Study, data: StudyData, graph: Graph, store: Store, facts: Facts, failures: Mapping[str, str]
) -> tuple[pa.Table, pa.Table]:
    """Gather a finished graph's artifacts.

    Args:
        study: the study.
        data: its tasks and examples.
        graph: its stages.
        store: where the artifacts lie.
        facts: stage key to facts of the artifact.
        failures: stage key to the reason of a failure.

    Returns:
        Records and items, of the schemas in :mod:`trilemma.records`.
    """
    return _Tables(study, data, graph, store, facts, failures).build()
