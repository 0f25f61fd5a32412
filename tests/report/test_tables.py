import csv
import io
import json
import re

import pandas as pd
import pytest
from rich.console import Console

from tests.stand_ins.synthetic import frames
from trilemma.analysis.lookup import operating_point
from trilemma.errors import TrilemmaError
from trilemma.operating_point import OperatingPoint
from trilemma.report.charts.length import length_figure
from trilemma.report.layout import sheets
from trilemma.report.summary import summary
from trilemma.report.tables import GROUPS, NAMES, all_tables, build
from trilemma.report.terminal import latex_escape, render, show


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    return frames(tasks=("sst2", "qqp"))[0]


def test_every_table_and_grouping_has_rows(records: pd.DataFrame) -> None:
    for name in NAMES:
        for by in GROUPS[name]:
            table = build(records, name, by)
            assert len(table.frame) > 0
            for sheet in sheets(table):
                assert sheet.rows and all(len(row) == len(sheet.header) for row in sheet.rows)


def test_efficiency_is_read_at_the_operating_point(records: pd.DataFrame) -> None:
    here = build(records, "efficiency", at=OperatingPoint(16, 512)).frame
    grid = build(records, "efficiency", "length").frame
    same = grid[(grid["batch"] == 16) & (grid["length"] == 512)]
    assert here["latency_ms"].tolist() == same["latency_ms"].tolist()
    assert here.loc[0, "kernel"] == "sdpa"


def test_what_training_takes_is_told_by_adaptation(records: pd.DataFrame) -> None:
    own = records[(records["adaptation"] == "full") & (records["model"] == "gla-nano")]
    cheaper = own.assign(adaptation="lora", value=own["value"] * 0.5)
    both = pd.concat([records, cheaper], ignore_index=True)
    frame = build(both, "efficiency").frame.set_index("candidate")
    full, lora = (frame.loc[f"gla-nano:{method}"] for method in ("full", "lora"))
    assert lora["peak_memory_bytes@train"] == 0.5 * full["peak_memory_bytes@train"]
    assert lora["latency_ms"] == full["latency_ms"]
    figure = length_figure(both)
    assert figure is not None
    rows = figure.variants["peak memory in training", "length", "batch 1"]["datasets"]["rows"]
    assert {"gla-nano:full", "gla-nano:lora"} <= {row["candidate"] for row in rows}


def test_robustness_has_levels_in_order_and_reasons(records: pd.DataFrame) -> None:
    frame = build(records, "robustness", "level").frame
    own = frame[(frame["candidate"] == "gla-nano") & (frame["task"] == "sst2")].set_index("level")
    assert set(own.index) == {"all", "word", "sentence", "human"}
    assert pd.isna(own.loc["human", "attack_success_rate"])
    assert "no original" in own.loc["human", "note"]
    assert own.loc["word", "robust_accuracy_low"] < own.loc["word", "robust_accuracy"]
    assert own.loc["word", "majority_accuracy"] > 0


def test_partial_splits_are_called_partial_everywhere(records: pd.DataFrame) -> None:
    frame = build(records, "performance").frame
    assert frame.loc[frame["task"] == "qqp", "note"].str.contains("partial split").all()
    assert frame.loc[frame["task"] == "average", "note"].str.contains("partial split").all()
    assert not frame.loc[frame["task"] == "sst2", "note"].str.contains("partial").any()


def test_candidates_stand_side_by_side_with_n_and_baseline(records: pd.DataFrame) -> None:
    (sheet, *_) = sheets(build(records, "robustness", "level"))
    assert sheet.header[:4] == ("task", "level", "n", "majority")
    assert sheet.header[4:] == ("transformer-pp-nano", "gla-nano", "matmul-free-nano")
    rows = {row[:2]: row for row in sheet.rows}
    assert rows["sst2", "word"][2] == "112" or rows["sst2", "word"][2].isdigit()
    assert all("[" in cell for cell in rows["average", "all"][4:])


def test_notes_are_marked_once_and_explained_below(records: pd.DataFrame) -> None:
    success = next(s for s in sheets(build(records, "robustness")) if "attack success" in s.title)
    human = next(row for row in success.rows if row[:2] == ("sst2", "human"))
    assert human[-1] == "–¹"
    assert success.notes[0].startswith("¹ not measured: no original")


def test_machine_formats_hold_raw_numbers(records: pd.DataFrame) -> None:
    tables = all_tables(records, "performance")
    rows = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    (content,) = json.loads(render(tables, "json")).values()
    assert float(rows[0]["accuracy"]) == pytest.approx(content[0]["accuracy"])
    assert 0 < content[0]["accuracy"] < 1
    assert len(rows) == len(content) == len(tables[0].frame)


def test_markdown_and_latex_escape_data(records: pd.DataFrame) -> None:
    evil = records.assign(model=records["model"].replace("gla-nano", "a|b_50%&$#{x}\\"))
    markdown = render(all_tables(evil, "performance"), "markdown")
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines[:5]}) == 1
    latex = render(all_tables(evil, "performance"), "latex")
    assert r"a|b\_50\%\&\$\#\{x\}\textbackslash{}" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") > 0
    assert latex_escape("5% – <x>") == r"5\% -- \textless{}x\textgreater{}"


HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "@SUM(1)",
    "-2+3",
    "\u200b=1",
    "a;=1",
    "<img src=x onerror=alert(1)>",
]
HOSTILE += ["</script><script>x</script>", "[click](javascript:x)", "![x](http://h/leak.png)", "a\n| b |"]


@pytest.mark.parametrize("evil", HOSTILE)
def test_exports_hold_nothing_that_a_spreadsheet_or_browser_would_run(
    records: pd.DataFrame, evil: str
) -> None:
    tables = all_tables(records.assign(method=records["method"].where(records["method"] == "", evil)))
    shown = [*tables, *all_tables(records.assign(model=evil))]
    text = "".join(render([table], "csv") for table in shown)
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    texts = [part for cell in cells for part in cell.split(";") if not re.fullmatch(r"[-+0-9.e]+", cell)]
    assert not any(part.lstrip("\u200b").startswith(("=", "+", "-", "@")) for part in texts)
    by_method = all_tables(
        records.assign(method=records["method"].where(records["method"] == "", evil)), by="method"
    )
    markdown = render([*by_method, *all_tables(records.assign(model=evil))], "markdown")
    assert "<" not in markdown.replace("<br>", "") and "](" not in markdown
    assert len({line.replace("\\|", "").count("|") for line in markdown.splitlines() if "|" in line}) <= 8


def test_terminal_markup_in_data_is_text(records: pd.DataFrame) -> None:
    evil = records.assign(model=records["model"].replace("gla-nano", "[red]boo[/red]"))
    console = Console(width=400, record=True, file=io.StringIO())
    show(console, [sheet for table in all_tables(evil) for sheet in sheets(table)])
    assert "[red]boo[/red]" in console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_of_any_usual_width_shows_whole_words_and_numbers(width: int) -> None:
    records, _ = frames(models=4, tasks=("sst2", "qqp"), clean=80, adversarial=60)
    records["model"] = records["model"].replace("gla-nano", "gla-micro-pretrained-elsewhere")
    console = Console(width=width, file=io.StringIO(), record=True)
    whole = [sheet for table in all_tables(records) for sheet in sheets(table)]
    show(console, [*summary(records), *whole])
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    for sheet in (*summary(records), *whole):
        for cell in (cell for row in sheet.rows for cell in row if "[" in cell):
            assert cell.split(" [")[1].replace(", ", ",") in text, "an interval was broken"


def test_the_summary_has_a_row_a_candidate_and_says_what_is_odd() -> None:
    records, _ = frames(models=3, tasks=("sst2", "qqp"), seeds=(0,), skill=(0.5, 0.84, 0.8))
    scores, costs = summary(records)
    assert scores.header == ("", "clean", "robust", "word", "sentence", "human", "ASR")
    assert [row[0] for row in scores.rows] == [
        "transformer-pp-nano (no skill)",
        "gla-nano",
        "matmul-free-nano",
    ]
    assert any("says nothing" in note for note in scores.notes)
    assert any("partial split" in note for note in scores.notes)
    assert costs.header == ("", "latency", "memory", "memory in training", "parameters")
    clean = records[records["axis"] != "R"]
    assert summary(clean)[0].header == ("", "clean")


def test_unknown_names_are_refused(records: pd.DataFrame) -> None:
    for arguments in (("speed", None), ("robustness", "colour")):
        with pytest.raises(TrilemmaError, match="known: "):
            build(records, *arguments)
    with pytest.raises(TrilemmaError, match="unknown format 'pdf'"):
        render(all_tables(records), "pdf")


def test_efficiency_is_read_at_the_nearest_point_that_was_measured() -> None:
    records, _ = frames(models=2, seeds=(0,))
    timed = records["batch"].notna() & (records["axis"] == "E")
    elsewhere = records[~timed | ((records["batch"] == 16) & (records["length"] >= 512))]
    assert operating_point(records) == OperatingPoint(1, 128)
    assert operating_point(elsewhere) == OperatingPoint(16, 512)
    assert summary(elsewhere)[1].title == "Efficiency at batch 16, length 512"
    assert build(elsewhere, "efficiency").frame["latency_ms"].notna().all()
    with pytest.raises(TrilemmaError, match="nothing was measured at batch 1, length 64; measured: batch 16"):
        operating_point(elsewhere, "length=64")
    with pytest.raises(TrilemmaError):
        operating_point(records, "batch=0,length=128")


def test_a_grouping_that_no_table_has_is_refused(records: pd.DataFrame) -> None:
    with pytest.raises(TrilemmaError, match="no table is grouped by 'nonsense'; known: point, length, task"):
        all_tables(records, by="nonsense")


def test_metrics_of_plug_ins_stand_in_the_table_of_efficiency() -> None:
    records, _ = frames(models=2, seeds=(0,))
    added = records[records["metric"] == "weight_bytes"].assign(metric="disk_bytes")
    table = build(pd.concat([records, added]), "efficiency")
    (sheet,) = sheets(table)
    assert ("disk bytes", "5.20 MB", "5.36 MB") in sheet.rows
