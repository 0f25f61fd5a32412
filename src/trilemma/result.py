"""What a user holds after a study: its two tables and everything that can be asked of them."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trilemma.errors import StoreError
from trilemma.operating_point import OperatingPoint
from trilemma.records import ITEMS, RECORDS, read_table, what_it_is

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.analysis.evidence import Evidence
    from trilemma.analysis.goals import Goals
    from trilemma.decision.decision import Decision
    from trilemma.decision.verdict import Verdict


class Result:
    """A study's result.

    Example:
        >>> result = Result.load("runs/demo")
        >>> decision = result.decide(best="robust_accuracy", max_memory="8GB", min_clean=0.5)
        >>> print(decision.why("gla-nano"))

    Attributes:
        records: one row for each measured value, see :class:`trilemma.records.Record`.
        items: one row for each item, model, adaptation and seed, see :data:`trilemma.records.ITEMS`; of a run
            folder, its texts and probabilities are read when they are first asked for.
        folder: the run folder, if it was read from one.
        goals: the study's limits, and the differences that are of no matter.
    """

    def __init__(
        self,
        records: pd.DataFrame,
        items: pd.DataFrame,
        folder: Path | None = None,
        goals: "Goals | None" = None,
    ) -> None:
        from trilemma.analysis.lookup import cleaned

        self.records, self.folder, self.goals = cleaned(records), folder, goals
        self._answers, self._whole = items, True
        self._evidence: dict[OperatingPoint, Evidence] = {}

    @classmethod
    def load(cls, run: str | Path) -> "Result":
        """Read the tables of a run folder.

        Raises:
            StoreError: when they are absent or not what this version writes.
        """
        if Path(run).is_file():
            kind = "a file, not a run folder; run folders are in runs, for example runs/demo"
            with suppress(OSError, pa.ArrowException):
                kind = what_it_is(Path(run), pq.read_schema(run)) or kind
            raise StoreError(f"{run} is {kind}")
        if not Path(run).is_dir():
            raise StoreError(f"there is no folder {run}; name a run folder, such as runs/demo")
        records = read_table(Path(run) / "records.parquet", RECORDS)
        answers = _answers(Path(run) / "items.parquet")
        if len(records) == 0:
            raise StoreError(f"{run} holds no records: there is nothing to show; run the study again")
        goals = _goals(Path(run) / "study.json")
        result = cls(records.to_pandas(), answers, Path(run), goals)
        result._whole = False
        return result

    @cached_property
    def items(self) -> pd.DataFrame:
        """The items table with all its columns."""
        if self._whole or self.folder is None:
            return self._answers
        table = read_table(self.folder / "items.parquet", ITEMS)
        self._answers, self._whole = table.to_pandas(types_mapper=_keep_lists, **_FRUGAL), True
        return self._answers

    def __repr__(self) -> str:
        """Name, candidates and sizes of the tables."""
        study = self.records["study"].iloc[0] if len(self.records) else "empty"
        models = ", ".join(dict.fromkeys(self.records["model"]))
        return f"Result({study!r}: {models}; {len(self.records)} records, {len(self._answers)} items)"

    def _repr_html_(self) -> str:
        """The summary and the verdict, for a notebook."""
        from trilemma.notebook import paragraph, table
        from trilemma.report.summary import summary

        if self.records.empty:
            return paragraph(repr(self))
        shown = self.verdict()
        parts = [paragraph(shown.summary())]
        for sheet in summary(self.records):
            parts += [table(sheet.header, sheet.rows, sheet.title), *map(paragraph, sheet.notes)]
        return "".join([*parts, *(paragraph(f"Caution: {caution}") for caution in shown.cautions)])

    def table(self, name: str, by: str | None = None, at: str | None = None) -> pd.DataFrame:
        """One of the summary tables as numbers, each metric with its ``_low`` and ``_high``.

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
        """The Pareto front: values, which candidates dominate which, and with what bootstrap probability.

        Args:
            metrics: at least two; by default median latency, clean accuracy and robust accuracy.
            at: the operating point.

        Raises:
            TrilemmaError: for an unknown metric, or one that was not measured.
        """
        from trilemma.analysis.pareto import DEFAULT, front

        return front(self.evidence(self._at(at)), metrics or DEFAULT).table()

    def decide(
        self,
        *,
        best: str = "robust_accuracy",
        at: str | OperatingPoint | None = None,
        models: Sequence[str] = (),
        machines: Sequence[str] = (),
        batches: Sequence[int] = (),
        precisions: Sequence[str] = (),
        devices: Sequence[int | str] = (),
        slo: str = "",
        **limits: Any,
    ) -> "Decision":
        """The best candidate, or deployment on named machines, under limits.

        Args:
            best: the metric to optimise.
            at: the operating point; by default ``batch=1,length=128``, or the nearest that was measured.
            models: that are forecast; by default all candidates.
            machines: to forecast for; by default what was measured decides.
            batches: batch sizes to forecast.
            precisions: of the weights, to forecast.
            devices: over which each model is spread, to forecast; see :func:`trilemma.decision.decide`.
            slo: bounds on times: ``ttft=200ms,tpot=40ms``.
            **limits: ``max_METRIC`` or ``min_METRIC``, for example ``max_memory="8GB"``,
                ``min_clean=0.88``, ``max_latency_ms=20``; None is no limit.

        Raises:
            TrilemmaError: for an unknown metric, an unreadable limit, a metric that was not measured, or an
                option that does not apply.
        """
        from trilemma.decision import decide

        return decide(
            self,
            best=best,
            at=at,
            models=models,
            machines=machines,
            batches=batches,
            precisions=precisions,
            devices=devices,
            slo=slo,
            **limits,
        )

    def compare(self, a: str, b: str, metric: str = "robust_accuracy") -> pd.DataFrame:
        """Paired tests of two candidates on the same items, by task and level, Holm-adjusted.

        Raises:
            TrilemmaError: for an unknown candidate, a candidate against itself, a metric that is not
                computed from items, or one that no task of the study has.
        """
        from dataclasses import asdict

        from trilemma.analysis.candidates import find_candidate
        from trilemma.errors import TrilemmaError

        if a == b:
            raise TrilemmaError(f"{a!r} cannot be compared with itself; name two different candidates")
        evidence = self.evidence(self._at(None))
        first, second = (find_candidate(evidence.candidates, name).name for name in (a, b))
        compared = evidence.comparisons.between(first, second, metric)
        if not compared:
            raise TrilemmaError(f"this study has nothing to compute {metric} from; compare another metric")
        return pd.DataFrame([asdict(one) for one in compared])

    def verdict(self, at: str | None = None) -> "Verdict":
        """The result in words, with its uncertainty; ``.text()`` prints it."""
        from trilemma.analysis.pareto import three_axes
        from trilemma.decision.verdict import verdict

        evidence = self.evidence(self._at(at))
        return verdict(evidence, three_axes(evidence))

    def report(self, path: str | Path, title: str = "", at: str | None = None) -> Path:
        """Write the self-contained HTML report, with the folders of its path, and return the path.

        Raises:
            TrilemmaError: when the path does not end in ``.html``, or cannot be written.
        """
        from trilemma.files import require_suffix
        from trilemma.report.pages.study import write

        return write(self.records, self.items, require_suffix(path, ".html"), title, self._at(at), self.goals)

    def one_page(self, path: str | Path, title: str = "", at: str | None = None) -> Path:
        """Write the head of the report as one page, ``.pdf`` or ``.png``; needs Chromium or Chrome.

        Raises:
            TrilemmaError: for another ending, or where no browser draws it.
        """
        from trilemma.report.export import write_one_page
        from trilemma.report.pages.study import render

        return write_one_page(render(self.records, self.items, title, self._at(at), self.goals), Path(path))

    def figure(self, name: str, path: str | Path, at: str | None = None) -> Path:
        """Write a figure of the report as ``.svg`` or ``.png``.

        Args:
            name: ``pareto``, ``levels``, ``methods``, ``transfer``, ``length``, ``phases`` or ``roofline``.
            path: of the picture.
            at: the operating point.

        Raises:
            TrilemmaError: for a figure that the study has not, or another ending.
        """
        from trilemma.analysis.pareto import three_axes
        from trilemma.report.export import write_figure
        from trilemma.report.pages.study import figures_of

        evidence = self.evidence(self._at(at))
        return write_figure(figures_of(evidence, three_axes(evidence)), name, Path(path))

    def show(
        self,
        console: "Console | None" = None,
        table: str | None = None,
        by: str | None = None,
        at: str | None = None,
    ) -> None:
        """Print to a terminal: a row for each candidate and the verdict, or whole tables by name or grouping.

        Raises:
            TrilemmaError: for an unknown table or grouping, or an operating point that was not measured.
        """
        from rich.console import Console

        from trilemma.report.layout import sheets
        from trilemma.report.summary import summary
        from trilemma.report.tables import all_tables
        from trilemma.report.terminal import print_verdict, show

        console = console or Console()
        if table is None and by is None:
            show(console, summary(self.records, self._at(at)))
            shown = self.verdict(at)
            print_verdict(console, shown.summary(), [f"Caution: {caution}" for caution in shown.cautions])
        else:
            whole = all_tables(self.records, table, by, self._at(at))
            show(console, [sheet for one in whole for sheet in sheets(one)])

    def render(
        self, format: str, table: str | None = None, by: str | None = None, at: str | None = None
    ) -> str:
        """The summary tables as ``json``, ``markdown`` or ``latex``, or one of them as ``csv``."""
        from trilemma.report.tables import all_tables
        from trilemma.report.terminal import render

        return render(all_tables(self.records, table, by, self._at(at)), format)

    def write_csv(
        self, folder: str | Path, table: str | None = None, by: str | None = None, at: str | None = None
    ) -> list[Path]:
        """Write the summary tables as CSV, a file for each, into a folder; returns their paths.

        Raises:
            TrilemmaError: for an unknown table or grouping, or a folder that cannot be written.
        """
        from trilemma.files import disk_errors, write_text
        from trilemma.report.tables import NAMES, all_tables
        from trilemma.report.terminal import render

        found = all_tables(self.records, table, by, self._at(at))
        paths = [Path(folder) / f"{name}.csv" for name in ([table] if table else NAMES)]
        with disk_errors(Path(folder)):
            Path(folder).mkdir(parents=True, exist_ok=True)
        for path, one in zip(paths, found, strict=True):
            write_text(path, render([one], "csv"))
        return paths

    def evidence(self, at: OperatingPoint | None = None) -> "Evidence":
        """The two tables as evidence: values, draws and tests of any metric between candidates.

        Args:
            at: the operating point at which efficiency is read; by default the nearest to the usual one.
        """
        from trilemma.analysis.evidence import Evidence

        point = at or self._at(None)
        if point not in self._evidence:
            self._evidence[point] = Evidence(self.records, self._answers, point, self.goals)
        return self._evidence[point]

    def _at(self, asked: str | None) -> OperatingPoint:
        from trilemma.analysis.lookup import operating_point
        from trilemma.errors import TrilemmaError

        if self.records.empty:
            raise TrilemmaError("the records table is empty: there is nothing to show; run the study first")
        return operating_point(self.records, asked)


_FRUGAL = {"split_blocks": True, "self_destruct": True}
"""Columns are given up one by one as they are converted, so that they are never there twice."""


def _keep_lists(kind: pa.DataType) -> pd.ArrowDtype | None:
    """Lists of texts and probabilities stay in Arrow: in Python they would take many times the memory."""
    return pd.ArrowDtype(kind) if pa.types.is_list(kind) else None


def _answers(path: Path) -> pd.DataFrame:
    """The columns of the items table from which everything but examples is computed, texts as categories."""
    from trilemma.analysis.answers import COLUMNS

    table = read_table(path, ITEMS, COLUMNS)
    texts = [field.name for field in table.schema if field.type == pa.string()]
    frame: pd.DataFrame = table.to_pandas(types_mapper=_keep_lists, categories=texts, **_FRUGAL)
    return frame


def _goals(path: Path) -> "Goals | None":
    """The limits and margins of the study of a run folder, which may lack the file."""
    import json

    from trilemma.analysis.goals import Goals
    from trilemma.errors import StoreError, TrilemmaError

    if not path.is_file():
        return None
    try:
        return Goals.of_study(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, RecursionError, TrilemmaError) as error:
        raise StoreError(f"cannot read the study in {path}: {error}; run the study again") from error
