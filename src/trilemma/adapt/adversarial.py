"""Adversarial training: learning from examples that fooled the model (Goodfellow et al. 2015, 1412.6572)."""

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from transformers import PreTrainedModel

from trilemma.adapt.adaptation import Made
from trilemma.adapt.full import Full
from trilemma.adapt.settings import AdaptSettings
from trilemma.errors import DataError
from trilemma.progress import Progress
from trilemma.tasks.task import Examples, Task, Text

_SECONDS = b"seconds"
"""Of the attack, in the metadata of its file: a run that goes on after a kill counts them too."""


class AdversarialTraining(Full):
    """Full fine-tuning, an attack on it with items of the training split, and full fine-tuning anew.

    The second training starts where the first did and sees the rows and the examples that fooled the first
    model, under their own labels. Nothing of an evaluation split is attacked.
    """

    def made_on(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        task: Task,
        train: Examples,
        settings: AdaptSettings,
        *,
        seed: int,
        work: Path,
        progress: Progress,
    ) -> Made:
        """The successes of the attack, with the labels of their originals."""
        if task.labels is None:
            raise DataError(
                f"{task.name} is a regression, whose answers no attack can turn; use method: full"
            )
        kept = work / "adversarial.parquet"
        if not kept.is_file():
            _attack(model, tokenizer, task, train, settings, seed, kept, progress)
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
        return Made(examples, float(table.schema.metadata[_SECONDS]))


def _attack(
    model: PreTrainedModel,
    tokenizer: Any,
    task: Task,
    train: Examples,
    settings: AdaptSettings,
    seed: int,
    kept: Path,
    progress: Progress,
) -> None:
    """Attack a draw of the training rows and write the successes: whole or absent."""
    import pyarrow as pa

    from trilemma.attacks import build
    from trilemma.attacks.made import make
    from trilemma.inference.classifier import Classifier
    from trilemma.records import write_table

    chosen, begun = settings.adversarial, time.monotonic()
    count = min(chosen.rows, len(train))
    drawn = sorted(random.Random(f"adversarial training {seed}").sample(range(len(train)), count))
    made = make(
        build(chosen.recipe, chosen.settings, task),
        Classifier(model, tokenizer, max_length=settings.max_length),
        [train.texts[i] for i in drawn],
        [int(train.labels[i] or 0) for i in drawn],
        chosen.settings,
        budget=chosen.budget,
        seed=seed,
        progress=progress,
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
