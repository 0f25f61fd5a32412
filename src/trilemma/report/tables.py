"""The summary tables of a study: efficiency, performance, robustness; as numbers and as text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from trilemma.comparisons import AVERAGE
from trilemma.errors import TrilemmaError
from trilemma.report.metrics import METRICS, format_value
from trilemma.report.values import OperatingPoint, candidates, recorded, rows_of

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Format = Literal["json", "csv", "markdown", "latex"]

NAMES = ("efficiency", "performance", "robustness")
GROUPS = {
    "efficiency": ("point", "length"),
    "performance": ("task",),
    "robustness": ("level", "method", "task"),
}
"""What each table may be grouped by, the default first."""

_STATIC = ("parameters", "non_embedding_parameters", "flops_per_token", "weight_bytes")
_AT_POINT = (
    "latency_ms",
    "latency_p95_ms",
    "throughput_tokens_per_s",
    "peak_inference_memory_bytes",
    "peak_training_memory_bytes",
    "training_examples_per_s",
    "state_bytes",
    "ttft_ms",
    "tpot_ms",
)
_PERFORMANCE = ("accuracy", "f1", "matthews", "pearson", "spearman", "glue_score")
_ROBUSTNESS = (
    "robust_accuracy",
    "robust_f1",
    "advglue_score",
    "attack_success_rate",
    "accuracy_drop",
    "flip_rate",
)
_LEVELS = ("all", "word", "sentence", "human", "unknown")


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: what it shows.
        keys: the columns that name a row.
        metrics: the measured columns; each has ``_low`` and ``_high`` beside it in ``frame``.
        frame: the numbers; missing where not measured, with the reasons in column ``note``.
    """

    title: str
    keys: tuple[str, ...]
    metrics: tuple[str, ...]
    frame: pd.DataFrame

    def header(self) -> list[str]:
        """Column titles for people."""
        titles = [METRICS[m].title if m in METRICS else m.replace("_", " ") for m in self._shown]
        return [*self.keys, *titles, *(["note"] if self._has_notes else [])]

    def rows(self) -> list[list[str]]:
        """Cells for people: ``54.3% [48.5, 60.1]``, a dash where nothing was measured."""
        return [self._row(row) for _, row in self.frame.iterrows()]

    def lines(self) -> list[list[str]]:
        """Header and rows; turned on their side where there are more measures than rows."""
        lines = [self.header(), *self.rows()]
        if len(self.frame) < len(self._shown) and len(self.keys) <= 3:
            return [list(column) for column in zip(*lines, strict=True)]
        return lines

    @property
    def _shown(self) -> list[str]:
        """The metrics with a column of their own: an average stands in the column of what it averages."""
        return [m for m in self.metrics if _AVERAGES.get(m) not in self.metrics]

    @property
    def _has_notes(self) -> bool:
        return bool((self.frame["note"] != "").any())

    def _row(self, row: pd.Series) -> list[str]:
        cells = ["" if pd.isna(row[key]) else str(row[key]) for key in self.keys]
        for metric in self._shown:
            average = next((m for m in self.metrics if _AVERAGES.get(m) == metric), metric)
            name = average if pd.isna(row[metric]) else metric
            unit = METRICS[name].unit if name in METRICS else "fraction"
            cells.append(format_value(row[name], unit, row[f"{name}_low"], row[f"{name}_high"]))
        return [*cells, *([row["note"]] if self._has_notes else [])]


_AVERAGES = {"glue_score": "accuracy", "advglue_score": "robust_accuracy"}


