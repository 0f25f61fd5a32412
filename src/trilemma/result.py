"""What a user holds after a study: its two tables and everything that can be asked of them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from trilemma.records import ITEMS, RECORDS, read_table

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.analysis.evidence import Evidence
    from trilemma.analysis.values import OperatingPoint
    from trilemma.decision.decision import Decision
    from trilemma.decision.verdict import Verdict


class Result:
    """A study's result.

    Attributes:
        records: one row a measured value, see :class:`trilemma.records.Record`.
        items: one row an item, model, adaptation and seed, see :data:`trilemma.records.ITEMS`.
    """

    def __init__(self, records: pd.DataFrame, items: pd.DataFrame) -> None:
        from trilemma.analysis.reading import cleaned

        self.records = cleaned(records)
        self.items = items

    @classmethod
    def load(cls, run: str | Path) -> "Result":
        """Read the tables of a run folder.

        Raises:
            StoreError: when they are absent or not what this version writes.
        """
        records, items = (
            read_table(Path(run) / "records.parquet", RECORDS),
            read_table(Path(run) / "items.parquet", ITEMS),
        )
        return cls(records.to_pandas(), items.to_pandas(types_mapper=_keep_lists))

    def __repr__(self) -> str:
        """Name, candidates and sizes of the tables."""
        study = self.records["study"].iloc[0] if len(self.records) else "empty"
        models = ", ".join(dict.fromkeys(self.records["model"]))
        return f"Result({study!r}: {models}; {len(self.records)} records, {len(self.items)} items)"

    def table(self, name: str, by: str | None = None, at: str | None = None) -> pd.DataFrame:
        """One of the summary tables as numbers, each measure with its ``_low`` and ``_high``.

        Args:
            name: ``efficiency``, ``performance`` or ``robustness``.
            by: for efficiency ``point`` (default) or ``length``; for robustness ``level`` (default),
                ``method`` or ``task``.
            at: the operating point of efficiency by ``point``, for example ``batch=1,length=128``.

        Raises:
            TrilemmaError: for an unknown table, grouping or operating point.
        """
        from trilemma.report import tables

        return tables.build(self.records, name, by, self._at(at)).frame

    def pareto(self, metrics: Sequence[str] | None = None, at: str | None = None) -> pd.DataFrame:
        """The Pareto front: values, who is dominated by whom, and with what bootstrap probability.

        Args:
            metrics: at least two; by default median latency, clean accuracy and robust accuracy.
            at: the operating point.

        Raises:
            TrilemmaError: for an unknown metric, or one that was not measured.
        """
        from trilemma.analysis.pareto import DEFAULT, front

        return front(self._evidence(at), metrics or DEFAULT).table()

    def scores(self) -> dict[str, dict[str, float]]:
        """Clean and robust scores by candidate, over all tasks; those that were measured."""
        from trilemma.analysis.metrics import find_metric

        evidence = self._evidence(None)
        return {
            candidate.name: {
                name: value
                for name in ("accuracy", "robust_accuracy")
                if (value := evidence.value(find_metric(name), candidate).value) is not None
            }
            for candidate in evidence.candidates
        }

    def decide(
        self, *, best: str = "robust_accuracy", at: str | None = None, **limits: "str | float | None"
    ) -> "Decision":
        """The best candidate under limits.

        Args:
            best: the metric to optimise.
            at: the operating point; by default ``batch=1,length=128``, or the nearest that was measured.
            **limits: ``max_METRIC`` or ``min_METRIC``, for example ``max_memory="8GB"``,
                ``min_clean=0.88``, ``max_latency_ms=20``; None is no limit.

        Raises:
            TrilemmaError: for an unknown metric, an unreadable limit, or a metric that was not measured.
        """
        from trilemma.decision.decision import decide, read_bounds

        asked = {name: limit for name, limit in limits.items() if limit is not None}
        bounds = read_bounds(asked, self.records)
        return decide(self._evidence(at), best, bounds)

    def compare(self, a: str, b: str, metric: str = "robust_accuracy") -> pd.DataFrame:
        """Paired tests of two candidates on the same items, by task and level, Holm-adjusted.

        Raises:
            TrilemmaError: for an unknown candidate, a candidate against itself, a metric that is not
                computed from items, or one that no task of the study has.
        """
        from dataclasses import asdict

        from trilemma.analysis.comparisons import compare
        from trilemma.analysis.evidence import official_metrics
        from trilemma.errors import TrilemmaError

        if a == b:
            raise TrilemmaError(f"{a!r} cannot be compared with itself; name two different candidates")
        compared = compare(self.items, a, b, metric=metric, official=official_metrics(self.records))
        if not compared:
            raise TrilemmaError(f"this study has nothing to compute {metric} from; compare another metric")
        return pd.DataFrame([asdict(one) for one in compared])

    def verdict(self, at: str | None = None) -> "Verdict":
        """The result in words, with its uncertainty; ``.text()`` prints it."""
        from trilemma.analysis.pareto import three_axes
        from trilemma.decision.verdict import verdict

        evidence = self._evidence(at)
        tested = [*evidence.comparisons("accuracy"), *evidence.comparisons("robust_accuracy")]
        return verdict(evidence, three_axes(evidence), tested)

    def report(self, path: str | Path, title: str = "", at: str | None = None) -> Path:
        """Write the self-contained HTML report, with the folders of its path, and return the path.

        Raises:
            TrilemmaError: when the path does not end in ``.html``.
            StoreError: when the file cannot be written.
        """
        from trilemma.errors import StoreError, TrilemmaError
        from trilemma.report.pages.study import write

        path = Path(path)
        if path.suffix.lower() != ".html":
            raise TrilemmaError(f"{path} does not end in .html: the report is one HTML file; name it so")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
        return write(self.records, self.items, path, title, self._at(at))

    def show(
        self,
        console: "Console | None" = None,
        table: str | None = None,
        by: str | None = None,
        at: str | None = None,
    ) -> None:
        """Print to a terminal: a row a candidate and the verdict, or whole tables by name or grouping.

        Raises:
            TrilemmaError: for an unknown table or grouping, or an operating point that was not measured.
        """
        from rich.console import Console

        from trilemma.report.layout import sheets
        from trilemma.report.summary import summary
        from trilemma.report.tables import all_tables
        from trilemma.report.terminal import say, show

        console = console or Console()
        if table is None and by is None:
            show(console, summary(self.records, self._at(at)))
            shown = self.verdict(at)
            say(console, shown.summary(), [f"Caution: {caution}" for caution in shown.cautions])
        else:
            whole = all_tables(self.records, table, by, self._at(at))
            show(console, [sheet for one in whole for sheet in sheets(one)])

    def render(
        self, format: str, table: str | None = None, by: str | None = None, at: str | None = None
    ) -> str:
        """The summary tables as ``json``, ``csv``, ``markdown`` or ``latex``."""
        from trilemma.report.tables import all_tables
        from trilemma.report.terminal import render

        return render(all_tables(self.records, table, by, self._at(at)), format)

    def _evidence(self, at: str | None) -> "Evidence":
        from trilemma.analysis.evidence import Evidence

        return Evidence(self.records, self.items, self._at(at)) if at else self._default_evidence

    @cached_property
    def _default_evidence(self) -> "Evidence":
        from trilemma.analysis.evidence import Evidence

        return Evidence(self.records, self.items, self._at(None))

    def _at(self, asked: str | None) -> "OperatingPoint":
        from trilemma.analysis.operating_point import operating_point

        return operating_point(self.records, asked)


def _keep_lists(kind: pa.DataType) -> pd.ArrowDtype | None:
    """Lists of texts and probabilities stay in Arrow: in Python they would take many times the memory."""
    return pd.ArrowDtype(kind) if pa.types.is_list(kind) else None
