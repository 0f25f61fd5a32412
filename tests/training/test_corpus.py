"""Corpora as files, and the tokenizer trained on them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from trilemma.errors import DataError
from trilemma.training.corpus import mixed, read_texts
from trilemma.training.tokenizer import train_tokenizer

TEXTS = ["The cat sat on the mat.", "It 's a naïve café, isn't it?", "the dog saw the cat", "12 + 7 = 19"]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_all_formats_give_the_same_documents(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.txt", ("\ufeff" + "\n \n\n".join(TEXTS) + "\n").encode())
    lines = write(
        tmp_path / "b.jsonl", "".join(json.dumps({"text": t, "n": 1}) + "\n" for t in TEXTS).encode()
    )
    pq.write_table(pa.table({"text": [*TEXTS, None, "  "], "n": [1] * 6}), tmp_path / "c.parquet")
    pq.write_table(pa.table({"body": pa.array(TEXTS, pa.large_string())}), tmp_path / "d.parquet")
    assert list(read_texts([plain])) == list(read_texts([lines])) == TEXTS
    assert list(read_texts([tmp_path / "c.parquet"])) == TEXTS
    assert list(read_texts([tmp_path / "d.parquet"], column="body")) == TEXTS
    assert list(read_texts([plain, lines])) == TEXTS * 2


def test_lines_of_a_paragraph_stay_together(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"one\ntwo\r\n\nthree")
    assert list(read_texts([path])) == ["one\ntwo", "three"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "holds no text"),
        ("a.txt", b" \n\n", "holds no text"),
        ("a.txt", b"fine\nbad \xff\n", "line 2: not UTF-8"),
        ("a.txt", "naïve".encode("utf-16"), "line 1: not UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "line 2: not JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("a.jsonl", b'{"txt": "x"}\n', "line 1: no text in field 'text'"),
        ("a.jsonl", b'["x"]\n', "line 1: no text in field 'text'"),
        ("a.parquet", b"PAR1 not really", "not readable Parquet"),
        ("a.csv", b"text\nx\n", r"must end in \.txt, \.jsonl, \.parquet"),
    ],
)
def test_a_hostile_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_texts([path]))
    assert str(path) in str(caught.value)


def test_absent_files_and_wrong_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2], "body": ["a", "b"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'text' holds int64, not text"):
        list(read_texts([tmp_path / "a.parquet"]))
    with pytest.raises(DataError, match="no column 'x'; its columns are text, body"):
        list(read_texts([tmp_path / "a.parquet"], column="x"))
    with pytest.raises(DataError, match="does not exist"):
        list(read_texts([tmp_path / "b.txt"]))
    with pytest.raises(DataError, match="names no file"):
        list(read_texts([]))


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": TEXTS * 500}), tmp_path / "a.parquet", compression="none")
    whole = (tmp_path / "a.parquet").read_bytes()
    write(tmp_path / "cut.parquet", whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not readable Parquet"):
        list(read_texts([tmp_path / "cut.parquet"]))


def test_mixing_forgets_order_and_copies() -> None:
    texts = [f"document {i}" for i in range(200)]
    once = mixed(texts)
    assert sorted(once) == sorted(texts) and once != texts
    assert mixed([*reversed(texts), *texts[:50]]) == once


def test_tokenizer_is_the_same_for_the_same_texts_in_any_order() -> None:
    once, again = train_tokenizer(TEXTS * 3, 290), train_tokenizer(TEXTS[::-1], 290)
    assert once.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()
    assert len(once) <= 290


def test_every_text_survives_and_pairs_are_joined(tmp_path: Path) -> None:
    train_tokenizer(TEXTS, 300).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "\x00\n\t", "日本語 🎬", "", " two  spaces "]:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == tokenizer.cls_token_id
        assert tokenizer.decode(ids[:-1]).removeprefix(" ") == text.removeprefix(" ")
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("the cat", "the dog")["input_ids"])
    assert tokens.count("<|sep|>") == 1 and tokens[-1] == "<|class|>"
    assert tokens.index("<|sep|>") not in (0, len(tokens) - 2)
    assert tokenizer.pad_token_id not in (tokenizer.eos_token_id, tokenizer.cls_token_id)


def test_special_tokens_in_data_are_text(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    tokenizer.save_pretrained(tmp_path)
    special = set(tokenizer.all_special_ids)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = each("so <|end|> it <|sep|>goes<|class|><|pad|>")["input_ids"]
        assert [i for i in ids if i in special] == [each.cls_token_id]


def test_tokenizer_of_nothing_or_too_few_tokens_is_refused() -> None:
    with pytest.raises(DataError, match="no text"):
        train_tokenizer([], 300)
    with pytest.raises(DataError, match="at least 260"):
        train_tokenizer(TEXTS, 200)
