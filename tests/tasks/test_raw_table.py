# ruff: noqa: E501 (a table with one case a line)
"""Files that are not what they claim to be: each is refused with file, row and expectation."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma import tasks
from trilemma.errors import DataError
from trilemma.tasks.columns import LONGEST_TEXT
from trilemma.tasks.raw_table import read_file

SST2 = tasks.get("sst2")


def load(root, name, content, task=SST2):
    folder = root / task.name
    folder.mkdir(exist_ok=True)
    if isinstance(content, dict):
        pq.write_table(pa.table(content), folder / name)
    else:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tasks.open_source(f"folder:{root}").load(task, "train")


def parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"sentence": ["words and more words"] * 500, "label": [0, 1] * 250}), sink)
    return sink.getvalue().to_pybytes()


CASES = {
    "0-byte parquet": ("train.parquet", b"", r"train\.parquet is empty \(0 bytes\)"),
    "text as parquet": ("train.parquet", "sentence,label\na,1\n", r"train\.parquet is not readable Parquet"),
    "truncated parquet": ("train.parquet", parquet_bytes()[:-40], r"not readable Parquet .* whole Parquet file"),
    "garbled parquet": ("train.parquet", b"PAR1" + b"\xff" * 200 + b"\x60\0\0\0PAR1", r"train\.parquet (is not readable|cannot be read)"),
    "no rows": ("train.parquet", {"sentence": pa.array([], pa.string()), "label": pa.array([], pa.int64())}, "no rows"),
    "missing column": ("train.parquet", {"text": ["a"], "label": [1]}, r"lacks the column 'sentence'; it has text, label"),
    "numbers as text": ("train.parquet", {"sentence": [1, 2], "label": [0, 1]}, r"row 1: 1 in column 'sentence'; expected text"),
    "null text": ("train.parquet", {"sentence": ["a", None], "label": [0, 1]}, r"row 2: None in column 'sentence'; expected text"),
    "blank text": ("train.parquet", {"sentence": ["a", " \t"], "label": [0, 1]}, r"row 2: no text in sentence"),
    "bytes as text": ("train.parquet", {"sentence": [b"a"], "label": [0]}, r"row 1: b'a' in column 'sentence'; expected text"),
    "unknown class": ("train.parquet", {"sentence": ["a", "b"], "label": [0, 2]}, r"row 2: unknown label 2 .*1 \(positive\)"),
    "unknown name": ("train.csv", "sentence,label\na,good\n", r"row 1: unknown label 'good'"),
    "fractional class": ("train.parquet", {"sentence": ["a"], "label": [0.5]}, r"unknown label 0\.5"),
    "not a number": ("train.parquet", {"sentence": ["a"], "label": [float("nan")]}, r"unknown label nan"),
    "boolean label": ("train.parquet", {"sentence": ["a"], "label": [True]}, r"row 1: label True .* is a bool"),
    "null label": ("train.parquet", {"sentence": ["a"], "label": pa.array([None], pa.int64())}, r"unknown label None"),
    "list label": ("train.jsonl", '{"sentence": "a", "label": [1]}', r"row 1: label \[1\] .* is a list"),
    "duplicate id": ("train.parquet", {"sentence": ["a", "b"], "label": [0, 1], "idx": [7, 7]}, r"row 2: id 7 was used in row 1"),
    "latin-1 csv": ("train.csv", "sentence,label\na,1\ncafé,0\n".encode("latin-1"), r"train\.csv, line 3: byte 0xe9 is not UTF-8"),
    "utf-16 csv": ("train.csv", "sentence,label\na,1\n".encode("utf-16"), r"line 1: byte 0xff is not UTF-8"),
    "NUL in csv": ("train.csv", b"sentence,label\na,1\nb\0c,0\n", r"train\.csv, line 3: a NUL byte"),
    "short csv row": ("train.csv", "sentence,label\na,1\nb\n", r"row 2: expected 2 columns, got 1"),
    "long csv row": ("train.csv", "sentence,label\n\na,1\nb,c,0\n", r"row 2: expected 2 columns, got 3"),
    "open quote": ("train.csv", 'sentence,label\na,1\n"b,0\nc,1\n', r"row 2: not valid CSV"),
    "stray quotes that join rows": ("train.csv", 'sentence,label\na,1\n"b,0\nc,1\n"d,1\ne,0\n', r"row 2: not valid CSV"),
    "a quoted word first": ("train.csv", 'sentence,label\n"Awful" is the word,0\n', r"row 1: not valid CSV .*inside it twice"),
    "space after a quote": ("train.csv", 'sentence,label\nx,1\n"a b" ,0\n', r"row 2: not valid CSV"),
    "backslash quotes": ("train.csv", 'sentence,label\n"He said \\"never\\" again",0\n', r"row 1: not valid CSV"),
    "stray quote in the header": ("train.csv", '"sentence" ,label\na,1\n', r"header: not valid CSV"),
    "space in the header": ("train.csv", "sentence, label\na,1\n", r"lacks the column 'label'; it has sentence, ' label'"),
    "header alone": ("train.csv", "sentence,label\n", r"no rows"),
    "column twice": ("train.csv", "sentence,sentence,label\na,b,1\n", r"column 'sentence' 2 times"),
    "huge csv field": ("train.csv", "sentence,label\n" + "x" * 3_000_000 + ",1\n", r"row 1: 3,000,000 characters"),
    "json garbage": ("train.jsonl", '{"sentence": "a", "label": 1}\n{]\n', r"train\.jsonl, row 2: not valid JSON"),
    "cut json": ("train.jsonl", '{"sentence": "a", "label": 1}\n{"sentence": "b", "la', r"row 2: not valid JSON .*truncated"),
    "nested json": ("train.jsonl", "[" * 100_000, r"row 1: JSON nested too deeply"),
    "absurd number": ("train.jsonl", '{"sentence": "a", "label": ' + "9" * 10_000 + "}", r"row 1: not valid JSON"),
    "no object": ("train.jsonl", "[1, 2]\n", r"row 1: a list; expected an object"),
    "key twice": ("train.jsonl", '{"sentence": "a", "label": 1, "label": 0}', r"row 1: 'label' is there twice"),
    "NUL in json": ("train.jsonl", '{"sentence": "a\\u0000b", "label": 1}', r"row 1: a NUL character in column 'sentence'"),
    "NUL in parquet": ("train.parquet", {"sentence": ["a\0b"], "label": [1]}, r"row 1: a NUL character in column 'sentence'"),
    "key missing": ("train.jsonl", '{"sentence": "a", "label": 1}\n{"sentence": "b"}', r"row 2 lacks 'label'"),
    "lone surrogate": ("train.jsonl", '{"sentence": "a \\ud800", "label": 1}', r"row 1: a lone surrogate"),
    "empty jsonl": ("train.jsonl", "\n\n", r"no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_hostile_files_are_refused_in_one_sentence(case, tmp_path):
    name, content, message = CASES[case]
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, name, content)
    assert name.removesuffix(".parquet") in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_invalid_utf8_inside_parquet_is_refused(tmp_path):
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    with pytest.raises(DataError, match="not readable Parquet"):
        load(tmp_path, "train.parquet", {"sentence": broken, "label": [1]})


def test_a_small_file_that_stands_for_gigabytes_is_refused(tmp_path):
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array(["word " * 200_000]))
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"sentence": long, "label": [0] * 5000}), path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match=r"train\.parquet holds more than 1 GiB once decoded"):
        read_file(path, ["sentence", "label"])


def test_a_small_file_of_millions_of_rows_is_refused_before_they_are_read(tmp_path):
    same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3_000_000, "int32")), pa.array(["a"]))
    pq.write_table(pa.table({"sentence": same, "label": same}), path := tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"train\.parquet has 3,000,000 rows, and at most 2,000,000"):
        read_file(path, ["sentence", "label"])


def test_a_folder_in_place_of_a_file_and_an_unknown_type_are_refused(tmp_path):
    (tmp_path / "sst2" / "train.parquet").mkdir(parents=True)
    with pytest.raises(DataError, match="is not a file"):
        tasks.open_source(f"folder:{tmp_path}").load(SST2, "train")


def test_ordinary_oddities_are_read(tmp_path):
    text = '\ufeffid,sentence,label\r\n1,"two\r\nlines, ""quoted""",1\r\n2,NA,0\r\n'
    read = load(tmp_path, "train.csv", text)
    assert read.texts == [('two\r\nlines, "quoted"',), ("NA",)]
    assert read.labels == [1.0, 0.0]


