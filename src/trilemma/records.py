"""The two tables that are a study's whole result: ``records.parquet`` and ``items.parquet``.

Every figure, test and verdict is computed from them. They are plain Parquet, so DuckDB and pandas
read them as they are.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trilemma.errors import StoreError
from trilemma.files import replacing
from trilemma.metrics import Axis, Phase

_VERSION_KEY = b"trilemma_schema"
NOTES_KEY, SWEEP_KEY = b"trilemma_notes", b"trilemma_sweep"
"""In the metadata of a file with a profile or forecast, and with a sweep over clock frequencies."""

SCHEMA_VERSION = 2
"""Raised when a column of the records changes its meaning or goes away; kept in the files' metadata."""

Basis = Literal["measured", "counted", "estimated", "forecast"]
"""What a value is: measured; counted without uncertainty; estimated, as watts times time; or forecast."""

Status = Literal["ok", "not measured", "failed"]
"""Whether there is a value; ``failed`` where a model or a process raised an error."""

Steadiness = Literal["", "steady", "noisy", "drifting", "undecided"]
"""What the repetitions of a time say of it; "" for what is not timed."""

AVERAGE = "average"
"""The task of a value that is aggregated over tasks."""

ATTACK = "attack:"
"""Begins the set of the adversarial examples that an attack of the study made; its name follows."""

PARTIAL = "partial"
"""Flag of a score on a split that has fewer rows than the official one."""

MEANINGLESS = "no skill shown"
"""Flag of a robustness where the model has not learnt the task."""

GENERATED = "generated data"
"""Flag of a score on the embedded suite, which is not a benchmark's."""

SEEN = "seen in training"
"""Flag of a score on a split of which a hundredth or more is in the training split too."""

SUSPECT = "suspect"
"""Flag of an attack whose success is held back by the model's gradients, not by its robustness (masking)."""

EDGE = "edge of the sweep"
"""Flag of a learning rate that is the smallest or the largest of those that were tried."""

FAKE_QUANTISED = "fake-quantised"
"""Flag of what was measured of ternary weights before packing, which changes speed and memory."""

INTERRUPTED = "interrupted"
"""Flag of what was not measured since somebody ended the process: the study's next run measures it again."""

BY_DESCRIPTION = "by description"
"""Flag of a forecast that rests on a machine's description alone: its interval is not a quantile."""

DOES_NOT_FIT = "does not fit"
"""Flag of a forecast of memory that a device does not have to spare."""

MOST, LARGEST = 10**15, 1e100
"""No count and no value of a study is larger."""

_RANGES = {"confidence": (0.01, 0.9999)}
"""Of columns of whose numbers fewer are possible."""

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


@dataclass(frozen=True, kw_only=True)
class Record:
    """One value, or the reason why there is none; the columns of :data:`RECORDS`.

    Attributes:
        study: study name; "" outside a study.
        model: the candidate's name in the study, or the name under which a model was profiled.
        arch: architecture (``transformer-pp``, ``gla``, ``matmul-free``, ``bert``, ...).
        parameters: total number of weights.
        adaptation: e.g. ``full``, ``lora``; ``""`` for values of the unadapted model.
        precision: of the weights: ``float32``, ``bfloat16``, ``float16``, ``int8`` or ``packed``; "" where it
            makes no difference.
        attention: attention implementation that was asked for; "" for the model's default.
        compiled: whether the model ran by ``torch.compile``.
        task: task name; :data:`AVERAGE` for an aggregate over tasks.
        set: the evaluated split or adversarial set (``validation``, ``adv_sst2``, ``attack:pwws``); ``""`` on
            axis E.
        seed: training seed; None for a value over all seeds (or one that has no seed).
        axis: E, P or R.
        metric: a name in :data:`trilemma.metrics.METRICS`, or a plug-in's.
        phase: on axis E, what the model does: ``classify``, ``prefill``, ``decode``, ``generate``, ``train``.
        level: ``all``, ``clean``, ``word``, ``sentence``, ``human`` or ``unknown``; ``""`` on axis E.
        method: attack method, or ``""`` for all methods of the level.
        made_on: the model that the adversarial examples were made on; "" for a published set.
        batch: sequences per batch on axis E, else None.
        length: tokens per sequence on axis E, else None; of the prompt where tokens are generated.
        decode: tokens generated per sequence, the first included; None where none is.
        n: items (or repetitions, or seeds times items) behind the value.
        value: the value; None where there is none, with the reason in ``reason``.
        unit: ``fraction``, ``ms``, ``bytes``, ``tokens/s``, ...; fractions are never percentages.
        low, high: interval; None where none is defined.
        confidence: of that interval, e.g. 0.95; None where there is none, or its ends are not quantiles.
        basis: what the value is, or would have been: measured, counted, estimated or forecast.
        status: ``ok`` with a value; else ``not measured`` or ``failed``.
        reason: why there is no value.
        verdict: what the repetitions of a time say of it: ``steady``, ``noisy``, ``drifting``, ``undecided``.
        drift: change of a time from the first repetition to the last, as a share of the median.
        drift_p: p-value of that trend.
        flags: what a reader must be able to filter on: ``partial``, ``no skill shown``, ...
        note: what a person should know beside; no program reads it.
        machine: the machine that a forecast is for: a name of the catalogue, or ``here``.
        plan: over which devices a forecast spreads the model, e.g. ``tensor 2``; "" for one device.
        hardware, kernel: how it was measured.
        rounds: of a time, and of what is a multiple or a rate of it, the value of each round in the order
            taken; else empty. Models that are measured together take turns, so that the values of one round
            belong together.
        versions: of the libraries by which it was measured.
    """

    study: str = ""
    model: str
    arch: str = ""
    parameters: int | None = None
    adaptation: str = ""
    precision: str = ""
    attention: str = ""
    compiled: bool = False
    task: str = ""
    set: str = ""
    seed: int | None = None
    axis: Axis
    metric: str
    phase: Phase = ""
    level: str = ""
    method: str = ""
    made_on: str = ""
    batch: int | None = None
    length: int | None = None
    decode: int | None = None
    n: int | None = None
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    basis: Basis = "measured"
    status: Status = "ok"
    reason: str = ""
    verdict: Steadiness = ""
    drift: float | None = None
    drift_p: float | None = None
    flags: tuple[str, ...] = ()
    note: str = ""
    machine: str = ""
    plan: str = ""
    hardware: str = ""
    kernel: str = ""
    rounds: tuple[float, ...] = ()
    versions: str = ""

    def __post_init__(self) -> None:
        """Hold value, status and reason to one another; an interval is of 95% unless a forecast's."""
        for name in ("flags", "rounds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.low is not None and self.confidence is None and self.basis != "forecast":
            object.__setattr__(self, "confidence", 0.95)
        known = self.value is not None
        if known != (self.status == "ok") or known == bool(self.reason):
            raise ValueError(
                f"{self.metric} of {self.model}: a value has the status ok and no reason, and where there is "
                f"none, status and reason say why; got {self.value!r}, {self.status!r}, {self.reason!r}"
            )

    def with_value(
        self, value: float, low: float | None = None, high: float | None = None, **columns: Any
    ) -> "Record":
        """The same record with a value, and with an interval and rounds where they are given."""
        found: dict[str, Any] = {"value": value, "low": low, "high": high, "rounds": ()}
        return replace(self, **(found | columns), status="ok", reason="")

    def without_value(self, reason: str, status: Status = "not measured", **columns: Any) -> "Record":
        """The same record without a value, and why there is none."""
        absent: dict[str, Any] = dict.fromkeys(("value", "low", "high", "confidence", "n"))
        return replace(self, **(absent | {"rounds": ()} | columns), status=status, reason=reason)


_TYPES: dict[Any, pa.DataType] = {
    int | None: pa.int64(),
    float | None: pa.float64(),
    bool: pa.bool_(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float64()),
}
RECORDS = pa.schema(
    [(column.name, _TYPES.get(column.type, pa.string())) for column in fields(Record)],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION)},
)
"""The columns of the records table: the attributes of :class:`Record`, texts where not typed otherwise."""


