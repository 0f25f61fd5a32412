"""What a user holds after a profile or a forecast: its records, and everything that can be asked of them."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd
import pyarrow as pa

from trilemma.errors import DataError
from trilemma.files import require_suffix
from trilemma.metrics import Phase
from trilemma.operating_point import LARGEST
from trilemma.records import (
    NOTES_KEY,
    RECORDS,
    SCHEMA_VERSION,
    Basis,
    Record,
    Status,
    Steadiness,
    records_table,
    what_it_is,
    write_table,
)
from trilemma.untrusted import open_parquet, read_columns

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from rich.console import Console

    from trilemma.analysis.crossovers import Race

REMEDY = "name a Parquet file that `trilemma profile --out` or `trilemma forecast --out` wrote"
AGAIN = "run `trilemma profile MODEL... --out FILE.parquet` again"

_VERSION = b"trilemma_schema"


class Profile:
    """Values of axis E of some models at some operating points, measured or forecast.

    Args:
        records: of axis E.
        notes: sentences about the whole.

    Attributes:
        notes: as given.
    """

    def __init__(self, records: Iterable[Record] | pa.Table, notes: Sequence[str] = ()) -> None:
        self._table = records if isinstance(records, pa.Table) else records_table(records)
        self.notes = tuple(notes)

    @classmethod
    def load(cls, path: str | Path) -> "Profile":
        """Read a profile that :meth:`save` wrote; a file from a stranger is checked before it is believed.

        Raises:
            DataError: where the file is absent, not a profile, damaged, or of another version.
        """
        path = Path(path)
        file = open_profile(path, NOTES_KEY)
        metadata = file.schema_arrow.metadata or {}
        if metadata.get(_VERSION, b"") != str(SCHEMA_VERSION).encode():
            raise DataError(f"{path} was written by another version of trilemma; {AGAIN}")
        table = read_columns(file, RECORDS, path, AGAIN)
        if fault := _fault(table.to_pandas()):
            raise DataError(f"{path} is damaged: {fault}; {AGAIN}")
        return cls(table, notes_in(metadata, NOTES_KEY))

    def save(self, path: str | Path) -> Path:
        """Write the records to a ``.parquet`` file, whole or not at all, and return its path.

        Raises:
            TrilemmaError: where the path has another ending, or cannot be written.
        """
        path = require_suffix(path, ".parquet")
        metadata = {_VERSION: str(SCHEMA_VERSION).encode(), NOTES_KEY: json.dumps(self.notes).encode()}
        write_table(self._table.replace_schema_metadata(metadata), path)
        return path

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row per value, see :class:`trilemma.records.Record`."""
        found: pd.DataFrame = self._table.to_pandas()
        for name in ("flags", "rounds"):
            found[name] = found[name].map(lambda own: () if own is None else tuple(own))
        return found

    def __repr__(self) -> str:
        """Models and size."""
        return f"Profile({', '.join(dict.fromkeys(self.records['model']))}; {len(self.records)} records)"

    def __eq__(self, other: object) -> bool:
        """Whether records and notes are the same."""
        return isinstance(other, Profile) and (self._table, self.notes) == (other._table, other.notes)

    __hash__ = None  # type: ignore[assignment]

    def table(self) -> pd.DataFrame:
        """One row per model and operating point, one column per metric and phase, with its interval."""
        from trilemma.report.profile import wide

        return wide(self.records)

    def crossovers(self) -> "list[Race]":
        """At which lengths one model needs less than another; ``str()`` of each says it in words."""
        from trilemma.analysis.crossovers import races
        from trilemma.report.profile import labels

        return list(races(self.records.assign(label=labels(self.records)), "label"))

    def to_json(self) -> str:
        """Notes and records as JSON; what has no value is null."""
        content = {"notes": self.notes, "records": self._table.to_pylist()}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def show(self, console: "Console | None" = None) -> None:
        """Print the tables to a terminal."""
        from rich.console import Console

        from trilemma.report import profile
        from trilemma.report.terminal import show
        from trilemma.terminal import print_lines

        console = console or Console()
        print_lines(console, *profile.facts(self.records), *self.notes, "")
        show(console, list(profile.sheets(self.records)), profile.brackets(self.records))

    def report(self, path: str | Path) -> Path:
        """Write an ``.html`` page with charts and tables that needs no other file; as :meth:`save`."""
        from trilemma.report.pages.profile import write

        path = require_suffix(path, ".html")
        write(self.records, path, self.notes)
        return path

    def _repr_html_(self) -> str:
        """The tables, for notebooks."""
        from trilemma.notebook import table
        from trilemma.report.profile import sheets

        return "".join(table(sheet.header, sheet.rows, sheet.title) for sheet in sheets(self.records))


