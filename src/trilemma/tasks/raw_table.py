"""Reads Parquet, CSV and JSON Lines into columns, and refuses files that are something else."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trilemma.errors import DataError, one_line

MAXIMUM_BYTES = 1 << 30
"""Largest size of a Parquet file's columns once decoded; the largest GLUE split has about 80 MB."""

MOST_ROWS = 2_000_000
"""Most rows of a file; the largest GLUE split has 393 thousand."""

CELL_BYTES = 64
"""What Python takes for a cell beside its text: copies of one text count too."""

_ROWS_PER_BATCH = 4096


@dataclass(frozen=True)
class RawTable:
    """Columns as read, not yet checked against a task.

    Attributes:
        where: file (or hub data set) that an error message names.
        columns: column name to one Python value per row; all of equal length.
    """

    where: str
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))


def read_file(path: Path, required: Sequence[str], optional: Iterable[str] = ()) -> RawTable:
    """Read the named columns of a ``.parquet``, ``.csv`` or ``.jsonl`` file; others are left out.

    CSV is UTF-8 with a header line and quotes strictly as in RFC 4180, and its cells are read as text.

    Args:
        path: the file.
        required: columns that must be there.
        optional: columns read where they are there.

    Raises:
        DataError: naming the file, the row where one is at fault (counted from 1, header not
            counted), and what was expected.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path}: unknown file type {path.suffix!r}; expected {', '.join(_READERS)}")
    try:
        if not path.is_file():
            raise DataError(
                f"{path} does not exist or is not a file; expected a table with columns {_names(required)}"
            )
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes); expected a table with columns {_names(required)}")
        columns = read(
            path, list(dict.fromkeys(required)), [name for name in optional if name not in required]
        )
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise DataError(
            f"{path} cannot be read ({reason}); expected {path.suffix} with columns {_names(required)}"
        ) from error
    table = RawTable(str(path), columns)
    if not len(table):
        raise DataError(f"{path} has no rows; expected at least one")
    return table


def require_columns(where: str, present: Sequence[str], required: Iterable[str]) -> None:
    """Refuse a table that lacks a required column or has one twice."""
    for name in required:
        if name not in present:
            raise DataError(f"{where} lacks the column {name!r}; it has {_names(present) or 'none'}")
        if present.count(name) > 1:
            raise DataError(f"{where} has the column {name!r} {present.count(name)} times; expected it once")


def decode(data: bytes, where: str) -> str:
    """UTF-8 text without byte-order mark; anything else is refused with its line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x}"
        raise DataError(
            f"{where}, line {line}: {byte} is not UTF-8; expected a file saved as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{where}, line {line}: a NUL byte; expected UTF-8 text, not a binary or UTF-16 file")
    return text


def parse_json(text: str, where: str) -> Any:
    """One JSON value; garbage, absurd nesting and absurd numbers are refused."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except DataError as error:
        raise DataError(f"{where}: {error}; leave one out") from error
    except RecursionError as error:
        raise DataError(f"{where}: JSON nested too deeply; expected flat objects") from error
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({one_line(error)}); is the file truncated?") from error


def _parquet(path: Path, required: list[str], optional: list[str]) -> dict[str, list[Any]]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            require_columns(str(path), names, required)
            wanted = [*required, *(name for name in optional if name in names)]
            if file.metadata.num_rows > MOST_ROWS:
                raise DataError(
                    f"{path} has {file.metadata.num_rows:,} rows, and at most {MOST_ROWS:,} are read; give a "
                    "smaller file"
                )
            kinds = {name: file.schema_arrow.field(name).type for name in wanted}
            text = [n for n, k in kinds.items() if pa.types.is_string(k) or pa.types.is_large_string(k)]
        # Repeated text is kept once until its size is known, since a small file may hold any amount.
        with pq.ParquetFile(path, read_dictionary=text) as file:
            batches, size = [], 0
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, columns=wanted):
                size += sum(_decoded_bytes(column) + CELL_BYTES * len(column) for column in batch.columns)
                if size > MAXIMUM_BYTES:
                    raise DataError(
                        f"{path} holds more than {MAXIMUM_BYTES >> 30} GiB once decoded; give a smaller file"
                    )
                batches.append(batch)
            table = pa.Table.from_batches(batches, file.schema_arrow.empty_table().select(wanted).schema)
            table.validate(full=True)
            return {name: table[name].to_pylist() for name in wanted}
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise DataError(
            f"{path} is not readable Parquet ({one_line(error)}); "
            "expected a whole Parquet file, not a truncated one or another format with that suffix"
        ) from error


def _decoded_bytes(column: pa.Array) -> int:
    """Bytes of a column once every repetition is written out."""
    if not isinstance(column, pa.DictionaryArray):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).take(column.indices)
    return int(pc.sum(lengths).as_py() or 0)


def _csv(path: Path, required: list[str], optional: list[str]) -> dict[str, list[Any]]:
    """Strictly by RFC 4180: a stray quote that joins rows would take labels with it."""
    text = decode(path.read_bytes(), str(path))
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    rows, row = csv.reader(io.StringIO(text, newline=""), strict=True), 0
    try:
        names = next(rows, [])
        require_columns(str(path), names, required)
        wanted = {name: names.index(name) for name in (*required, *(n for n in optional if n in names))}
        columns: dict[str, list[Any]] = {name: [] for name in wanted}
        for cells in rows:
            if not cells:  # a blank line
                continue
            row += 1
            if len(cells) != len(names):
                raise DataError(
                    f"{path}, row {row}: expected {len(names)} columns, got {len(cells)}; is a comma or a "
                    "quote in a text not quoted, or the file truncated?"
                )
            for name, place in wanted.items():
                columns[name].append(cells[place])
    except csv.Error as error:
        where = f"{path}, row {row + 1}" if rows.line_num > 1 else f"{path}, header"
        raise DataError(
            f"{where}: not valid CSV ({one_line(error)}); put a text that contains quotes between quotes, "
            'and write each quote inside it twice: "She said ""no"""'
        ) from error
    return columns


def _jsonl(path: Path, required: list[str], optional: list[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in (*required, *optional)}
    row = 0
    for line in decode(path.read_bytes(), str(path)).split("\n"):
        if not line.strip():
            continue
        row += 1
        value = parse_json(line, f"{path}, row {row}")
        if not isinstance(value, dict):
            raise DataError(
                f"{path}, row {row}: a {type(value).__name__}; expected an object with {_names(required)}"
            )
        for name in required:
            if name not in value:
                raise DataError(
                    f"{path}, row {row} lacks {name!r}; it has {_names(list(value)) or 'nothing'}"
                )
        for name, column in columns.items():
            column.append(value.get(name))
    return {
        name: column
        for name, column in columns.items()
        if name in required or any(x is not None for x in column)
    }


def _names(names: Sequence[str]) -> str:
    return one_line(", ".join(name if name == name.strip() else repr(name) for name in names))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose names differ: of two values for one name, one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{one_line(twice, 40)!r} is there twice in one object")
    return found


_READERS: dict[str, Callable[[Path, list[str], list[str]], dict[str, list[Any]]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
FILE_TYPES = tuple(_READERS)
