"""The two tables are read only as this version writes them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trilemma.errors import StoreError
from trilemma.records import PARTIAL, RECORDS, Record, read_table, records_table, write_table


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_table(RECORDS.empty_table(), tmp_path / "records.parquet")
    assert read_table(tmp_path / "records.parquet", RECORDS).schema == RECORDS


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = Record(
        model="a",
        axis="E",
        metric="latency_ms",
        value=2.0,
        low=1.0,
        high=3.0,
        flags=(PARTIAL,),
        rounds=(1.5, 2),
    )
    write_table(records_table([one, one.without_value("no clock")]), tmp_path / "records.parquet")
    read = read_table(tmp_path / "records.parquet", RECORDS).to_pylist()
    assert [Record(**row) for row in read] == [one, one.without_value("no clock")]
    assert one.confidence == 0.95 and hash(one)
    absent = one.without_value("the worker stopped", "failed")
    assert (absent.value, absent.low, absent.confidence, absent.status) == (None, None, None, "failed")
    bare = replace(one, value=4.0, low=None, high=None, confidence=None, rounds=())
    assert absent.rounds == () and absent.with_value(4.0) == bare == one.with_value(4.0, confidence=None)
    assert RECORDS.names[-2:] == ["rounds", "versions"]


@pytest.mark.parametrize(
    ("column", "value"),
    [("n", -1), ("n", 2**62), ("low", 1e308), ("high", float("inf")), ("value", -1e200), ("confidence", 0.0)],
)
def test_a_number_that_no_study_has_is_refused_by_column(tmp_path: Path, column: str, value: float) -> None:
    path = tmp_path / "records.parquet"
    one = Record(model="a", axis="E", metric="latency_ms", value=2.0, low=1.0, high=3.0, n=5)
    write_table(records_table([one, replace(one, **{column: value})]), path)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=rf"records\.parquet is damaged: the column {column} holds"):
        read_table(path, RECORDS)
    write_table(records_table([one, replace(one, value=float("nan"), n=None)]), path)
    assert len(read_table(path, RECORDS)) == 2


def test_a_flipped_bit_of_a_table_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    values = [1 + i / 7 for i in range(200)]
    write_table(
        records_table([Record(model="a", axis="E", metric="latency_ms", value=v) for v in values]), path
    )
    whole, table = path.read_bytes(), read_table(path, RECORDS)
    found = whole.index(np.array(values[:1]).tobytes())  # values, not repeated enough to be compressed away
    refused = 0
    for place in range(found, found + 800, 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read_table(path, RECORDS) == table
        except StoreError as error:
            assert "is not readable Parquet" in str(error)
            refused += 1
    assert refused > 15 and table["value"].to_pylist() == values


@pytest.mark.parametrize(
    "columns",
    [
        {"value": None},
        {"value": 1.0, "status": "failed"},
        {"value": 1.0, "reason": "because"},
        {"value": None, "status": "not measured"},
        {"value": None, "reason": "because"},
    ],
)
def test_value_status_and_reason_go_together(columns: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="latency_ms of a: a value has the status ok"):
        Record(model="a", axis="E", metric="latency_ms", **columns)


def test_a_forecast_by_description_has_an_interval_without_confidence() -> None:
    one = Record(model="a", axis="E", metric="latency_ms", value=2.0, low=1.0, high=3.0, basis="forecast")
    assert one.confidence is None


def test_a_table_of_an_earlier_version_is_refused_with_what_to_run(tmp_path: Path) -> None:
    earlier = RECORDS.empty_table().replace_schema_metadata({"trilemma_schema": "1"})
    for table in (earlier, earlier.replace_schema_metadata(None).rename_columns(["x", *RECORDS.names[1:]])):
        pq.write_table(table, tmp_path / "records.parquet")
        with pytest.raises(
            StoreError, match=r"records\.parquet was written by another version .*`trilemma run`"
        ):
            read_table(tmp_path / "records.parquet", RECORDS)


def foreign(kind: str) -> pa.Table:
    columns = {field.name: pa.array([None], field.type) for field in RECORDS}
    if kind == "other columns":
        return pa.table({"a": [1]})
    if kind == "other type":
        return pa.table({**columns, "value": pa.array(["x"])})
    table = pa.table(columns)
    return table.append_column(pa.field("model", pa.string()), table["model"])


def marked(table: pa.Table) -> pa.Table:
    """As if this version had written it."""
    return table.replace_schema_metadata(RECORDS.metadata)


@pytest.mark.parametrize("kind", ["other columns", "other type", "a column twice"])
def test_a_strangers_table_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    pq.write_table(marked(foreign(kind)), tmp_path / "records.parquet")
    with pytest.raises(StoreError, match=r"records\.parquet") as caught:
        read_table(tmp_path / "records.parquet", RECORDS)
    assert "\n" not in str(caught.value)
