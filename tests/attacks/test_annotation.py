import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from trilemma import tasks
from trilemma.attacks.annotation.sheets import read_sheet, write_sheet
from trilemma.attacks.annotation.verdicts import (
    KEY,
    UNCLEAR,
    CuratedSet,
    export_sheets,
    fleiss_kappa,
    import_verdicts,
    write_curated,
)
from trilemma.cli.annotate import annotate
from trilemma.errors import AttackError
from trilemma.tasks.advglue import columns, from_table
from trilemma.tasks.columns import fingerprinted
from trilemma.tasks.raw_table import read_file
from trilemma.tasks.task import AdversarialExamples

SST2, RTE = tasks.get("sst2"), tasks.get("rte")


def a_set(n: int = 20) -> AdversarialExamples:
    examples = AdversarialExamples(
        task="sst2",
        split="made",
        fingerprint="",
        ids=[f"id-{i}" for i in range(n)],
        texts=[(f"@abc film number {i} is odd",) for i in range(n)],
        labels=[float(i % 2) for i in range(n)],
        levels=["sentence"] * n,
        methods=["CheckList"] * n,
        originals=[(f"film number {i} is odd",) for i in range(n)],
        origins=[f"origin-{i // 2}" for i in range(n)],
    )
    return fingerprinted(SST2, examples)


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))


def fill(path: Path, verdict_of: "dict[str, str]") -> None:
    """Write an annotator's verdicts, by row number."""
    head, *rows = rows_of(path)
    written = io.StringIO()
    csv.writer(written).writerows([head, *([*row[:-1], verdict_of[row[0]]] for row in rows)])
    path.write_text(written.getvalue(), "utf-8")


def gold(folder: Path, examples: AdversarialExamples) -> dict[str, str]:
    places = json.loads((folder / KEY).read_text())["rows"]
    return {row: (SST2.labels or ())[int(examples.labels[p["index"]] or 0)] for row, p in places.items()}


def test_a_sheet_shows_what_is_asked_and_not_the_answer(tmp_path: Path) -> None:
    examples = a_set()
    paths = export_sheets(examples, SST2, tmp_path, annotators=3, control=0.2)
    assert [path.name for path in paths] == [f"annotator-{number}.csv" for number in (1, 2, 3)]
    sheets = [rows_of(path) for path in paths]
    assert sheets[0][0] == ["row", "task", "question", "sentence", "choices", "verdict"]
    for _, *rows in sheets:
        assert len(rows) == 25 and {row[-1] for row in rows} == {""}
        assert {row[4] for row in rows} == {"negative / positive / unclear"}
        shown = [row[3] for row in rows]
        assert sum(text.startswith("'@abc") for text in shown) == 20  # guarded
        assert sum(text.startswith("film") for text in shown) == 5  # hidden clean ones
    orders = [[row[0] for row in rows[1:]] for rows in sheets]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])
    # The number of a row tells nothing: clean items are not the last ones.
    places = json.loads((tmp_path / KEY).read_text())["rows"]
    assert [place["index"] for place in places.values()] != sorted(p["index"] for p in places.values())


