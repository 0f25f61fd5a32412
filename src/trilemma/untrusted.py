"""Tables of unknown origin: Parquet that may be huge, damaged, or made to take all memory when it is read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trilemma.errors import DataError

LARGEST_FILE = 64 << 20
"""Bytes; a profile of a thousand points has less than one million."""

MOST_ROWS = 1_000_000

MOST_BYTES = 1 << 30
"""Bytes that a file may hold before compression."""

LONGEST_TEXT = 10_000
"""Characters of one cell."""


def open_parquet(path: Path, remedy: str) -> pq.ParquetFile:
    """Open a Parquet file without reading its rows; texts will be kept once each, however often they occur.

    Args:
        path: the file.
        remedy: what to do where it is not such a file.

    Raises:
        DataError: where it cannot be opened, or is larger than any profile.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path} is not a file; {remedy}")
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(
                f"{path} is larger than any profile ({LARGEST_FILE >> 20} MiB); name another file"
            )
        metadata = pq.read_metadata(path)
        columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        file = pq.ParquetFile(path, read_dictionary=texts)
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
        raise DataError(f"{path} is not readable Parquet ({reason[:200]}); {remedy}") from error
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    rows = max((group.column(i).num_values for group in groups for i in range(len(columns))), default=0)
    if (
        max(rows // 10, metadata.num_rows) > MOST_ROWS
        or sum(one.total_byte_size for one in groups) > MOST_BYTES
    ):
        raise DataError(f"{path} holds more than any profile ({MOST_ROWS:,} rows); name another file")
    return file


def read_columns(file: pq.ParquetFile, schema: pa.Schema, path: Path, remedy: str) -> pa.Table:
    """The rows of an open file, in the columns and types of a schema; texts that are absent are "".

    Raises:
            DataError: where columns are lacking or of another type, or a text is too long.
    """
    try:
        table = file.read()
        missing = [name for name in schema.names if table.column_names.count(name) != 1]
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(missing)}; {remedy}")
        columns = []
        for field in schema:
            column = table[field.name].combine_chunks()
            parts = column.flatten() if pa.types.is_list(column.type) else column
            texts = parts.dictionary if pa.types.is_dictionary(parts.type) else parts
            if pa.types.is_string(texts.type) and (pc.max(pc.utf8_length(texts)).as_py() or 0) > LONGEST_TEXT:
                raise DataError(f"{path} is damaged: column {field.name} holds a text that is too long")
            if pa.types.is_string(field.type):
                column = pc.fill_null(column.cast(pa.string()), "")
            columns.append(column.cast(field.type))
        return pa.Table.from_arrays(columns, schema=schema)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is damaged ({reason[:200]}); {remedy}") from error
