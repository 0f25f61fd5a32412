"""Adversarial training: learning from examples that fooled the model (Goodfellow et al. 2015, 1412.6572)."""

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedModel

from trilemma.adapt.methods.full import Full
from trilemma.adapt.settings import ADAPTATIONS, AdaptJob
from trilemma.attacks import AttackRun, build
from trilemma.attacks.run import run_attack
from trilemma.errors import DataError
from trilemma.inference.classifier import Classifier
from trilemma.progress import Progress
from trilemma.records import write_table
from trilemma.tasks.task import Examples, Text

_SECONDS = b"seconds"
"""Key of the attack's time in the metadata of its file, so that a resumed run counts it too."""


@ADAPTATIONS.plugin()
class AdversarialTraining(Full):
    """Full fine-tuning, an attack on the result with items of the training split, full fine-tuning again.

    The second training starts where the first did and sees the rows and the examples that fooled the first
    model, under their own labels. Nothing of an evaluation split is attacked.
    """

    def further_examples(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        job: AdaptJob,
        train: Examples,
        *,
        work: Path,
        progress: Progress,
    ) -> tuple[Examples, float]:
        """The successes of the attack, with the labels of their originals, and the seconds it took."""
        if job.task.labels is None:
            raise DataError(
                f"{job.task.name} is a regression, whose answers no attack can turn; use method: full"
            )
        kept = work / "adversarial.parquet"
        if not kept.is_file():
            _attack(
                Classifier(model, tokenizer, max_length=job.settings.max_length), job, train, kept, progress
            )
        table = pq.read_table(kept)
        rows = table.to_pylist()
        texts: list[Text] = [tuple(row["text"]) for row in rows]
        examples = replace(
            train,
            ids=[f"{row['id']} attacked" for row in rows],
            texts=texts,
            labels=[float(row["label"]) for row in rows],
            fingerprint="",
        )
        return examples, float(table.schema.metadata[_SECONDS])


def _attack(classifier: Classifier, job: AdaptJob, train: Examples, kept: Path, progress: Progress) -> None:
    """Attack a draw of the training rows and write the successes: whole or absent."""
    chosen, begun = job.settings.adversarial, time.monotonic()
    count = min(chosen.rows, len(train))
    drawn = sorted(random.Random(f"adversarial training {job.seed}").sample(range(len(train)), count))
    made = run_attack(
        build(chosen.recipe, chosen.settings, job.task),
        classifier,
        [train.texts[i] for i in drawn],
        [int(train.labels[i] or 0) for i in drawn],
        chosen.settings,
        AttackRun(chosen.budget, job.seed, progress),
    )
    won = [i for i, success in enumerate(made.success) if success]
    columns = {
        "id": [train.ids[drawn[i]] for i in won],
        "text": [list(made.shown[i]) for i in won],
        "label": [made.labels[i] for i in won],
    }
    schema = pa.schema(
        [("id", pa.string()), ("text", pa.list_(pa.string())), ("label", pa.int64())],
        {_SECONDS: str(time.monotonic() - begun)},
    )
    write_table(pa.Table.from_pydict(columns, schema=schema), kept)
