"""A task, its examples, and the source that they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from trilemma.registry import Registry

Text = tuple[str, ...]
"""One item's input: one text, or two for a pair, in the order of :attr:`Task.fields`."""

Level = Literal["word", "sentence", "human", "unknown"]


@dataclass(frozen=True)
class Task:
    """What is asked of a model.

    Attributes:
        name: e.g. ``"sst2"``.
        fields: column names of the text(s), one or two.
        labels: class names by class index; None for a regression (STS-B).
        metrics: metric names, the primary one first (``accuracy``, ``f1``, ``macro_f1``, ``matthews``,
            ``pearson``, ``spearman``).
        evaluation_splits: the labelled splits that performance is measured on.
        official_rows: split name to its published number of rows; splits not named are not checked.
        hidden_labels: whether labels of the evaluation splits are unpublished (AX): predictions only.
        source: paper or site the task comes from.
        trained_on: the task whose training split and adapted model serve this one (AX: MNLI); None
            for a task that has a training split of its own.
        data: where the examples come from if not from the study's source: a user's or plug-in's task.
    """

    name: str
    fields: tuple[str, ...]
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    evaluation_splits: tuple[str, ...] = ("validation",)
    official_rows: Mapping[str, int] = field(default_factory=dict)
    hidden_labels: bool = False
    source: str = ""
    trained_on: "Task | None" = None
    data: "Source | None" = field(default=None, compare=False, repr=False)

    @property
    def outputs(self) -> int:
        """Width of the classification head: classes, or 1 for a regression."""
        return 1 if self.labels is None else len(self.labels)


@dataclass(frozen=True)
class Examples:
    """One split of a task, column by column; all columns have one entry per item.

    Attributes:
        task: task name.
        split: e.g. ``"train"``, ``"validation_matched"``; for adversarial sets the set's name.
        ids: stable and unique within the split.
        texts: the input(s) shown to the model.
        labels: class index as float, or the score of a regression; None where unpublished.
        fingerprint: hash of everything above, so that changed data changes a stage's key.
        official_rows: the published number of rows, where known.
    """

    task: str
    split: str
    ids: Sequence[str]
    texts: Sequence[Text]
    labels: Sequence[float | None]
    fingerprint: str
    official_rows: int | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def partial(self) -> bool:
        """Whether rows are missing against the official split."""
        return self.official_rows is not None and len(self) < self.official_rows


@dataclass(frozen=True)
class AdversarialExamples(Examples):
    """A fixed adversarial set; further columns, one entry per item.

    Attributes:
        levels: ``word``, ``sentence``, ``human``, or ``unknown`` where the source does not say.
        methods: the attack's published name, or ``""``.
        originals: the clean input that an item was made from; None where none is published.
        origins: cluster id; items made from one source sentence share it.
    """

    levels: Sequence[Level] = ()
    methods: Sequence[str] = ()
    originals: Sequence[Text | None] = ()
    origins: Sequence[str] = ()


class Source(Protocol):
    """Where examples come from: embedded, a folder, the hub, a user's files."""

    @property
    def description(self) -> str:
        """The origin of the data as a report names it, e.g. ``embedded suite (generated; not GLUE)``."""

    def load(self, task: Task, split: str) -> Examples:
        """Read one split, checked; raises DataError naming file, row and expectation."""

    def adversarial(self, task: Task, name: str) -> list[AdversarialExamples]:
        """Read adversarial set ``name`` (``advglue``, ``anli``) for ``task``.

        One object per published subset (MNLI has two in AdvGLUE); an empty list where the set has
        nothing for the task.
        """


TASKS: Registry[Task] = Registry("task", modules="trilemma.tasks.glue")
"""Tasks by name: GLUE's, and those that other packages bring by an entry point."""
