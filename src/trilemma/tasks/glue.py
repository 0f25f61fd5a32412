"""The GLUE table: tasks, fields, classes, official metrics and official numbers of rows.

Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding"
(ICLR 2019). Column names, class order and splits are those of the Hugging Face data set
``nyu-mll/glue``; STS-B is a regression on 0..5. QQP's and MRPC's F1 is that of class 1.
"""

from trilemma.tasks.task import Task

SITE = "GLUE, https://gluebenchmark.com"
INFERENCE = ("entailment", "neutral", "contradiction")
BINARY_INFERENCE = ("entailment", "not_entailment")


def _rows(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


COLA = Task(
    name="cola",
    fields=("sentence",),
    labels=("unacceptable", "acceptable"),
    metrics=("matthews",),
    official_rows=_rows(8_551, 1_043, 1_063),
    source=SITE,
)
SST2 = Task(
    name="sst2",
    fields=("sentence",),
    labels=("negative", "positive"),
    metrics=("accuracy",),
    official_rows=_rows(67_349, 872, 1_821),
    source=SITE,
)
MRPC = Task(
    name="mrpc",
    fields=("sentence1", "sentence2"),
    labels=("not_equivalent", "equivalent"),
    metrics=("accuracy", "f1"),
    official_rows=_rows(3_668, 408, 1_725),
    source=SITE,
)
QQP = Task(
    name="qqp",
    fields=("question1", "question2"),
    labels=("not_duplicate", "duplicate"),
    metrics=("accuracy", "f1"),
    official_rows=_rows(363_846, 40_430, 390_965),
    source=SITE,
)
STSB = Task(
    name="stsb",
    fields=("sentence1", "sentence2"),
    labels=None,
    metrics=("pearson", "spearman"),
    official_rows=_rows(5_749, 1_500, 1_379),
    source=SITE,
)
MNLI = Task(
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
)
QNLI = Task(
    name="qnli",
    fields=("question", "sentence"),
    labels=BINARY_INFERENCE,
    metrics=("accuracy",),
    official_rows=_rows(104_743, 5_463, 5_463),
    source=SITE,
)
RTE = Task(
    name="rte",
    fields=("sentence1", "sentence2"),
    labels=BINARY_INFERENCE,
    metrics=("accuracy",),
    official_rows=_rows(2_490, 277, 3_000),
    source=SITE,
)
WNLI = Task(
    name="wnli",
    fields=("sentence1", "sentence2"),
    labels=("not_entailment", "entailment"),
    metrics=("accuracy",),
    official_rows=_rows(635, 71, 146),
    source=SITE,
)
AX = Task(
    name="ax",
    fields=("premise", "hypothesis"),
    labels=INFERENCE,
    metrics=("matthews",),
    evaluation_splits=("test",),
    official_rows={"train": 392_702, "test": 1_104},
    hidden_labels=True,
    source=SITE,
    trained_on=MNLI,
)
