"""The answers of an adapted model to the examples with which an attack succeeded on another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trilemma.analysis.scores.attacks import TransferRun, transfer_records
from trilemma.records import Record, write_table
from trilemma.study import estimate
from trilemma.study.finished import Finished
from trilemma.study.graph import AdaptedModel, Graph
from trilemma.study.stage import Stage, StageRun
from trilemma.study.stages.answer import Asking
from trilemma.study.stages.attack import AttackStage, shared_columns
from trilemma.tasks.task import Text


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfer(Asking, kind="transfer", version=1, of_one_candidate=True):
    """Shows an adapted model the successful examples of an attack on another, and their originals."""

    attack: AttackStage

    @property
    def inputs(self) -> dict[str, Stage]:
        return {**super().inputs, "examples": self.attack}

    def compute(self, run: StageRun) -> None:
        table = pq.read_table(run.artifact(self.attack) / "examples.parquet")
        rows = [row for row in table.to_pylist() if row["success"]]
        texts: list[Text] = [tuple(row[name]) for name in ("original", "adversarial") for row in rows]
        answers = np.zeros(0, np.int64)
        if rows:
            answers = self.classifier(run).probabilities(texts, run.progress).argmax(axis=1)
        columns: dict[str, list[Any]] = {
            "id": [row["id"] for row in rows],
            "gold": [row["gold"] for row in rows],
            "original_answer": answers[: len(rows)].tolist(),
            "answer": answers[len(rows) :].tolist(),
        }
        schema = pa.schema([("id", pa.string()), *((name, pa.int64()) for name in list(columns)[1:])])
        write_table(pa.Table.from_pydict(columns, schema=schema), run.out / "answers.parquet")


def lay_out(graph: Graph) -> Iterator[Transfer]:
    """Every pair of models, adapted by one entry of the study to one task with one seed, and every attack."""
    if not graph.study.robustness.transfer:
        return
    alike: dict[tuple[int, str, int], list[AdaptedModel]] = {}
    for adapted in graph.adapted:
        alike.setdefault((adapted.place, adapted.task, adapted.seed), []).append(adapted)
    for target in graph.adapted:
        for source in alike[target.place, target.task, target.seed]:
            for attack in source.asked if source.model != target.model else ():
                if not isinstance(attack, AttackStage):
                    continue
                made = f"{attack.name} made on {source.model}"
                clean = graph.data.evaluation(target.task)[0]
                tokens = graph.study.robustness.items * graph.tokens(clean, target.max_length)
                stage = Transfer(
                    title=f"{target.model} on {target.task}, seed {target.seed}: {made}",
                    estimate=estimate.answering(target.origin, 2 * tokens),
                    adapted=target,
                    set=attack.set,
                    made_on=source.model,
                    attack=attack,
                )
                target.asked.append(stage)
                yield stage


def records(finished: Finished) -> Iterator[Record]:
    """How often examples that worked on one model work on another."""
    runs = []
    for stage in finished.graph.asked:
        if isinstance(stage, Transfer) and not finished.failure(stage):
            answers = finished.table(stage, "answers.parquet").to_pylist()
            runs.append(TransferRun(shared_columns(finished, stage, stage.attack), answers))
    for record in transfer_records(runs):
        yield finished.completed(record)
