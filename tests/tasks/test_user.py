import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma import tasks
from trilemma.errors import DataError, StudyError
from trilemma.tasks.columns import fingerprint

TICKETS = {
    "name": "tickets",
    "fields": ["subject", "body"],
    "label": "queue",
    "labels": ["billing", "technical", "other"],
    "metric": ["accuracy", "matthews"],
    "id": "ticket",
    "files": {"train": "train.csv", "validation": "data/valid.jsonl", "spring": "spring.parquet"},
}
TYPOS = {
    "name": "typos",
    "task": "tickets",
    "file": "typos.csv",
    "label": "queue",
    "level": "kind",
    "method": "tool",
    "original": {"body": "clean_body"},
}


@pytest.fixture
def base(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "train.csv").write_text(
        "ticket,subject,body,queue\nt1,bill,too high,billing\nt2,wifi,is down,1\n"
    )
    row = {"ticket": 9, "subject": "hello", "body": "nothing", "queue": "other", "more": 1}
    (tmp_path / "data/valid.jsonl").write_text(json.dumps(row))
    columns = {"ticket": ["a"], "subject": ["s"], "body": ["b"], "queue": [2]}
    pq.write_table(pa.table(columns), tmp_path / "spring.parquet")
    (tmp_path / "typos.csv").write_text(
        "subject,body,queue,kind,tool,clean_body\nbill,too hihg,billing,word,keyboard,too high\n"
        'bill,"too high, is it",billing,sentence,tag,too high\n'
    )
    return tmp_path


def test_a_task_of_ones_own_is_read_from_three_formats(base):
    task, source = tasks.from_user(TICKETS, base)
    assert (
        task.fields == ("subject", "body") and task.outputs == 3 and task.metrics == ("accuracy", "matthews")
    )
    assert task.evaluation_splits == ("validation", "spring") and task.data is source
    assert task.data is source
    train = source.load(task, "train")
    assert train.texts == [("bill", "too high"), ("wifi", "is down")]
    assert train.labels == [0.0, 1.0] and train.ids == ["t1", "t2"]
    assert train.official_rows is None and not train.partial
    assert source.load(task, "validation").labels == [2.0] and source.load(task, "validation").ids == ["9"]
    assert source.load(task, "spring").labels == [2.0]
    assert source.adversarial(task, "advglue") == []
    assert source.description == "the user's files for tickets"


def test_one_field_and_a_regression(base):
    (base / "scores.csv").write_text("text,score\ngood,4.5\nbad,1e0\n")
    block = {
        "name": "stars",
        "fields": "text",
        "label": "score",
        "files": {"train": "scores.csv", "test": "scores.csv"},
    }
    task, source = tasks.from_user(block, base)
    assert task.labels is None and task.outputs == 1 and task.metrics == ("pearson",)
    assert source.load(task, "train").labels == [4.5, 1.0]
    (base / "scores.csv").write_text("text,score\ngood,4.5\nbad,much\n")
    with pytest.raises(DataError, match=r"scores.csv, row 2: unknown label 'much' .* a finite number"):
        source.load(task, "train")


def test_classes_called_by_numbers_are_names_not_indices(base):
    (base / "rated.csv").write_text("text,label\na,1\nb,3\n")
    pq.write_table(pa.table({"text": ["a", "b"], "label": [1.0, 3.0]}), base / "rated.parquet")
    files = {"train": "rated.csv", "validation": "rated.parquet"}
    task, source = tasks.from_user({"name": "r", "fields": "text", "labels": [1, 2, 3], "files": files}, base)
    assert source.load(task, "train").labels == [0.0, 2.0] == source.load(task, "validation").labels
    (base / "rated.csv").write_text("text,label\na,0\n")
    with pytest.raises(DataError, match="row 1: unknown label '0'"):
        source.load(task, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fields": []}, "task tickets: fields: "),
        ({"fields": ["a", "b", "c"]}, "task tickets: fields: "),
        ({"labels": ["one"]}, "task tickets: labels: "),
        ({"labels": ["a", "a"]}, "task tickets: labels: expected different names"),
        (
            {"metric": "bleu"},
            "task tickets: metric: 'bleu' is not for classes; expected accuracy, macro_f1, matthews",
        ),
        (
            {"metric": "f1"},
            "metric: f1 is that of class 1 of two, and there are 3 classes; expected accuracy, macro_f1",
        ),
        ({"labels": None}, "task tickets: metric: 'accuracy' is not for a regression"),
        ({"files": {"train": "train.csv"}}, "task tickets: files: expected train and at least one more"),
        ({"files": {"validation": "a.csv", "test": "b.csv"}}, "files: expected train"),
        ({"colunms": ["a"]}, "task tickets: colunms: "),
    ],
)
def test_a_bad_block_is_refused_by_field(base, change, message):
    with pytest.raises(StudyError, match=message):
        tasks.from_user({**TICKETS, **change}, base)


