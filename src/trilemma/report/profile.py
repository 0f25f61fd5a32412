"""A profile as tables: time, memory, work and energy by phase, and who needs less at which length."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from trilemma.analysis.candidates import rows_of
from trilemma.analysis.crossovers import races
from trilemma.metrics import METRICS, Phase, plugin_metric
from trilemma.report.contents import CONTENTS
from trilemma.report.layout import Notes, Sheet
from trilemma.units import format_value

FORM = ("model", "precision", "attention", "compiled", "machine", "plan")
"""Columns that tell one model in one form from another; but for the model, those are shown that differ."""

POINT = ("adaptation", "batch", "length", "decode")
"""Columns that say where a form was measured."""

_MARKS = {
    "noisy": ("~", "noisy: the interval reaches more than 5% to either side"),
    "drifting": ("!", "drifting: the time changed by more than 5% over the repetitions, beyond chance"),
    "undecided": ("?", "undecided: fewer than six repetitions, so there is no interval"),
}

_SHORT: dict[str, str] = CONTENTS["columns"]
"""Titles that are shorter than the metrics'."""

Column = tuple[str, str, bool]
"""Metric, phase, and whether it is an estimate."""

Values = Mapping[Column, Mapping[str, Any]]
"""Records of one form at one point."""


def labels(records: pd.DataFrame) -> "pd.Series[str]":
    """A name for each record's model in its form: the model, and what tells it from the others' forms."""
    names = records["model"].astype(str)
    for column in FORM[1:]:
        if records[column].nunique() > 1:
            before = " on " if column == "machine" else " "
            texts = records[column].replace({True: "compiled"}) if column == "compiled" else records[column]
            names = names + [f"{before}{text}" if text else "" for text in texts]
    return names


def is_forecast(records: pd.DataFrame) -> bool:
    """Whether all values are forecasts."""
    return len(records) > 0 and set(records["basis"]) == {"forecast"}


def sheets(records: pd.DataFrame) -> Iterator[Sheet]:
    """The tables of records of axis E: the models, each kind of values, and who needs less by length."""
    shown = records[records["axis"] == "E"]
    if (models := _models(shown)) is not None:
        yield models
    points = _values(shown)
    differing = [i for i, name in enumerate(FORM) if name == "model" or len({key[i] for key in points}) > 1]
    for kind in CONTENTS["forecast"] if is_forecast(shown) else (*CONTENTS["profile"], *_plugins(shown)):
        titles = _titles(kind["phases"], kind["metrics"])
        found = {
            place: values
            for place, values in points.items()
            if any(key[1] in kind["phases"] and key[:2] in titles for key in values)
        }
        if found:
            yield _sheet(kind["title"], titles, found, differing)
    yield from _crossovers(shown)


def _values(records: pd.DataFrame) -> dict[tuple[Any, ...], dict[Column, Any]]:
    """Records by form and point, a form after the other; what holds at all points is at each."""
    points: dict[tuple[Any, ...], dict[Column, Any]] = {}
    everywhere: dict[tuple[Any, ...], dict[Column, Any]] = {}
    for row in rows_of(records.fillna({"decode": 0})):
        form, column = _form(row), (row["metric"], row["phase"], row["basis"] == "estimated")
        if pd.isna(row["batch"]) or pd.isna(row["length"]):
            everywhere.setdefault(form, {})[column] = row
        else:
            point = (row["adaptation"], *(int(row[name]) for name in POINT[1:]))
            points.setdefault((*form, *point), {})[column] = row
    forms = list(dict.fromkeys(place[: len(FORM)] for place in points))
    order = sorted(points, key=lambda place: (forms.index(place[: len(FORM)]), place[len(FORM) :]))
    return {place: {**everywhere.get(place[: len(FORM)], {}), **points[place]} for place in order}


def _form(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in FORM)


def wide(records: pd.DataFrame) -> pd.DataFrame:
    """One row per form and point; per metric and phase a column, with its interval in ``_low`` and ``_high``.

    Columns are named ``METRIC@PHASE``, estimates ``METRIC@PHASE estimate``; a value that holds at all points
    stands in each row of its model.
    """
    rows = []
    for place, values in _values(records[records["axis"] == "E"]).items():
        row = dict(zip((*FORM, *POINT), place, strict=True))
        for (metric, phase, estimated), record in values.items():
            name = f"{metric}{f'@{phase}' if phase else ''}{' estimate' if estimated else ''}"
            row |= {f"{name}{end}": record[end[1:] or "value"] for end in ("", "_low", "_high")}
        rows.append(row)
    found = pd.DataFrame(rows, columns=list(dict.fromkeys(name for row in rows for name in row)))
    return found.dropna(axis="columns", how="all")


