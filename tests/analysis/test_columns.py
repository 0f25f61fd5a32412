"""A record says its status in columns: no text for people is parsed, whatever names and sentences hold."""

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.stand_ins.synthetic import frames
from trilemma.analysis.cautions import cautions
from trilemma.records import MEANINGLESS, Record
from trilemma.report.layout import sheets
from trilemma.report.model_card import write_card
from trilemma.report.sheets import attack_sheet
from trilemma.report.summary import summary
from trilemma.report.tables import build
from trilemma.result import Result

SOURCE = Path(__file__).parent.parent.parent / "src" / "trilemma"

TEXTS = r"\b(note|reason|absence|title|error|message)s?\b"
SURGERY = "startswith|endswith|r?partition|r?split|removeprefix|removesuffix|contains|replace"
PARSING = [
    rf"{TEXTS}[\])\"']*\.(str\.)?({SURGERY})\(",  # note.split(...), row["note"].str.contains(...)
    rf"\bre\.(match|fullmatch|search|sub|split|findall)\([^,]*,.*{TEXTS}",  # re.search("...", note)
    rf"[\"'] (not )?in [\w.\[\"']*{TEXTS}",  # "..." in record.note
    rf"\.({SURGERY})\(f?[\"'](not measured|failed|robustness is|at |bound by)",
]

ODD = "a; b, c"
"""A task whose name looks like several notes."""


@pytest.mark.parametrize("room", ["analysis", "decision", "report", "statistics", "result.py", "records.py"])
def test_no_text_for_people_is_parsed(room: str) -> None:
    place = SOURCE / room
    for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            code = line.split("  # ")[0]
            found = [pattern for pattern in PARSING if re.search(pattern, code)]
            assert not found, f"{path.relative_to(SOURCE)}:{number} parses a text for people: {code.strip()}"


@pytest.mark.parametrize(
    "line",
    [
        'parts = row["note"].split("; ")',
        "if record.note.startswith(MEANINGLESS):",
        'rows["note"].str.contains("no skill shown")',
        'if "failed" in record.note:',
        'kind = re.search("over the bound", one.reason)',
        'value.removeprefix("not measured: ")',
    ],
)
def test_parsing_is_seen(line: str) -> None:
    assert any(re.search(pattern, line) for pattern in PARSING)


def odd(task: str = "qnli", **arguments: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A study in which a task has an odd name."""
    records, items = frames(models=2, seeds=(0,), **arguments)
    return tuple(table.assign(task=table["task"].replace(task, ODD)) for table in (records, items))  # type: ignore[return-value]


def test_skill_verdict_and_decision_know_a_task_with_an_odd_name() -> None:
    usual = Result(*frames(models=2, seeds=(0,), skill=(0.5, 0.9), robustness=(0.8, 0.2)))
    result = Result(*odd(skill=(0.5, 0.9), robustness=(0.8, 0.2)))
    evidence = result.evidence()
    assert evidence.without_skill() == usual.evidence().without_skill() == {"transformer-pp-nano"}
    assert evidence.meaningless_on(evidence.candidates[0]) == ("sst2", ODD)
    renamed = usual.verdict().text().replace("qnli", ODD)
    assert (
        result.verdict().text() == renamed
        and f"Says nothing of transformer-pp-nano on sst2, {ODD}." in renamed
    )
    decision = result.decide()
    assert decision.choice == "gla-nano" and decision.text() == usual.decide().text()
    assert result.decide(min_robust=0.9).why("gla-nano") == usual.decide(min_robust=0.9).why("gla-nano")


def test_a_task_with_an_odd_name_that_is_not_learnt_is_one_task() -> None:
    records, items = odd(skill=(0.9, 0.9))
    flags = [
        (MEANINGLESS,) if task == ODD and axis == "R" else ()
        for task, axis in records[["task", "axis"]].values
    ]
    result = Result(records.assign(flags=flags), items)
    evidence = result.evidence()
    assert evidence.without_skill() == frozenset()
    assert all(evidence.meaningless_on(one) == (ODD,) for one in evidence.candidates)
    assert f"On {ODD} robustness says nothing of every candidate" in result.verdict().headline
    assert f"Caution: robustness says nothing on {ODD}." in result.decide().answer()
    assert (
        f"On {ODD}, robustness says nothing of transformer-pp-nano and gla-nano"
        in cautions(result.records)[0]
    )


def test_summary_tables_and_card_keep_a_task_with_an_odd_name(tmp_path: Path) -> None:
    records, _ = odd(skill=(0.5, 0.9))
    scores, _ = summary(records)
    assert scores.rows[0][0] == "transformer-pp-nano (no skill)"
    assert f"robustness says nothing on sst2 and {ODD}" in scores.notes[0]
    (sheet, *_) = sheets(build(records, "robustness", "task"))
    assert [row[0] for row in sheet.rows] == ["sst2", ODD, "average"]
    card = write_card(tmp_path, records, "transformer-pp-nano", "full", ODD, 0).read_text("utf-8")
    assert card.count("> No skill was shown") == 1 and f"**{ODD}**" in card


def test_sentences_of_a_user_change_nothing() -> None:
    records, items = frames(models=2, seeds=(0,))
    odd_notes = "not measured: failed: robustness says nothing of sst2; at batch 9, length 9; no skill"
    said = records.assign(note=odd_notes)
    usual, result = Result(records, items), Result(said, items)
    assert result.verdict().headline == usual.verdict().headline
    assert result.decide().answer() == usual.decide().answer()
    assert result.evidence().without_skill() == frozenset()
    assert not any(caution.startswith("Failed") for caution in cautions(said))


def test_who_made_an_attacks_examples_is_a_column() -> None:
    usual = {
        "axis": "R",
        "task": ODD,
        "set": "attack:a:b",
        "method": "a:b",
        "level": "word",
        "unit": "fraction",
    }
    table = pd.DataFrame(
        vars(Record(**usual, model=model, metric=metric, made_on=source, value=0.5, n=10))
        for model in ("x", "y:z")
        for source in ("x", "y:z")
        for metric in ("attack_success_rate", "transfer_success_rate")
        if (metric == "attack_success_rate") == (model == source)
    )
    sheet = attack_sheet(table)
    assert sheet is not None and [row[:2] for row in sheet.rows] == [("a:b", "x"), ("a:b", "y:z")]
