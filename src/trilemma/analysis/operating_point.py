"""At which batch and length efficiency is read: as asked, or as near to the usual point as was measured."""

import math
import re

import pandas as pd

from trilemma.analysis.values import OperatingPoint, rows_of
from trilemma.errors import TrilemmaError

_INFERENCE = ("latency_ms", "throughput_tokens_per_s", "peak_inference_memory_bytes")
"""An operating point counts as measured where one of these has a value."""


def measured_points(records: pd.DataFrame) -> list[OperatingPoint]:
    """The points at which inference was measured; those with the most models first."""
    rows = records[records["metric"].isin(_INFERENCE) & records["value"].notna()]
    rows = rows[rows["batch"].notna() & rows["length"].notna()]
    counts = rows.groupby(["batch", "length"])["model"].nunique().sort_values(ascending=False, kind="stable")
    return [OperatingPoint(int(row["batch"]), int(row["length"])) for row in rows_of(counts.reset_index())]


def operating_point(records: pd.DataFrame, asked: str | None = None) -> OperatingPoint:
    """The point that ``asked`` names; by default batch 1, length 128, or the nearest that was measured.

    Nearness is in logarithms: batch 2 is as far from 1 as length 256 from 128.

    Raises:
        TrilemmaError: when ``asked`` cannot be read, or was not measured while others were.
    """
    known, usual = measured_points(records), OperatingPoint()
    if not asked:
        return min(known, key=lambda point: _distance(point, usual), default=usual)
    point = OperatingPoint.parse(asked)
    if any(int(number) == 0 for number in re.findall(r"\d+", asked)):
        raise TrilemmaError(f"batch and length are at least 1, not as in {asked!r}")
    if known and point not in known:
        named = "; ".join(str(one) for one in sorted(known, key=lambda one: (one.batch, one.length)))
        raise TrilemmaError(f"nothing was measured at {point}; measured: {named}")
    return point


def _distance(point: OperatingPoint, other: OperatingPoint) -> float:
    return abs(math.log(point.batch / other.batch)) + abs(math.log(point.length / other.length))
