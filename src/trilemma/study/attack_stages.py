"""What the stages ``attack`` and ``transfer`` compute."""

import random
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trilemma.attacks import ATTACKS, AttackSettings, build
from trilemma.attacks.journal import Journal
from trilemma.attacks.made import make
from trilemma.errors import AttackError, DivergedError
from trilemma.records import write_table
from trilemma.study.stage import StageRun
from trilemma.tasks.task import AdversarialExamples, Text

if TYPE_CHECKING:
    from trilemma.inference.classifier import Classifier

EXAMPLES = pa.schema(
    [
        ("id", pa.string()),
        ("level", pa.string()),
        ("gold", pa.int64()),
        ("original", pa.list_(pa.string())),
        ("adversarial", pa.list_(pa.string())),
        ("changed", pa.list_(pa.string())),
        ("words_changed", pa.float64()),
        ("queries", pa.int64()),
        ("by", pa.string()),
        ("success", pa.bool_()),
        ("attacked", pa.bool_()),
        ("similarity", pa.float64()),
        ("perplexity_ratio", pa.float64()),
        ("original_probabilities", pa.list_(pa.float32())),
        ("probabilities", pa.list_(pa.float32())),
    ]
)
"""``examples.parquet`` of an attack, a row an item: :class:`trilemma.attacks.made.MadeExamples`."""


def attack(run: StageRun, classifier: "Classifier") -> None:
    """Attack an adapted model on the items of an evaluation split that it answers correctly.

    Items it answers wrongly stay as they are, so that accuracy over all of them is the accuracy
    under attack. What a killed or failing run has finished is kept and not attacked again.
    """
    from trilemma.study.stages import write_items

    settings = run.stage.settings
    clean = run.data.evaluation(settings["task"])[0]
    # The same items for every model and seed, so that answers can be paired.
    count = min(settings["items"], len(clean))
    chosen = sorted(random.Random("attacked items").sample(range(len(clean)), count))
    options = AttackSettings(**run.stage.resources["options"])
    journal = Journal(run.work / "attacked.jsonl", count)
    attacked = build(settings["attack"], options, run.data.task(settings["task"]))
    try:
        made = make(
            attacked,
            classifier,
            [clean.texts[i] for i in chosen],
            [int(clean.labels[i] or 0) for i in chosen],
            options,
            budget=settings["budget"],
            seed=settings["seed"],
            progress=run.progress,
            done=journal.results,
            finished=journal.keep,
        )
    except AttackError as error:  # resources were found before any work: it is this model that fails
        raise DivergedError(f"{error} (adapt with a lower learning rate, or check its weights)") from error
    ids = [clean.ids[i] for i in chosen]
    examples = AdversarialExamples(
        task=clean.task,
        split=f"attack:{settings['name']}",
        ids=ids,
        texts=made.shown,
        labels=[clean.labels[i] for i in chosen],
        fingerprint="",
        levels=[made.level] * count,
        methods=[settings["name"]] * count,
        originals=made.originals,
        origins=ids,
    )
    write_items(run, examples, made.originals, np.concatenate([made.after, made.before]))
    table = pa.Table.from_pydict({"id": ids, **made.columns()}, schema=EXAMPLES)
    write_table(table, run.out / "examples.parquet")
    kept, dropped = made.kept(options)
    run.facts |= {
        "attacked": sum(made.attacked),
        "successes": sum(made.success),
        "queries": sum(made.queries),
        "curated": len(kept),
        "dropped": dropped,
        "similarity_note": made.unmeasured,
        "white_box": getattr(ATTACKS.get(settings["attack"]), "white_box", False),
    }


def transfer(run: StageRun, classifier: "Classifier") -> None:
    """Show an adapted model the examples with which an attack succeeded on another, and their originals."""
    table = pq.read_table(run.inputs["examples"] / "examples.parquet")
    rows = [row for row in table.to_pylist() if row["success"]]
    texts: list[Text] = [tuple(row[name]) for name in ("original", "adversarial") for row in rows]
    answers = classifier.probabilities(texts, run.progress).argmax(axis=1) if rows else np.zeros(0, np.int64)
    columns = {
        "id": [row["id"] for row in rows],
        "gold": [row["gold"] for row in rows],
        "original_answer": answers[: len(rows)].tolist(),
        "answer": answers[len(rows) :].tolist(),
    }
    schema = pa.schema([("id", pa.string()), *((name, pa.int64()) for name in list(columns)[1:])])
    write_table(pa.Table.from_pydict(columns, schema=schema), run.out / "answers.parquet")