def test_quotes_inside_a_cell_and_whole_numbers_with_a_decimal_are_read(tmp_path):
    text = 'sentence,label\nthe 5" disk,1\r"12"" disk, ""old""",0.0\n"",1\n'
    read = load(tmp_path, "train.csv", text.replace('"",1', "x\u2028y,1.0"))
    assert read.texts == [('the 5" disk',), ('12" disk, "old"',), ("x\u2028y",)]
    assert read.labels == [1.0, 0.0, 1.0]


def test_a_score_is_written_as_a_number_is(tmp_path):
    columns = {"sentence1": ["a"], "sentence2": ["b"], "label": ["1_000"]}
    with pytest.raises(DataError, match="unknown label '1_000'"):
        load(tmp_path, "train.parquet", columns, tasks.get("stsb"))


def test_large_strings_dictionaries_and_whole_floats_are_read(tmp_path):
    columns = {
        "sentence": pa.array(["é" * 10, "b"], pa.large_string()).dictionary_encode(),
        "label": pa.array([1.0, 0.0], pa.float32()),
    }
    read = load(tmp_path, "train.parquet", columns)
    assert read.texts == [("é" * 10,), ("b",)] and read.labels == [1.0, 0.0]


def test_a_folder_name_with_an_equals_sign_adds_no_column(tmp_path):
    odd = tmp_path / "label=3"
    odd.mkdir()
    assert load(odd, "train.parquet", {"sentence": ["a"], "label": [1]}).labels == [1.0]


def test_one_empty_text_of_a_pair_is_read_two_are_not(tmp_path):
    qqp = tasks.get("qqp")
    columns = {"question1": ["a", "b"], "question2": ["", "c"], "label": [0, 1]}
    assert load(tmp_path, "train.parquet", columns, qqp).texts[0] == ("a", "")
    with pytest.raises(DataError, match="row 1: no text in question1 and question2"):
        load(tmp_path, "train.parquet", {**columns, "question1": ["", "b"]}, qqp)


def test_the_longest_text_is_read(tmp_path):
    line = json.dumps({"sentence": "x" * LONGEST_TEXT, "label": 1})
    assert len(load(tmp_path, "train.jsonl", line).texts[0][0]) == LONGEST_TEXT


def test_a_name_that_no_file_system_takes_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_file(tmp_path / ("x" * 300 + ".csv"), ["sentence"])
