"""A study on one screen: a row for each candidate, the main metrics of every axis."""

import math
from collections.abc import Callable

import pandas as pd

from trilemma.analysis.candidates import Candidate
from trilemma.analysis.cautions import all_generated, remarks
from trilemma.analysis.evidence import NO_SKILL, Evidence
from trilemma.analysis.lookup import Estimate, operating_point
from trilemma.metrics import METRICS, find_metric
from trilemma.operating_point import OperatingPoint
from trilemma.records import GENERATED
from trilemma.report.contents import CONTENTS
from trilemma.report.layout import Notes, Sheet
from trilemma.units import format_value


def summary(records: pd.DataFrame, at: OperatingPoint | None = None) -> list[Sheet]:
    """Performance with robustness, and efficiency at an operating point, by default the usual one."""
    evidence = Evidence(records, at=at or operating_point(records))
    everyone, lacking = evidence.candidates, evidence.without_skill(attacked=True)
    but = [GENERATED] if all_generated(records) else []

    def remark(one: Estimate, candidate: Candidate) -> str:
        return remarks(one, evidence.meaningless_on(candidate), but=but)

    def absence(one: Estimate, candidate: Candidate) -> str:
        return one.absence if one.value is None else one.where

    scores = {
        title: [evidence.estimate(METRICS[name], one, level) for one in everyone]
        for title, name, level in CONTENTS["summary"]["scores"]
    }
    metrics = {title: find_metric(name) for title, name in CONTENTS["summary"]["costs"].items()}
    costs = {title: [evidence.estimate(metric, one) for one in everyone] for title, metric in metrics.items()}
    units = {title: metric.unit for title, metric in metrics.items()}
    names = [f"{one.name} ({NO_SKILL})" if one.name in lacking else one.name for one in everyone]
    robust = f"; robust: {evidence.benchmark}, by level; ASR: attack success rate"
    title = f"Means over tasks (clean: official metrics{robust if evidence.benchmark else ''})"

    def sheet(title: str, columns: dict[str, list[Estimate]], note: Callable[..., str]) -> list[Sheet]:
        """The columns that some candidate has a value in; no sheet where there is none."""
        notes = Notes()
        present = {head: own for head, own in columns.items() if any(one.value is not None for one in own)}
        rows = [
            (
                name,
                *(
                    _cell(own[row], units.get(head, "fraction")) + notes.mark(note(own[row], everyone[row]))
                    for head, own in present.items()
                ),
            )
            for row, name in enumerate(names)
        ]
        return [Sheet(title, ("", *present), tuple(rows), notes.lines())] if present else []

    return [*sheet(title, scores, remark), *sheet(f"Efficiency at {evidence.at}", costs, absence)]


def _cell(value: Estimate, unit: str) -> str:
    """A value; limits of fractions in whole percent, rounded outwards."""
    if unit != "fraction" or value.value is None or value.low is None or value.high is None:
        return "–" if value.value is None else value.text(unit)
    low, high = math.floor(100 * value.low + 1e-9), math.ceil(100 * value.high - 1e-9)
    return f"{format_value(value.value, unit)} [{low}, {high}]"
