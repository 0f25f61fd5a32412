import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma import tasks
from trilemma.errors import DataError, TrilemmaError
from trilemma.tasks.official_metrics import CLASSIFICATION, REGRESSION

GLUE = ["ax", "cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli"]


@pytest.fixture(scope="module")
def real() -> tasks.Source:
    if "TRILEMMA_DATA" not in os.environ:
        pytest.skip("TRILEMMA_DATA is not set: no real GLUE files")
    return tasks.open_source(f"folder:{os.environ['TRILEMMA_DATA']}")


def write(root: Path, name: str, **columns) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_the_table_is_glue():
    assert tasks.TASKS.names() == GLUE
    for name in GLUE:
        task = tasks.get(name)
        assert task.name == name
        assert set(task.metrics) <= set(REGRESSION if task.labels is None else CLASSIFICATION)
        assert set(task.evaluation_splits) <= set(task.official_rows)
    assert tasks.get("mnli").evaluation_splits == ("validation_matched", "validation_mismatched")
    assert tasks.get("stsb").outputs == 1
    assert tasks.get("ax").hidden_labels and tasks.get("ax").trained_on is tasks.get("mnli")


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(TrilemmaError, match=r"unknown task 'sst3'; did you mean sst2\? known: ax, .*wnli"):
        tasks.get("sst3")
    with pytest.raises(DataError, match="expected embedded, folder:PATH or hub"):
        tasks.open_source("folder:")
    with pytest.raises(DataError, match="nowhere is not a folder"):
        tasks.open_source("folder:nowhere")


def test_tasks_import_neither_torch_nor_datasets_nor_sklearn():
    code = (
        "import sys, trilemma.tasks as tasks; tasks.open_source('embedded'); tasks.open_source('hub');"
        "print([name for name in ('torch', 'transformers', 'datasets', 'sklearn', 'scipy', 'pandas')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_short_split_is_partial_and_a_whole_one_is_not(tmp_path):
    write(tmp_path, "glue/wnli/train_partial9.parquet", sentence1=["a"], sentence2=["b"], label=[1], idx=[-1])
    n = 71
    write(
        tmp_path,
        "glue/wnli/validation.parquet",
        sentence1=["a"] * n,
        sentence2=["b"] * n,
        label=[0] * n,
        idx=range(n),
    )
    source, task = tasks.open_source(f"folder:{tmp_path}"), tasks.get("wnli")
    train, validation = source.load(task, "train"), source.load(task, "validation")
    assert train.partial and train.official_rows == 635 and list(train.ids) == ["row-1"]
    assert not validation.partial and list(validation.ids) == [str(i) for i in range(n)]


def test_a_task_may_lie_in_a_plain_folder_and_in_other_formats(tmp_path):
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "train.csv").write_text('sentence,label\n"good, really",positive\nbad,0\n')
    (tmp_path / "sst2" / "validation.jsonl").write_text(json.dumps({"sentence": "fine", "label": 1}) + "\n")
    source, task = tasks.open_source(f"folder:{tmp_path}"), tasks.get("sst2")
    train = source.load(task, "train")
    assert train.texts == [("good, really",), ("bad",)] and train.labels == [1.0, 0.0]
    assert source.load(task, "validation").texts == [("fine",)]


def test_hidden_labels_belong_to_test_splits_only(tmp_path):
    for split in ("test", "validation"):
        write(tmp_path, f"glue/sst2/{split}.parquet", sentence=["a", "b"], label=[-1, -1], idx=[0, 1])
    source, task = tasks.open_source(f"folder:{tmp_path}"), tasks.get("sst2")
    assert source.load(task, "test").labels == [None, None]
    with pytest.raises(
        DataError, match=r"validation.parquet, row 1: unknown label -1 .*0 \(negative\), 1 \(positive\)"
    ):
        source.load(task, "validation")


def test_a_missing_or_ambiguous_file_is_named(tmp_path):
    source, task = tasks.open_source(f"folder:{tmp_path}"), tasks.get("cola")
    with pytest.raises(DataError, match=r"glue/cola/train not found; expected that file as \.parquet"):
        source.load(task, "train")
    for name in ("train_partial1", "train_partial2"):
        write(tmp_path, f"glue/cola/{name}.parquet", sentence=["a"], label=[1])
    with pytest.raises(DataError, match=r"train_partial1.parquet, train_partial2.parquet; expected one file"):
        source.load(task, "train")
    with pytest.raises(DataError, match=r"no adversarial set 'advgleu'.*known: advglue, anli"):
        source.adversarial(task, "advgleu")


def test_the_fingerprint_follows_the_content_and_nothing_else(tmp_path):
    columns = {"sentence": ["a", "b"], "label": [0, 1], "idx": [0, 1]}
    source, task = tasks.open_source(f"folder:{tmp_path}"), tasks.get("sst2")
    path = write(tmp_path, "glue/sst2/train.parquet", **columns)
    first = source.load(task, "train").fingerprint
    pq.write_table(pa.table({**columns, "extra": [1, 2]}), path, compression="zstd", row_group_size=1)
    assert source.load(task, "train").fingerprint == first
    changed = set()
    for name, values in (("sentence", ["a", "c"]), ("label", [1, 1]), ("idx", [0, 2])):
        pq.write_table(pa.table({**columns, name: values}), path)
        changed.add(source.load(task, "train").fingerprint)
    assert len(changed) == 3 and first not in changed


def test_real_splits_have_their_official_rows(real):
    for name in GLUE:
        task = tasks.get(name)
        for split in task.evaluation_splits:
            examples = real.load(task, split)
            short = {("qqp", "validation"): 7_600, ("mnli", "validation_mismatched"): 1_000}.get(
                (name, split)
            )
            assert len(examples) == (short or task.official_rows[split])
            assert examples.partial == (short is not None)
            assert len(set(examples.ids)) == len(examples)
            if task.labels is not None and not task.hidden_labels:
                assert set(examples.labels) == set(range(len(task.labels)))


def test_real_regression_scores_and_hidden_labels(real):
    scores = real.load(tasks.get("stsb"), "validation").labels
    assert min(scores) == 0.0 and max(scores) == 5.0
    assert set(real.load(tasks.get("ax"), "test").labels) == {None}
    assert real.load(tasks.get("stsb"), "test").labels == [None] * 1_379


def test_ax_is_trained_on_mnli(real):
    mine, mnli = (real.load(tasks.get(name), "train") for name in ("ax", "mnli"))
    assert (mine.texts, mine.labels, mine.task) == (mnli.texts, mnli.labels, "ax")


def test_real_anli_is_three_human_sets_for_mnli_alone(real):
    rounds = real.adversarial(tasks.get("mnli"), "anli")
    assert [(one.split, len(one), one.partial) for one in rounds] == [
        ("anli_r1", 1_000, False),
        ("anli_r2", 1_000, False),
        ("anli_r3", 1_198, True),
    ]
    for one in rounds:
        assert set(one.levels) == {"human"} and set(one.originals) == {None}
        contexts = {text[0] for text in one.texts}
        assert len(set(one.origins)) <= len(contexts) < len(one)
    assert real.adversarial(tasks.get("rte"), "anli") == []