def test_faults_in_the_files_name_file_and_row(base):
    task, source = tasks.from_user(TICKETS, base)
    with pytest.raises(DataError, match=r"no 'test' of tickets .* it has train, validation, spring"):
        source.load(task, "test")
    (base / "train.csv").write_text(
        "ticket,subject,body,queue\nt1,bill,too high,billing\nt1,wifi,is down,1\n"
    )
    with pytest.raises(DataError, match=r"train.csv, row 2: id 't1' was used in row 1"):
        source.load(task, "train")
    (base / "train.csv").write_text("subject,body,queue\nbill,too high,billing\n")
    with pytest.raises(DataError, match=r"train.csv lacks the column 'ticket'; it has subject, body, queue"):
        source.load(task, "train")
    (base / "train.csv").unlink()
    with pytest.raises(DataError, match=r"train.csv does not exist"):
        source.load(task, "train")
    wrong, source = tasks.from_user({**TICKETS, "files": {"train": "t.xlsx", "validation": "t.xlsx"}}, base)
    with pytest.raises(DataError, match=r"unknown file type '.xlsx'; expected .parquet, .csv, .jsonl"):
        source.load(wrong, "train")


def test_your_own_adversarial_set(base):
    task, _ = tasks.from_user(TICKETS, base)
    (one,) = tasks.adversarial_from_user(TYPOS, base, task)
    assert one.split == "typos" and one.task == "tickets"
    assert one.texts == [("bill", "too hihg"), ("bill", "too high, is it")]
    assert one.levels == ["word", "sentence"] and one.methods == ["keyboard", "tag"]
    assert one.originals == [("bill", "too high")] * 2 and len(set(one.origins)) == 1
    assert tasks.adversarial_from_user(TYPOS, base, tasks.get("sst2")) == []


def test_level_method_and_original_are_optional(base):
    task, _ = tasks.from_user(TICKETS, base)
    bare = {name: TYPOS[name] for name in ("name", "task", "file", "label")}
    (one,) = tasks.adversarial_from_user(bare, base, task)
    assert one.levels == ["unknown"] * 2 and one.methods == ["", ""] and one.originals == [None, None]
    (other,) = tasks.adversarial_from_user({**bare, "name": "misspelt"}, base, task)
    assert len(set(one.origins)) == 2 and one.origins[0].endswith("-row-1")
    assert (other.fingerprint, other.origins) == (one.fingerprint, one.origins) and other.split == "misspelt"
    (clustered,) = tasks.adversarial_from_user({**bare, "origin": "subject"}, base, task)
    assert clustered.origins == ["bill", "bill"]
    assert clustered.fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"original": {"text": "clean_body"}},
            StudyError,
            "'text' is not a field of tickets; expected subject or body",
        ),
        ({"file": None}, StudyError, "adversarial set typos: expected `task` and `file`, or `advglue`"),
        ({"advglue": "x.json"}, StudyError, "adversarial set typos: expected `advglue` alone"),
        ({"levels": "kind"}, StudyError, "adversarial set typos: levels: "),
        ({"level": "tool"}, DataError, r"typos.csv, row 1: level 'keyboard' in column 'tool'; expected word"),
        ({"level": "severity"}, DataError, r"typos.csv lacks the column 'severity'"),
    ],
)
def test_a_bad_set_is_refused(base, change, error, message):
    task, _ = tasks.from_user(TICKETS, base)
    with pytest.raises(error, match=message):
        tasks.adversarial_from_user({**TYPOS, **change}, base, task)


def test_a_plug_in_task_brings_its_own_data(base, monkeypatch):
    task, _ = tasks.from_user(TICKETS, base)

    class Point:
        name = "tickets"

        def load(self):
            return task

    monkeypatch.setattr(
        "trilemma.registry.entry_points", lambda group: [Point()] if group == "trilemma.tasks" else []
    )
    with tasks.TASKS.holding({}):  # what is imported here is forgotten afterwards
        assert "tickets" in tasks.TASKS.names() and tasks.get("tickets") is task
    assert len(task.data.load(task, "train")) == 2


def test_a_plug_in_that_is_not_a_task_is_refused():
    with (
        tasks.TASKS.holding({"odd": 3}),
        pytest.raises(tasks.TrilemmaError, match="the plug-in 'odd' is a int; expected"),
    ):
        tasks.get("odd")


@pytest.mark.parametrize("rows", [0, 1, 10_000, 10_001, 20_000])
def test_a_fingerprint_is_that_of_the_whole_as_json(rows: int) -> None:
    columns = ["a", [(f"text {i}", None) for i in range(rows)], (), None, [1.5, "é"] * rows]
    assert fingerprint(*columns) == hashlib.sha256(json.dumps(columns).encode()).hexdigest()
    assert fingerprint() == hashlib.sha256(b"[]").hexdigest()
