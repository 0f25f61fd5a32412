"""An attack on an adapted model."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from trilemma.analysis.scores.attacks import AttackOutcome, attack_records, gap_records
from trilemma.attacks.settings import PATHS, AttackSettings
from trilemma.errors import AttackError, DivergedError
from trilemma.records import Record, write_table
from trilemma.study import estimate
from trilemma.study.finished import Finished
from trilemma.study.graph import AdaptedModel, Graph
from trilemma.study.stage import StageRun
from trilemma.study.stages.answer import Asking, write_items
from trilemma.tasks.task import AdversarialExamples

_TYPES = {
    pa.string(): ("id", "level", "by"),
    pa.int64(): ("gold", "queries"),
    pa.bool_(): ("attacked", "success"),
    pa.float64(): ("words_changed", "similarity", "perplexity_ratio"),
    pa.list_(pa.string()): ("original", "adversarial", "changed"),
    pa.list_(pa.float32()): ("original_probabilities", "probabilities"),
}
EXAMPLES = pa.schema([(name, kind) for kind, names in _TYPES.items() for name in names])
"""``examples.parquet``, a row per item: :class:`trilemma.attacks.run.AttackedItems`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackStage(Asking, kind="attack", version=5, of_one_candidate=True, has_items=True):
    """Attacks an adapted model on the items of an evaluation split that it answers correctly.

    Attributes:
        recipe, name: the attack, and what the study calls it.
        options: its settings; paths are absolute.
        resources: hashes of what it reads.
        budget, items: queries per item, and how many items at most.
        examples: the split's fingerprint.
    """

    recipe: str
    name: str
    options: AttackSettings
    resources: Mapping[str, str]
    budget: int
    items: int
    examples: str

    @property
    def settings(self) -> dict[str, Any]:
        options = self.options.model_dump(mode="json", exclude_unset=True)
        as_they_are = ("resources", "budget", "items", "examples")
        return {
            **super().settings,
            **{field: getattr(self, field) for field in as_they_are},
            "attack": self.recipe,
            "name": self.recipe,  # what a study calls it changes nothing
            "options": {key: value for key, value in options.items() if key not in PATHS},
            "seed": self.adapted.seed,
        }

    @property
    def item_columns(self) -> dict[str, str]:
        return {**super().item_columns, "method": self.name}

    def compute(self, run: StageRun) -> None:
        """Items that are answered wrongly stay as they are, so that accuracy over all is that under attack.

        What a killed or failing run has finished is kept and not attacked again.
        """
        from trilemma.attacks import ATTACKS, AttackRun, build
        from trilemma.attacks.journal import AttackJournal
        from trilemma.attacks.run import run_attack

        clean = run.data.evaluation(self.adapted.task)[0]
        # The same items for every model and seed, so that answers can be paired.
        count = min(self.items, len(clean))
        chosen = sorted(random.Random("attacked items").sample(range(len(clean)), count))
        journal = AttackJournal(run.work / "attacked.jsonl", count)
        try:
            made = run_attack(
                build(self.recipe, self.options, run.data.task(self.adapted.task)),
                self.classifier(run),
                [clean.texts[i] for i in chosen],
                [int(clean.labels[i] or 0) for i in chosen],
                self.options,
                AttackRun(self.budget, self.adapted.seed, run.progress),
                journal,
            )
        except AttackError as error:  # resources were found before any work: it is this model that fails
            raise DivergedError(
                f"{error} (adapt with a lower learning rate, or check its weights)"
            ) from error
        ids = [clean.ids[i] for i in chosen]
        examples = AdversarialExamples(
            task=clean.task,
            split=self.set,
            ids=ids,
            texts=made.shown,
            labels=[clean.labels[i] for i in chosen],
            fingerprint="",
            levels=[made.level] * count,
            methods=[self.name] * count,
            originals=made.originals,
            origins=ids,
        )
        write_items(run, examples, made.originals, np.concatenate([made.after, made.before]))
        table = pa.Table.from_pydict({"id": ids, **made.columns()}, schema=EXAMPLES)
        write_table(table, run.out / "examples.parquet")
        kept, dropped = made.kept(self.options)
        run.facts |= {
            "attacked": sum(made.attacked),
            "successes": sum(made.success),
            "queries": sum(made.queries),
            "curated": len(kept),
            "dropped": dropped,
            "similarity_note": made.unmeasured,
            "white_box": ATTACKS.get(self.recipe).white_box,
            "truncated": self.classifier(run).truncated(made.originals),
        }


def lay_out(graph: Graph, adapted: AdaptedModel) -> Iterator[AttackStage]:
    """One stage per attack; none on a regression or a split without labels."""
    from trilemma.attacks import fingerprint

    study, task = graph.study, graph.data.task(adapted.task)
    if task.labels is None or task.hidden_labels:
        return
    robustness = study.robustness
    clean = graph.data.evaluation(adapted.task)[0]
    queries = robustness.items * robustness.budget * graph.tokens(clean, adapted.max_length)
    for attack in robustness.attacks:
        settings = study.attack_settings(attack)
        yield AttackStage(
            title=f"{adapted.adapt.title}: {attack.label}",
            estimate=estimate.answering(adapted.origin, queries),
            adapted=adapted,
            set=f"attack:{attack.label}",
            made_on=adapted.model,
            recipe=attack.recipe,
            name=attack.label,
            options=settings,
            resources=fingerprint(attack.recipe, settings),
            budget=robustness.budget,
            items=robustness.items,
            examples=clean.fingerprint,
        )


def records(finished: Finished) -> Iterator[Record]:
    """What attacks took; accuracy under attack is scored with all other answers."""
    runs, white_box = [], set()
    for stage in finished.graph.asked:
        if not isinstance(stage, AttackStage) or finished.failure(stage):
            continue
        facts = finished.facts[stage.key]
        examples = finished.table(stage, "examples.parquet").to_pylist()
        record = shared_columns(finished, stage, stage)
        runs.append(AttackOutcome(record, examples, str(facts.get("similarity_note", ""))))
        white_box |= {stage.name} if facts.get("white_box") else set()
    for record in (*attack_records(runs), *gap_records(runs, white_box)):
        yield finished.completed(record)


def shared_columns(finished: Finished, asked: Asking, attack: AttackStage) -> Record:
    """What all records of an attack's examples on a model have in common; there is no value yet."""
    levels: list[str] = finished.table(attack, "examples.parquet")["level"].to_pylist()
    where: dict[str, Any] = {"axis": "R", "metric": "", "set": asked.set, "made_on": asked.made_on}
    where |= {"level": levels[0] if levels else "", "method": attack.name}
    return finished.of_adapted(asked.adapted, **where, status="not measured", reason="no value yet")