def test_the_same_seed_gives_the_same_sheets(tmp_path: Path) -> None:
    made = [
        export_sheets(a_set(), SST2, tmp_path / name, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    a, b, c = ([path.read_bytes() for path in paths] for paths in made)
    assert a == b != c
    with pytest.raises(AttackError, match="contains sheets already"):
        export_sheets(a_set(), SST2, tmp_path / "a")


def test_votes_are_counted_and_a_careless_annotator_left_out(tmp_path: Path) -> None:
    examples = a_set()
    paths = export_sheets(examples, SST2, tmp_path, annotators=4, control=0.2)
    right = gold(tmp_path, examples)
    places = json.loads((tmp_path / KEY).read_text())["rows"]
    row_of = {place["index"]: row for row, place in places.items() if not place["control"]}
    other = {"negative": "positive", "positive": "negative"}
    votes = [dict(right) for _ in paths]
    votes[0][row_of[3]] = votes[1][row_of[3]] = other[right[row_of[3]]]  # 2 of 3
    votes[0][row_of[4]] = votes[1][row_of[4]] = "Unclear "
    votes[0][row_of[5]], votes[1][row_of[5]] = UNCLEAR, other[right[row_of[5]]]
    votes[2][row_of[6]] = other[right[row_of[6]]]  # a minority
    votes[3] = {row: other[label] for row, label in right.items()}
    for path, verdicts in zip(paths, votes, strict=True):
        fill(path, verdicts)
    curated = import_verdicts(examples, SST2, tmp_path)
    assert curated.left_out == ("annotator-4",)
    assert curated.control == {"annotator-1": 1.0, "annotator-2": 1.0, "annotator-3": 1.0, "annotator-4": 0.0}
    assert curated.dropped == {3: "another class", 4: "unclear", 5: "no majority"}
    assert curated.reasons == {"another class": 1, "no majority": 1, "unclear": 1}
    assert curated.kept == tuple(i for i in range(20) if i not in (3, 4, 5))
    assert curated.kappa is not None and curated.interval is not None
    assert 0.3 < curated.interval.low < curated.kappa < curated.interval.high <= 1
    votes[:3] = [votes[3]] * 3
    for path, verdicts in zip(paths, votes, strict=True):
        fill(path, verdicts)
    with pytest.raises(AttackError, match="no annotator got 80%"):
        import_verdicts(examples, SST2, tmp_path)


def test_kappa_is_that_of_fleiss_example() -> None:
    # Ten subjects, fourteen raters, five categories: the example in common use, kappa 0.210.
    counts = np.array(
        [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ],
        dtype=float,
    )  # fmt: skip
    kappa, interval = fleiss_kappa(counts, np.arange(10))
    assert kappa == pytest.approx(0.2099, abs=1e-4)
    assert interval is not None and interval.low < 0.2099 < interval.high
    assert fleiss_kappa(np.array([[3.0, 0], [0, 3.0]]), np.arange(2))[0] == pytest.approx(1.0)
    assert fleiss_kappa(np.array([[3.0, 0], [3.0, 0]]), np.arange(2)) == (None, None)
    assert fleiss_kappa(np.array([[1.0, 0], [0, 1.0]]), np.arange(2)) == (None, None)
    assert fleiss_kappa(np.zeros((0, 2)), np.arange(0)) == (None, None)


@settings(max_examples=40)
@given(st.text(max_size=30), st.text(max_size=30))
def test_no_cell_is_a_formula_and_every_sheet_reads_back(first: str, second: str) -> None:
    import tempfile

    # What UTF-8 cannot hold never comes into a set.
    texts = tuple(text.encode("utf-8", "ignore").decode().replace("\0", "") for text in (first, second))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.csv"
        write_sheet(path, RTE, ("entailment", "not_entailment"), [("1", texts), ("2", texts)])
        head, *rows = rows_of(path)
        assert len(rows) == 2 and all(len(row) == len(head) for row in rows)
        for row in rows:
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)
            assert [cell.removeprefix("'") for cell in row[3:5]] == [text.removeprefix("'") for text in texts]
        fill(path, {"1": "Entailment", "2": " NOT_entailment"})
        read = read_sheet(path, {"1", "2"}, ("entailment", "not_entailment"))
        assert read == {"1": "entailment", "2": "not_entailment"}


HEAD = "row,task,question,sentence,choices,verdict\r\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEAD + "1,,,a,,positive\r\n2,,,b,,\r\n", "line 3: row 2 has no verdict"),
        (HEAD + "1,,,a,,good\r\n", "line 2: the verdict 'good' on row 1; expected one of negative, positive"),
        (HEAD + "1,,,a,,positive\r\n1,,,a,,positive\r\n", "line 3: row 1 is there twice"),
        (HEAD + "9,,,a,,positive\r\n", "line 2: row '9' is not one"),
        (HEAD + "1,,,a,,positive\r\n", "lacks the rows 2"),
        (HEAD + "1\r\n", "line 2: row 1 has no verdict"),
        (HEAD + '1,,,"a,,positive\r\n2,,,"b,,negative\r\n', "line 3: not valid CSV"),
        ("a,b\r\n1,2\r\n", "lacks the column"),
        ("", "lacks the column"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_sheet_is_named_by_its_line(
    tmp_path: Path, content: "str | bytes | None", said: str
) -> None:
    path = tmp_path / "annotator-1.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(AttackError, match=said):
        read_sheet(path, {"1", "2"}, ("negative", "positive"))


def test_sheets_saved_by_other_programs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "annotator-1.csv"
    for mark in (";", "\t"):
        path.write_text(
            "\ufeff" + f"row{mark}text{mark}verdict\n2{mark}b{mark}Positive\n\n1{mark}a{mark}'negative\n"
        )
        assert read_sheet(path, {"1", "2"}, ("negative", "positive")) == {"1": "negative", "2": "positive"}


def test_a_damaged_key_or_another_set_is_refused(tmp_path: Path) -> None:
    export_sheets(a_set(), SST2, tmp_path)
    with pytest.raises(AttackError, match="another set"):
        import_verdicts(a_set(21), SST2, tmp_path)
    for content in ("", "[]", "{}", '{"rows": {"1": {}}, "task": 1}', '{"rows": {}}'):
        (tmp_path / KEY).write_text(content)
        with pytest.raises(AttackError, match="key"):
            import_verdicts(a_set(), SST2, tmp_path)
    export_sheets(a_set(), SST2, tmp_path / "good")
    key = json.loads((tmp_path / "good" / KEY).read_text())
    first = next(iter(key["rows"]))
    for name, value in (
        ("annotators", ["../../etc/passwd"]),
        ("annotators", [1]),
        ("annotators", ["a\0b"]),
        ("classes", [1, 2]),
        ("classes", ["positive", "negative"]),
        ("rows", key["rows"] | {"9" * 5000: {"index": 0, "control": False}}),
        ("rows", {"1": {"index": 0, "control": False}, "2": {"index": 0, "control": False}}),
        ("rows", key["rows"] | {first: {"index": 20, "control": False}}),
        ("rows", key["rows"] | {first: {"index": -1, "control": False}}),
        ("rows", key["rows"] | {first: {"index": True, "control": False}}),
        ("rows", key["rows"] | {"first": {"index": 0, "control": False}}),
    ):
        (tmp_path / "good" / KEY).write_text(json.dumps(key | {name: value}))
        with pytest.raises(AttackError, match="is not the key of this set's sheets"):
            import_verdicts(a_set(), SST2, tmp_path / "good")
    with pytest.raises(AttackError, match="regression"):
        export_sheets(a_set(), tasks.get("stsb"), tmp_path / "other")


def test_a_text_of_any_length_reads_back_and_few_items_hide_enough_clean_ones(tmp_path: Path) -> None:
    write_sheet(tmp_path / "long.csv", SST2, ["positive"], [("1", ("x" * 200_000,))])
    fill(tmp_path / "long.csv", {"1": "positive"})
    assert read_sheet(tmp_path / "long.csv", {"1"}, ("positive",)) == {"1": "positive"}
    export_sheets(a_set(12), SST2, tmp_path / "few")
    rows = json.loads((tmp_path / "few" / KEY).read_text())["rows"].values()
    assert sum(row["control"] for row in rows) == 5


def test_one_annotator_and_no_clean_items(tmp_path: Path) -> None:
    examples = a_set(4)
    [path] = export_sheets(examples, SST2, tmp_path, annotators=1, control=0)
    fill(path, gold(tmp_path, examples))
    assert import_verdicts(examples, SST2, tmp_path) == CuratedSet(
        (0, 1, 2, 3), {}, None, None, {"annotator-1": None}, ()
    )


def test_the_command_line_goes_all_the_way(tmp_path: Path) -> None:
    examples, file, sheets = a_set(), tmp_path / "made.parquet", tmp_path / "sheets"
    write_curated(examples, SST2, range(20), file)
    done = CliRunner().invoke(
        annotate, ["export", str(file), str(sheets), "--task", "sst2", "--annotators", "2"]
    )
    assert done.exit_code == 0, done.output
    for path in sheets.glob("*.csv"):
        right = gold(sheets, examples)
        fill(path, {row: UNCLEAR if row == "1" else label for row, label in right.items()})
    out = tmp_path / "kept.parquet"
    command = [
        "import",
        str(file),
        str(sheets),
        "--task",
        "sst2",
        "--out",
        str(out),
        "--min-control",
        "0.4",
    ]
    done = CliRunner().invoke(annotate, command)
    assert done.exit_code == 0, done.output
    assert "Fleiss' kappa: 1.000" in done.output
    clean = json.loads((sheets / KEY).read_text())["rows"]["1"]["control"]
    assert f"kept: {20 if clean else 19}" in done.output
    kept = from_table(SST2, "kept", read_file(out, *columns(SST2)), None)
    assert len(kept) == (20 if clean else 19)
    assert set(kept.texts) <= set(examples.texts) and set(kept.methods) == {"CheckList"}
    assert all(
        original == (text[0].removeprefix("@abc "),)
        for text, original in zip(kept.texts, kept.originals, strict=True)
    )


def test_a_semicolon_or_an_invisible_character_hides_no_formula(tmp_path: Path) -> None:
    texts = ["nice;=1+1", "\u200b=1+1", "\uff1d1+1", "plain; and short"]
    rows = [(str(number), (text,)) for number, text in enumerate(texts, 1)]
    write_sheet(tmp_path / "a.csv", SST2, ["positive"], rows)
    shown = [row[3] for row in rows_of(tmp_path / "a.csv")[1:]]
    assert shown == ["'nice,=1+1", "'\u200b=1+1", "'\uff1d1+1", "plain; and short"]


@pytest.mark.parametrize("positive", [2, 10])
def test_hidden_items_are_of_all_classes_and_where_they_cannot_be_it_is_said(
    tmp_path: Path, positive: int
) -> None:
    examples = a_set(40)
    labels = [1.0 if i < positive else 0.0 for i in range(40)]
    examples = fingerprinted(SST2, replace(examples, labels=labels))
    sheets = export_sheets(examples, SST2, tmp_path, control=0.5)
    hidden = [row for row in json.loads((tmp_path / KEY).read_text())["rows"].values() if row["control"]]
    assert len(hidden) == 20 and sum(labels[row["index"]] for row in hidden) == positive
    for sheet in sheets:
        fill(sheet, gold(tmp_path, examples))
    curated = import_verdicts(examples, SST2, tmp_path)
    assert curated.one_class == ("negative" if positive == 2 else "")
    assert ("negative for everything would pass" in curated.text()) == (positive == 2)
