"""Texts to pretrain on, read from plain text, JSON Lines or Parquet."""

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trilemma.errors import DataError, one_line

_ROWS_PER_BATCH = 256


def read_texts(paths: Sequence[Path | str], column: str = "text") -> Iterator[str]:
    """Documents of a corpus, file by file, in order.

    ``.txt`` files hold documents between blank lines, or one per line where they have no blank line, so that
    whole documents can be held out; ``.jsonl`` and ``.parquet`` files hold one document per row. Blank
    documents are left out.

    Args:
        paths: files whose names end in ``.txt``, ``.jsonl`` or ``.parquet``.
        column: field or column that holds the text.

    Yields:
        Documents, stripped of surrounding white space.

    Raises:
        DataError: for a file that is missing, empty, in another encoding or not what its name says,
            naming file and row.
    """
    require_files(paths)
    for path in map(Path, paths):
        found = False
        for text in _READERS[path.suffix](path, column):
            if stripped := text.strip():
                found = True
                yield stripped
        if not found:
            raise DataError(f"corpus file {path} holds no text")


def require_files(paths: Sequence[Path | str]) -> None:
    """Refuse a corpus of no files, and files that do not exist or are not of a known type.

    Raises:
        DataError: naming the file.
    """
    if not paths:
        raise DataError("the corpus names no file; give text, JSON Lines or Parquet files")
    for path in map(Path, paths):
        if not os.path.isfile(path):  # unlike Path's, also for a name that is too long
            raise DataError(f"corpus file {one_line(path)} does not exist")
        if path.suffix not in _READERS:
            raise DataError(f"{path} is not a corpus file; its name must end in {', '.join(_READERS)}")


def _paragraphs(path: Path, column: str) -> Iterator[str]:
    """Text between blank lines; where no blank line follows any text, the lines."""
    del column
    lines: list[str] = []
    separated = False
    for _, line in _lines(path):
        if line.strip():
            lines.append(line)
        elif lines:
            separated = True
            yield "".join(lines)
            lines.clear()
    yield from ["".join(lines)] if separated else lines


def _json_lines(path: Path, column: str) -> Iterator[str]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}: not JSON ({error}); one object per line is expected"
            ) from error
        text = row.get(column) if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise DataError(
                f"{path}, line {number}: no text in field {column!r}; one object with it per line is expected"
            )
        yield text


def _parquet(path: Path, column: str) -> Iterator[str]:
    try:
        with pq.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise DataError(
                    f"{path} has no column {column!r}; its columns are {', '.join(file.schema_arrow.names)}"
                )
            kind = file.schema_arrow.field(column).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise DataError(f"{path}: column {column!r} holds {kind}, not text")
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=[column]):
                yield from (text for text in batch.column(0).to_pylist() if text is not None)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable Parquet ({error}); give a whole file") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, with their ends; a byte order mark is dropped."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                yield number, raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: not UTF-8 ({error.reason}); convert the file"
                ) from error


_READERS = {".txt": _paragraphs, ".jsonl": _json_lines, ".parquet": _parquet}


def mixed(texts: Iterable[str]) -> list[str]:
    """The distinct texts, in an order that looks random but depends on nothing but the texts.

    Any first part of it is then a fair sample of all files, and its last part, held out, is not trained on
    through a copy.
    """
    by_digest = {hashlib.blake2b(text.encode(), digest_size=16).digest(): text for text in texts}
    return [by_digest[digest] for digest in sorted(by_digest)]
