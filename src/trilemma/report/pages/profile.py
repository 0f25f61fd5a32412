"""A profile as one HTML page: charts, and the tables as printed."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from trilemma.analysis.candidates import candidates
from trilemma.files import write_text
from trilemma.report import profile
from trilemma.report.charts.encoding import Figure
from trilemma.report.charts.length import length_figure
from trilemma.report.charts.phases import phases_figure
from trilemma.report.charts.roofline import roofline_figure
from trilemma.report.pages import page
from trilemma.report.pages.figure_sections import candidates_chart
from trilemma.units import join

MOST_POINTS = 400
"""Batches and lengths of which charts are drawn; a chart is kept for each of them."""

_NAMED = 4
"""Models that a title names at most."""


def write(records: pd.DataFrame, path: Path, notes: Sequence[str] = ()) -> None:
    """Write records of axis E, with notes on the whole, as a page: whole or not at all.

    Raises:
        StoreError: where that place cannot be written.
    """
    write_text(path, render(records, notes))


def render(records: pd.DataFrame, notes: Sequence[str] = ()) -> str:
    """The page as a string."""
    drawn = records[(records["axis"] == "E") & records["value"].notna()]
    drawn = drawn.assign(model=profile.labels(drawn))
    described = drawn["confidence"].isna()  # its bracket is not an interval
    drawn = drawn.assign(low=drawn["low"].mask(described), high=drawn["high"].mask(described))
    points = len(drawn[["batch", "length"]].dropna().drop_duplicates())
    facts = [*profile.facts(records), *notes]
    figures: list[Figure] = []
    everyone = candidates(drawn) if len(drawn) else []
    if points > MOST_POINTS:
        facts.append(f"{points:,} batches and lengths are too many to draw; the tables have them all")
    elif everyone:
        drawings = (length_figure(drawn), phases_figure(drawn), roofline_figure(drawn))
        figures = [figure for figure in drawings if figure is not None]
    lead = "lead of forecasts" if profile.is_forecast(records) else "lead"
    sections = {figure.name: candidates_chart(figure, everyone, lead) for figure in figures}
    facts = [fact for fact in (*facts, profile.brackets(records)) if fact]
    return page.render(title(records), facts, figures, sections, list(profile.sheets(records)))


def title(records: pd.DataFrame) -> str:
    """``Profile of gla:nano``, or ``Forecast of 7 models``."""
    names = list(dict.fromkeys(records["model"]))
    what = "Forecast" if profile.is_forecast(records) else "Profile"
    return f"{what} of {join(names) if 0 < len(names) <= _NAMED else f'{len(names)} models'}"
