"""ANLI's three rounds, human-written against models in the loop, as an adversarial set for MNLI.

Nie et al., "Adversarial NLI: A New Benchmark for Natural Language Understanding" (ACL 2020). Classes
are those of MNLI. No clean originals are published; hypotheses for the same context are one cluster.
"""

from trilemma.tasks.columns import fingerprinted, item_ids, item_labels, item_texts, origin
from trilemma.tasks.raw_table import RawTable
from trilemma.tasks.task import AdversarialExamples, Task

DEV_ROWS = {"r1": 1_000, "r2": 1_000, "r3": 1_200}
"""Rows of the development set of each round."""


def serves(task: Task) -> bool:
    """Whether ANLI has examples for the task."""
    return task.name == "mnli"


def from_table(task: Task, name: str, table: RawTable) -> AdversarialExamples:
    """The development set of one round (``r1``, ``r2``, ``r3``), called ``anli_<round>``.

    Raises:
        DataError: naming file, row and expectation.
    """
    texts = item_texts(table, task.fields)
    examples = AdversarialExamples(
        task=task.name,
        split=f"anli_{name}",
        ids=item_ids(table, "uid"),
        texts=texts,
        labels=item_labels(table, "label", task),
        levels=["human"] * len(table),
        methods=["ANLI"] * len(table),
        originals=[None] * len(table),
        origins=[origin(text[:1]) for text in texts],
        fingerprint="",
        official_rows=DEV_ROWS[name],
    )
    return fingerprinted(task, examples)
