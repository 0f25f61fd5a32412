"""The two tables are read only as this version writes them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma.errors import StoreError
from trilemma.records import RECORDS, read_table, write_table


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_table(RECORDS.empty_table(), tmp_path / "records.parquet")
    assert read_table(tmp_path / "records.parquet", RECORDS).schema == RECORDS


def foreign(kind: str) -> pa.Table:
    columns = {field.name: pa.array([None], field.type) for field in RECORDS}
    if kind == "other columns":
        return pa.table({"a": [1]})
    if kind == "other type":
        return pa.table({**columns, "value": pa.array(["x"])})
    table = pa.table(columns)
    return table.append_column(pa.field("model", pa.string()), table["model"])


@pytest.mark.parametrize("kind", ["other columns", "other type", "a column twice"])
def test_a_strangers_table_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    pq.write_table(foreign(kind), tmp_path / "records.parquet")
    with pytest.raises(StoreError, match=r"records\.parquet") as caught:
        read_table(tmp_path / "records.parquet", RECORDS)
    assert "\n" not in str(caught.value)
