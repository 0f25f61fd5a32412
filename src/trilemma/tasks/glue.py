"""The GLUE table: tasks, fields, classes, official metrics and official numbers of rows.

Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding"
(ICLR 2019). Column names, class order and splits are those of the Hugging Face data set
``nyu-mll/glue``; STS-B is a regression on 0..5.
"""

from trilemma.tasks.task import TASKS, Task

SITE = "GLUE, https://gluebenchmark.com"
INFERENCE = ("entailment", "neutral", "contradiction")
BINARY_INFERENCE = ("entailment", "not_entailment")


def _glue(
    name: str,
    fields: tuple[str, ...],
    labels: tuple[str, ...] | None,
    metrics: tuple[str, ...],
    rows: tuple[int, int, int],
) -> Task:
    """A task whose splits are train, validation and test."""
    official_rows = dict(zip(("train", "validation", "test"), rows, strict=True))
    return TASKS.add(name, Task(name, fields, labels, metrics, official_rows=official_rows, source=SITE))


_TWO = ("sentence1", "sentence2")

COLA = _glue("cola", ("sentence",), ("unacceptable", "acceptable"), ("matthews",), (8_551, 1_043, 1_063))
SST2 = _glue("sst2", ("sentence",), ("negative", "positive"), ("accuracy",), (67_349, 872, 1_821))
MRPC = _glue("mrpc", _TWO, ("not_equivalent", "equivalent"), ("accuracy", "f1"), (3_668, 408, 1_725))
QQP = _glue(
    "qqp",
    ("question1", "question2"),
    ("not_duplicate", "duplicate"),
    ("accuracy", "f1"),
    (363_846, 40_430, 390_965),
)
STSB = _glue("stsb", _TWO, None, ("pearson", "spearman"), (5_749, 1_500, 1_379))
MNLI = TASKS.add(
    "mnli",
    Task(
        name="mnli",
        fields=("premise", "hypothesis"),
        labels=INFERENCE,
        metrics=("accuracy",),
        evaluation_splits=("validation_matched", "validation_mismatched"),
        official_rows={
            "train": 392_702,
            "validation_matched": 9_815,
            "validation_mismatched": 9_832,
            "test_matched": 9_796,
            "test_mismatched": 9_847,
        },
        source=SITE,
    ),
)
QNLI = _glue("qnli", ("question", "sentence"), BINARY_INFERENCE, ("accuracy",), (104_743, 5_463, 5_463))
RTE = _glue("rte", _TWO, BINARY_INFERENCE, ("accuracy",), (2_490, 277, 3_000))
WNLI = _glue("wnli", _TWO, ("not_entailment", "entailment"), ("accuracy",), (635, 71, 146))
AX = TASKS.add(
    "ax",
    Task(
        name="ax",
        fields=("premise", "hypothesis"),
        labels=INFERENCE,
        metrics=("matthews",),
        evaluation_splits=("test",),
        official_rows={"train": 392_702, "test": 1_104},
        hidden_labels=True,
        source=SITE,
        trained_on=MNLI,
    ),
)
