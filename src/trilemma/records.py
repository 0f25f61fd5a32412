"""The two tables that are a study's whole result: ``records.parquet`` and ``items.parquet``.

Every figure, test and verdict is computed from them. They are plain Parquet, so DuckDB and pandas
read them as they are.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from trilemma.errors import StoreError
from trilemma.files import replacing

Axis = Literal["E", "P", "R"]

RECORDS = pa.schema(
    [
        ("study", pa.string()),
        ("model", pa.string()),
        ("arch", pa.string()),
        ("parameters", pa.int64()),
        ("adaptation", pa.string()),
        ("task", pa.string()),
        ("set", pa.string()),
        ("seed", pa.int64()),
        ("axis", pa.string()),
        ("metric", pa.string()),
        ("level", pa.string()),
        ("method", pa.string()),
        ("batch", pa.int64()),
        ("length", pa.int64()),
        ("n", pa.int64()),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("partial", pa.bool_()),
        ("note", pa.string()),
        ("hardware", pa.string()),
        ("kernel", pa.string()),
        ("versions", pa.string()),
    ]
)

ITEMS = pa.schema(
    [
        ("study", pa.string()),
        ("model", pa.string()),
        ("arch", pa.string()),
        ("adaptation", pa.string()),
        ("seed", pa.int64()),
        ("task", pa.string()),
        ("set", pa.string()),
        ("id", pa.string()),
        ("level", pa.string()),
        ("method", pa.string()),
        ("origin", pa.string()),
        ("original", pa.list_(pa.string())),
        ("shown", pa.list_(pa.string())),
        ("labels", pa.list_(pa.string())),
        ("gold", pa.float64()),
        ("answer", pa.float64()),
        ("probabilities", pa.list_(pa.float32())),
        ("original_answer", pa.float64()),
        ("original_probabilities", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Record:
    """One measured value; the columns of :data:`RECORDS`.

    Attributes:
        study: study name.
        model: the candidate's name in the study.
        arch: architecture (``transformer``, ``gla``, ``hgrn_bit``, ``bert``, ...).
        parameters: total number of weights.
        adaptation: e.g. ``full``, ``lora``; ``""`` for values of the unadapted model.
        task: task name; ``average`` for an aggregate over tasks.
        set: the evaluated split or adversarial set (``validation``, ``adv_sst2``); ``""`` on axis E.
        seed: training seed; None for a value over all seeds (or one that has no seed).
        axis: E, P or R.
        metric: e.g. ``accuracy``, ``robust_accuracy``, ``latency_ms``.
        level: ``all``, ``clean``, ``word``, ``sentence``, ``human`` or ``unknown``; ``""`` on axis E.
        method: attack method, or ``""`` for all methods of the level.
        batch: items a batch on axis E, else None.
        length: tokens an item on axis E, else None.
        n: items (or repetitions, or seeds times items) behind the value.
        value: the value; None where it was not measured, with the reason in ``note``.
        unit: ``fraction``, ``ms``, ``bytes``, ``tokens/s``, ...; fractions are never percentages.
        low, high: 95% interval; None where none is defined.
        partial: whether the split was short of its official rows.
        note: what a reader must know, e.g. ``not measured: no original``.
        hardware, kernel, versions: how it was measured.
    """

    study: str
    model: str
    arch: str
    parameters: int | None
    adaptation: str
    task: str
    set: str
    seed: int | None
    axis: Axis
    metric: str
    level: str = ""
    method: str = ""
    batch: int | None = None
    length: int | None = None
    n: int | None = None
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    partial: bool = False
    note: str = ""
    hardware: str = ""
    kernel: str = ""
    versions: str = ""


def records_table(records: Iterable[Record]) -> pa.Table:
    """Records as an Arrow table of schema :data:`RECORDS`."""
    rows = [asdict(record) for record in records]
    return pa.Table.from_pylist(rows, schema=RECORDS)


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet (zstd) beside ``path`` and rename it there: whole or absent.

    Raises:
        StoreError: when the disk is full or the folder cannot be written.
    """
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read one of the two tables and check its columns.

    Raises:
        StoreError: when the file is absent, unreadable or lacks columns of ``schema``.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} does not exist; is the study finished? `trilemma run` goes on where it stood"
        ) from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{path} is not readable Parquet ({reason}); delete it and run the study again"
        ) from error
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise StoreError(f"{path} lacks the columns {', '.join(missing)}; it was not written by this version")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, KeyError) as error:  # another type, or a column that is there twice
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} was not written by this version ({reason}); run the study again") from error


assert [field.name for field in fields(Record)] == RECORDS.names