def _plugins(records: pd.DataFrame) -> list[dict[str, Any]]:
    """A table of the metrics that measurement plug-ins recorded at points."""
    rows = records[~records["metric"].isin(list(METRICS)) & records["batch"].notna()]
    metrics, phases = (list(dict.fromkeys(rows[column])) for column in ("metric", "phase"))
    return [{"title": "Further measurements", "phases": phases, "metrics": metrics}] if metrics else []


def _titles(phases: Sequence[Phase], metrics: Sequence[str]) -> dict[tuple[str, str], str]:
    """Titles by metric and phase; the phase is named where a metric is shown in several."""
    found: dict[tuple[str, str], str] = {}
    for name, _, only in (metric.partition("@") for metric in metrics):
        known = METRICS.get(name) or plugin_metric(name, "", tuple(phases))
        recorded = [phase for phase in phases if phase in known.phases] if known.phases else [""]
        for phase in [only] if only else recorded:
            own = _SHORT.get(f"{name}@{phase}")
            title = _SHORT.get(name, known.title)
            found[name, phase] = own or (f"{title}, {phase}" if not only and len(recorded) > 1 else title)
    return found


def _sheet(
    title: str,
    titles: Mapping[tuple[str, str], str],
    found: Mapping[tuple[Any, ...], Values],
    differing: Sequence[int],
) -> Sheet:
    columns, left_out = _columns(titles, list(found.values()))
    adaptation, batch, length, decode = range(len(FORM), len(FORM) + len(POINT))
    generated = sorted({place[decode] for place in found} - {0})
    fixed = [*differing, *([adaptation] if any(place[adaptation] for place in found) else []), batch, length]
    fixed += [decode] if len(generated) > 1 else []
    names = (*FORM, *POINT[:-1], "generated")
    notes, marks = Notes(), dict[str, None]()
    rows = tuple(
        (*(_name(place[i]) for i in fixed), *(_cell(values.get(one), notes, marks) for one in columns))
        for place, values in found.items()
    )
    title += f", {generated[0]:,} tokens generated" if len(generated) == 1 else ""
    header = (*(names[i] for i in fixed), *columns.values())
    legend = [" ".join(_MARKS[verdict]) for verdict in _MARKS if verdict in marks]
    return Sheet(title, header, rows, (*left_out, *notes.lines(), *legend), fixed=len(fixed))


def _name(part: Any) -> str:
    if isinstance(part, bool):
        return "yes" if part else "no"
    return f"{part:,}" if isinstance(part, int) else str(part) or "–"


def _columns(
    titles: Mapping[tuple[str, str], str], found: Sequence[Values]
) -> tuple[dict[Column, str], list[str]]:
    """Titles of the columns that have a value, or several reasons for none; sentences about the others."""
    shown: dict[Column, str] = {}
    reasons: dict[str, list[str]] = {}
    for key, name in titles.items():
        for column, title in (((*key, False), name), ((*key, True), f"{name}, estimate")):
            rows = [values[column] for values in found if column in values]
            absences = {_absence(row) for row in rows}
            if any(not pd.isna(row["value"]) for row in rows) or len(absences) > 1:
                shown[column] = title
            elif absences:
                reasons.setdefault(absences.pop(), []).append(title)
    return shown, [f"{', '.join(names)}: {absence}" for absence, names in reasons.items()]


def _absence(row: Mapping[str, Any]) -> str:
    status = "not forecast" if row["basis"] == "forecast" else row["status"]
    return f"{status}: {row['reason']}" if row["reason"] else status


def _cell(row: Mapping[str, Any] | None, notes: Notes, marks: dict[str, None]) -> str:
    """A number with its interval and the mark of its verdict; a dash with the mark of its reason."""
    if row is None:
        return "–"
    if pd.isna(row["value"]):
        return f"–{notes.mark(_absence(row))}"
    ends = [None if pd.isna(row[end]) else float(row[end]) for end in ("low", "high")]
    text = format_value(float(row["value"]), row["unit"], *ends)
    if row["verdict"] in _MARKS:
        marks[row["verdict"]] = None
        text = f"{text} {_MARKS[row['verdict']][0]}"
    forecast = row["basis"] == "forecast"
    return f"{text}{notes.mark(row['note'])}" if forecast and row["note"] else text