def build(records: pd.DataFrame, name: str, by: str | None = None, at: OperatingPoint | None = None) -> Table:
    """One of the summary tables.

    Args:
        records: the records table.
        name: ``efficiency``, ``performance`` or ``robustness``.
        by: what its rows are, see :data:`GROUPS`.
        at: the operating point of ``efficiency`` by ``point``.

    Raises:
        TrilemmaError: for another name or grouping, naming the known ones.
    """
    if name not in GROUPS:
        raise TrilemmaError(f"unknown table {name!r}; known: {', '.join(NAMES)}")
    by = by or GROUPS[name][0]
    if by not in GROUPS[name]:
        raise TrilemmaError(f"the {name} table is not grouped by {by!r}; known: {', '.join(GROUPS[name])}")
    if name == "efficiency":
        return _efficiency_at(records, at or OperatingPoint()) if by == "point" else _efficiency_grid(records)
    rows = records[records["seed"].isna() & (records["adaptation"] != "")]
    if name == "performance":
        baselines = ("majority_accuracy", "chance_accuracy")
        rows = rows[(rows["axis"] == "P") & (rows["task"] != "")]
        return _wide(records, rows, "Performance on clean text", ("task", "set"), (*_PERFORMANCE, *baselines))
    rows = rows[rows["axis"] == "R"]
    rows = rows.assign(level=pd.Categorical(rows["level"], categories=_LEVELS, ordered=True))
    if by == "method":
        rows = rows[rows["method"] != ""]
        return _wide(records, rows, "Robustness by method", ("task", "set", "level", "method"), _ROBUSTNESS)
    rows = rows[rows["method"] == ""]
    measures = (*_ROBUSTNESS, "paired_clean_accuracy", "majority_accuracy")
    if by == "task":
        return _wide(records, rows[rows["level"] == "all"], "Robustness by task", ("task", "set"), measures)
    return _wide(records, rows, "Robustness by level", ("task", "set", "level"), measures)


def _wide(
    records: pd.DataFrame, rows: pd.DataFrame, title: str, keys: tuple[str, ...], metrics: Sequence[str]
) -> Table:
    """Pivot tidy rows: one line a candidate and key, one column (with limits) a metric."""
    names = {(c.model, c.adaptation): c.name for c in candidates(records)}
    present = tuple(m for m in metrics if m in set(rows["metric"]))
    lines: dict[tuple[object, ...], dict[str, object]] = {}
    order = sorted(range(len(rows)), key=lambda i: rows["task"].iloc[i] == AVERAGE)
    for row in rows_of(rows.iloc[order]):
        if row["metric"] not in present:
            continue
        key = (names[row["model"], row["adaptation"]], *(row[k] for k in keys))
        line = lines.setdefault(
            key, {"candidate": key[0], **{k: row[k] for k in keys}, "notes": {}, "n": row["n"]}
        )
        line |= {
            row["metric"]: row["value"],
            f"{row['metric']}_low": row["low"],
            f"{row['metric']}_high": row["high"],
        }
        note = row["note"] or ("not measured" if pd.isna(row["value"]) else "")
        parts = (["partial split"] if row["partial"] else []) + ([note] if note else [])
        line["notes"] |= dict.fromkeys(parts)  # type: ignore[operator]
    return Table(
        title, ("candidate", *keys, "n"), present, _frame(lines.values(), ("candidate", *keys, "n"), present)
    )


def _frame(lines: object, keys: tuple[str, ...], metrics: tuple[str, ...]) -> pd.DataFrame:
    columns = [*keys, *(column for m in metrics for column in (m, f"{m}_low", f"{m}_high"))]
    frame = pd.DataFrame(list(lines), columns=[*columns, "notes"])  # type: ignore[call-overload]
    frame["note"] = [notes if isinstance(notes, str) else "; ".join(notes) for notes in frame["notes"]]
    for column in columns[len(keys) :]:
        frame[column] = pd.to_numeric(frame[column])
    if "n" in keys:
        frame["n"] = pd.to_numeric(frame["n"]).astype("Int64")
    return frame.drop(columns="notes")


def _efficiency_at(records: pd.DataFrame, at: OperatingPoint) -> Table:
    """One line a candidate: what does not depend on batch and length, and what was measured at ``at``."""
    metrics = tuple(m for m in (*_STATIC, *_AT_POINT, "training_seconds") if m in set(records["metric"]))
    lines = []
    for candidate in candidates(records):
        own = records[records["model"] == candidate.model]
        line: dict[str, object] = {
            "candidate": candidate.name,
            "arch": candidate.arch,
            "kernel": _kernel(own),
        }
        notes: dict[str, None] = {}
        for metric in metrics:
            value = recorded(own, candidate, METRICS[metric], at)
            line |= {metric: value.value, f"{metric}_low": value.low, f"{metric}_high": value.high}
            if value.value is None:
                notes[f"{METRICS[metric].title}: {value.note}"] = None
        lines.append(line | {"notes": notes})
    keys = ("candidate", "arch", "kernel")
    return Table(f"Efficiency at {at}", keys, metrics, _frame(lines, keys, metrics))