def open_profile(path: Path, *keys: bytes) -> "pq.ParquetFile":
    """Open a file of :meth:`Profile.save` or :meth:`~trilemma.sweep_result.ClockSweep.save`.

    Args:
        path: the file.
        keys: its metadata has one of these.

    Raises:
        DataError: where it is not one, with what it is where that is known; profiles of earlier versions were
            JSON.
    """
    try:
        file = open_parquet(path, REMEDY)
        if not any(key in (file.schema_arrow.metadata or {}) for key in keys):
            raise DataError(
                f"{path} is {what_it_is(path, file.schema_arrow) or f'of another kind; {REMEDY}'}"
            )
        return file
    except DataError as error:
        start = b""
        with suppress(OSError):
            if path.is_file():
                with path.open("rb") as file:
                    start = file.read(64).lstrip()
        if not start.startswith(b"{"):
            raise
        raise DataError(
            f"{path} is JSON, as profiles of earlier versions of trilemma were, which this one does not "
            f"read; {AGAIN}"
        ) from error


def notes_in(metadata: dict[bytes, bytes], key: bytes) -> tuple[str, ...]:
    """Sentences that a file's metadata holds; none where they are not a list of texts."""
    try:
        notes = json.loads(metadata.get(key, b"[]"))
    except (ValueError, RecursionError):
        return ()
    texts = notes if isinstance(notes, list) else []
    return tuple(text[:1000] for text in texts[:1000] if isinstance(text, str))


def _fault(records: pd.DataFrame) -> str:
    """What is wrong with the first row that contradicts itself or that no machine gives; "" for nothing."""
    value, low, high = (records[name] for name in ("value", "low", "high"))
    known, bounded = value.notna(), low.notna() & high.notna()
    slack = 1e-9 * value.abs()

    def outside(column: str, least: float, most: float) -> "pd.Series[bool]":
        numbers = records[column]
        return numbers.notna() & ~numbers.between(least, most)

    def another(column: str, kind: Any) -> "pd.Series[bool]":
        return ~records[column].isin(get_args(kind))

    absurd = (
        numbers.notna() & (numbers != 0) & ~numbers.abs().between(1e-30, 1e30)
        for numbers in (value, low, high)
    )
    place = [
        *("model", "precision", "attention", "compiled", "adaptation", "metric", "phase"),
        *("batch", "length", "decode", "basis", "machine", "plan"),
    ]
    faults: dict[str, pd.Series[bool]] = {
        "is not of axis E": records["axis"] != "E",
        "names no model or no metric": (records["model"] == "") | (records["metric"] == ""),
        "has an unknown phase": another("phase", Phase),
        "has an unknown basis": another("basis", Basis),
        "has an unknown status": another("status", Status),
        "has an unknown verdict": another("verdict", Steadiness),
        "holds a number that no machine gives": pd.concat(absurd, axis=1).any(axis=1),
        "has both a value and a reason why there is none, or neither": (known != (records["status"] == "ok"))
        | (known != (records["reason"] == "")),
        "has an interval with one end, or without a value": (low.notna() != high.notna())
        | (bounded & ~known),
        "has a value outside its interval": bounded & ((low > value + slack) | (value > high + slack)),
        "has a confidence or p-value that is not a share": outside("confidence", 0, 1)
        | outside("drift_p", 0, 1),
        "has a batch, length or number of tokens that no machine serves": outside("batch", 1, LARGEST)
        | outside("length", 1, LARGEST)
        | outside("decode", 0, LARGEST),
        "counts less than one repetition or parameter": outside("n", 1, 2**62)
        | outside("parameters", 0, 2**62),
        "holds a second value of one metric": records.duplicated(place),
    }
    for fault, rows in faults.items():
        if rows.any():
            return f"row {int(rows.to_numpy().argmax()) + 1} {fault}"
    return ""