def _crossovers(records: pd.DataFrame) -> Iterator[Sheet]:
    """Who needs less of what at which lengths: a line for two models and all that has one outcome."""
    kinds = {"generate": "generation", "classify": "classification"}
    batches: dict[tuple[str, str, str], list[str]] = {}
    for race in races(records.assign(label=labels(records)), "label"):
        if race.leads or race.unknown or not is_forecast(records):
            what = f"{_SHORT[race.metric]}{f' ({kinds[race.phase]})' if race.phase in kinds else ''}"
            batches.setdefault((" / ".join(race.models), str(race), what), []).append(str(race.batch))
    alike: dict[tuple[str, str, str], list[str]] = {}
    for (models, outcome, what), at in batches.items():
        alike.setdefault((models, ", ".join(at), outcome), []).append(what)
    pairs = list(dict.fromkeys(models for models, _, _ in alike))
    ordered = sorted(alike.items(), key=lambda line: pairs.index(line[0][0]))
    rows = tuple((models, at, ", ".join(whats), outcome) for (models, at, outcome), whats in ordered)
    if rows:
        note = (
            "The length from which a model needs less is read off between the measured lengths in brackets, "
            "at which the intervals tell the two apart."
        )
        header = ("models", "batch", "of what", "who needs less")
        yield Sheet("Who needs less, by length", header, rows, (note,), fixed=2)


def facts(records: pd.DataFrame) -> list[str]:
    """Lines about the whole: hardware and versions, the rates of the machine, and its idle power."""
    lines = [
        "; ".join(text for text in dict.fromkeys(records[name]) if text) for name in ("hardware", "versions")
    ]
    rates = {
        metric: [
            f"{format_value(row['value'], row['unit'])}{f' ({note})' if (note := row['note']) else ''}"
            for row in rows_of(records[records["metric"] == metric].drop_duplicates("value"))
            if not pd.isna(row["value"])
        ]
        for metric in ("machine_bytes_per_s", "machine_flops_per_s", "idle_power_w")
    }
    memory, products, idle = (", ".join(texts) for texts in rates.values())
    lines.append(f"roofline: memory {memory}; {products}" if memory and products else "")
    lines.append(f"idle power: {idle}" if idle else "")
    return [line for line in lines if line]


def brackets(records: pd.DataFrame) -> str:
    """What the brackets in the tables hold; "" where there are none."""
    bounded = records[records["low"].notna()]
    shares = sorted({f"{share:.0%}" for share in bounded["confidence"].dropna()}, reverse=True)
    if shares:
        return f"Brackets hold {' or '.join(shares)} intervals."
    return "" if bounded.empty else "Brackets are not intervals of a confidence; the notes say what they are."


def _models(records: pd.DataFrame) -> Sheet | None:
    """What each model is, and in which form; with what measurement plug-ins recorded of the whole model."""
    forms = records.drop_duplicates(list(FORM))
    whole = records[~records["metric"].isin(list(METRICS)) & records["batch"].isna()]
    plugged = list(dict.fromkeys(whole["metric"]))
    known = {(*_form(row), row["metric"]): row for row in rows_of(whole)}
    notes, marks = Notes(), dict[str, None]()
    rows = [
        {
            "model": str(row["model"]),
            "architecture": row["arch"],
            "parameters": ""
            if pd.isna(row["parameters"])
            else format_value(float(row["parameters"]), "count"),
            **{name: row[name] for name in ("precision", "attention", "machine", "plan")},
            "kernel": ", ".join(filter(None, [row["kernel"], "torch.compile" if row["compiled"] else ""])),
            **{
                metric.replace("_", " "): _cell(known.get((*_form(row), metric)), notes, marks)
                for metric in plugged
            },
        }
        for row in rows_of(forms)
    ]
    header = tuple(name for name in (rows[0] if rows else ()) if any(row[name] for row in rows))
    cells = tuple(tuple(row[name] or "–" for name in header) for row in rows)
    return Sheet("Models", header, cells, notes.lines()) if rows else None