def _kernel(own: pd.DataFrame) -> str:
    kernels = own.loc[(own["axis"] == "E") & (own["kernel"] != ""), "kernel"]
    return str(kernels.iloc[0]) if len(kernels) else ""


def _efficiency_grid(records: pd.DataFrame) -> Table:
    """One line a model, batch and length."""
    rows = records[(records["axis"] == "E") & records["length"].notna() & records["batch"].notna()]
    metrics = tuple(m for m in _AT_POINT if m in set(rows["metric"]))
    lines = []
    for (model, batch, length), group in rows.groupby(["model", "batch", "length"], sort=False):
        line: dict[str, object] = {"model": model, "batch": int(batch), "length": int(length)}
        for row in rows_of(group):
            name = row["metric"]
            line |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
        lines.append(line | {"notes": [note for note in dict.fromkeys(group["note"]) if note]})
    keys = ("model", "batch", "length")
    return Table("Efficiency over batch and length", keys, metrics, _frame(lines, keys, metrics))


def all_tables(records: pd.DataFrame, name: str | None = None, by: str | None = None) -> list[Table]:
    """The tables that ``name`` and ``by`` ask for; all three by default."""
    if name is not None:
        return [build(records, name, by)]
    return [build(records, each, by if by in GROUPS[each] else None) for each in NAMES]


def render(tables: Sequence[Table], format: str) -> str:
    """Text in one of the formats ``json``, ``csv``, ``markdown`` (numbers raw in the first two), ``latex``.

    Raises:
        TrilemmaError: for another format.
    """
    writers = {"json": _json, "csv": _csv, "markdown": _markdown, "latex": _latex}
    if format not in writers:
        raise TrilemmaError(f"unknown format {format!r}; known: table, {', '.join(writers)}")
    return writers[format](tables)


def rich_table(table: Table) -> "RichTable":
    """For a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table as RichTable

    result = RichTable(
        title=table.title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    header, *rows = table.lines()
    for title in header:
        result.add_column(escape(title), overflow="fold")
    for row in rows:
        result.add_row(*(escape(cell) for cell in row))
    return result


def _json(tables: Sequence[Table]) -> str:
    content = {table.title: json.loads(table.frame.to_json(orient="records")) for table in tables}
    return json.dumps(content, indent=2, ensure_ascii=False)


def _csv(tables: Sequence[Table]) -> str:
    """Several tables follow each other, each after a comment line with its title."""
    if len(tables) == 1:
        return tables[0].frame.to_csv(index=False)
    return "\n".join(f"# {table.title}\n{table.frame.to_csv(index=False)}" for table in tables)


def _markdown(tables: Sequence[Table]) -> str:
    def line(cells: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells)
            + " |"
        )

    parts = []
    for table in tables:
        header, *rows = table.lines()
        body = [line(header), line(["---"] * len(header)), *(line(row) for row in rows)]
        parts.append(f"### {table.title}\n\n" + "\n".join(body))
    return "\n\n".join(parts) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "–": "--", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """Text with LaTeX's special characters made ordinary."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex(tables: Sequence[Table]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(latex_escape(cell) for cell in cells) + r" \\"

    parts = []
    for table in tables:
        header, *rows = table.lines()
        body = [line(header), r"\hline", *(line(row) for row in rows)]
        parts.append(
            "\\begin{table}\n\\caption{" + latex_escape(table.title) + "}\n"
            + "\\begin{tabular}{" + "l" * len(header) + "}\n"
            + "\n".join(body) + "\n\\end{tabular}\n\\end{table}"
        )  # fmt: skip
    return "\n\n".join(parts) + "\n"