def records_table(records: Iterable[Record]) -> pa.Table:
    """Records as an Arrow table of schema :data:`RECORDS`."""
    return pa.Table.from_pylist([vars(record) for record in records], schema=RECORDS)


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet (zstd), whole or not at all; errors as for :func:`trilemma.files.replacing`."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def what_it_is(path: Path, schema: pa.Schema) -> str:
    """What a Parquet file of this package holds, and the command for it; "" for any other file."""
    metadata, columns = schema.metadata or {}, set(schema.names)
    for key, what, name in (
        (SWEEP_KEY, "a sweep over clock frequencies", "ClockSweep"),
        (NOTES_KEY, "a profile or forecast", "Profile"),
    ):
        if key in metadata:
            return f"{what}; print it by `trilemma show {path}`, or read it by `trilemma.{name}.load`"
    if "data_construction" in columns:
        return "an adversarial set; name it in a study's `robustness.sets`"
    if not columns >= {"study", "model", "adaptation", "task"}:
        return ""
    if "metric" in columns and metadata.get(_VERSION_KEY) != RECORDS.metadata[_VERSION_KEY]:
        return (
            "a table of a study, written by another version of trilemma; run `trilemma run STUDY` again: its "
            "adapted models and answers are used again"
        )
    return f"a table of a study; name its run folder, for example in `trilemma show {path.parent}`"


def read_table(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one of the two tables and check its columns.

    Args:
        path: of the file.
        schema: what it must hold, :data:`RECORDS` or :data:`ITEMS`.
        columns: those that are read, in the order of the schema; by default all.

    Raises:
        StoreError: when the file is absent, unreadable or lacks columns of ``schema``.
    """
    try:
        found = pq.read_schema(path)
        known = None if columns is None or not set(columns) <= set(found.names) else list(columns)
        table = pq.read_table(path, columns=known, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} does not exist; is the study finished? `trilemma run` resumes it"
        ) from error
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{path} is not readable Parquet ({reason}); delete it and run the study again"
        ) from error
    written = found.metadata or {}
    if any(written.get(name) != version for name, version in (schema.metadata or {}).items()):
        raise StoreError(
            f"{path} was written by another version of trilemma; run `trilemma run` on the study again: its "
            "adapted models and answers are used again, and the tables are written in this version's columns"
        )
    missing = [name for name in schema.names if name not in found.names]
    if missing:
        raise StoreError(
            f"{path} lacks the columns {', '.join(missing)}; it was not written by this version of trilemma: "
            "run `trilemma run` on the study again"
        )
    if known is not None:
        schema = pa.schema([field for field in schema if field.name in known])
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowException, KeyError) as error:  # another type, or a column that is there twice
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} was not written by this version ({reason}); run the study again") from error
    for field in schema:
        least, most = {pa.int64(): (0, MOST), pa.float64(): (-LARGEST, LARGEST)}.get(field.type, (0, 0))
        least, most = _RANGES.get(field.name, (least, most))
        ends = pc.min_max(table[field.name]) if most else {}
        limits = [end.as_py() for end in ends.values() if end.as_py() is not None]
        wrong = [end for end in limits if not least <= end <= most]
        if wrong and not all(map(math.isnan, wrong)):
            raise StoreError(
                f"{path} is damaged: the column {field.name} holds {wrong[0]:g}; delete it and run the study "
                "again"
            )
    return table
