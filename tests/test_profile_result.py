"""Profiles as objects and files: what is written is read back, and nothing else is."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.report.test_html import Page
from tests.stand_ins.profiles import lacking, two_models, value
from trilemma.errors import DataError, StoreError, TrilemmaError
from trilemma.profile_result import Profile
from trilemma.records import ITEMS, RECORDS, Record, records_table, write_table
from trilemma.result import Result
from trilemma.sweep_result import load_file


def a_profile(*more: Record) -> Profile:
    absent = lacking("latency_p95_ms", "generate", "out of memory")
    return Profile([*two_models(), absent, *more], ["a note", "another"])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    profile = a_profile(
        value("ttft_ms", "prefill", 1.0, model="c", flags=("x", "y"), drift=-0.01, drift_p=0.4)
    )
    assert profile.save(tmp_path / "a.parquet") == tmp_path / "a.parquet"
    again = Profile.load(tmp_path / "a.parquet")
    assert again == profile and again.notes == ("a note", "another")
    assert again != Profile(two_models()) and again.records["flags"].iloc[-1] == ("x", "y")
    again.save(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert repr(again).startswith("Profile(gla:nano, transformer-pp:nano, c; ")


finite = st.floats(-1e30, 1e30).filter(lambda number: number == 0 or abs(number) >= 1e-30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    numbers=st.lists(finite, min_size=3, max_size=3),
    note=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    n=st.integers(1, 10**6),
)
def test_every_number_and_note_survives(tmp_path: Path, numbers: list[float], note: str, n: int) -> None:
    low, middle, high = sorted(numbers)
    profile = Profile([value("ttft_ms", "prefill", middle, low=low, high=high, n=n, note=note)])
    profile.save(tmp_path / "a.parquet")
    assert Profile.load(tmp_path / "a.parquet") == profile


def test_a_file_is_written_whole_or_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        a_profile().save(tmp_path / "file" / "a.parquet")
    with pytest.raises(TrilemmaError, match=r"does not end in \.parquet"):
        a_profile().save(tmp_path / "a.json")
    with pytest.raises(TrilemmaError, match=r"does not end in \.html"):
        a_profile().report(tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def write(path: Path, table: pa.Table, **metadata: str) -> Path:
    marks = {"trilemma_schema": "2", "trilemma_notes": "[]"} | metadata
    pq.write_table(table.replace_schema_metadata({k: v for k, v in marks.items() if v}), path)
    return path


@pytest.mark.parametrize("version", ["", "1", "3", "two", "2.0"])
def test_another_version_is_refused_with_what_to_run(tmp_path: Path, version: str) -> None:
    path = write(tmp_path / "a.parquet", records_table(two_models()), trilemma_schema=version)
    with pytest.raises(
        DataError, match=r"another version of trilemma; run `trilemma profile MODEL\.\.\. --out"
    ):
        Profile.load(path)


def test_a_profile_of_an_earlier_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('\n{"version": 1, "models": []}')
    with pytest.raises(DataError, match=r"is JSON, as profiles of earlier versions .* run `trilemma profile"):
        Profile.load(tmp_path / "a.json")


def test_another_table_is_named_with_the_command_for_it(tmp_path: Path) -> None:
    items, records = tmp_path / "items.parquet", tmp_path / "records.parquet"
    write_table(ITEMS.empty_table(), items)
    write_table(RECORDS.empty_table(), records)
    old = write(tmp_path / "old.parquet", RECORDS.empty_table(), trilemma_schema="", trilemma_notes="")
    other = write(tmp_path / "other.parquet", pa.table({"a": [1]}), trilemma_notes="")
    for path, expected in (
        (items, f"is a table of a study; name its run folder, for example in `trilemma show {tmp_path}`"),
        (records, "is a table of a study; name its run folder"),
        (old, "written by another version of trilemma; run `trilemma run STUDY` again"),
        (other, "is of another kind; name a Parquet file that"),
    ):
        for read in (Profile.load, load_file, *([Result.load] if path != other else [])):
            with pytest.raises(TrilemmaError) as refused:
                read(path)
            assert expected in str(refused.value)
    for path in (other, Path(__file__)):
        with pytest.raises(TrilemmaError, match="is a file, not a run folder"):
            Result.load(path)
    with pytest.raises(TrilemmaError, match="is a profile or forecast; print it by `trilemma show"):
        Result.load(a_profile().save(tmp_path / "profile.parquet"))


def test_a_strangers_notes_are_not_believed(tmp_path: Path) -> None:
    for notes in ("[", "{}", '[1, "kept", null]', "[" * 100_000):
        path = write(tmp_path / "a.parquet", records_table(two_models()), trilemma_notes=notes)
        assert Profile.load(path).notes == (("kept",) if "kept" in notes else ())


def row(**columns: object) -> pa.Table:
    """One good row, changed so that a record could not be."""
    good = {name: getattr(value("ttft_ms", "prefill", 2.0), name) for name in RECORDS.names}
    return pa.Table.from_pylist(
        [good, good | {"metric": "tpot_ms", "phase": "decode"} | columns], schema=RECORDS
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (row().drop_columns(["phase"]), "lacks the columns phase"),
        (row().set_column(1, "model", pa.array([1, 2])).rename_columns(RECORDS.names), ""),
        (row().set_column(21, "value", pa.array(["a", "b"])).rename_columns(RECORDS.names), "is damaged"),
        (row(axis="P"), "row 2 is not of axis E"),
        (row(model=None), "names no model"),
        (row(metric=""), "names no model or no metric"),
        (row(phase="rest"), "unknown phase"),
        (row(basis="guessed"), "unknown basis"),
        (row(status="fine"), "unknown status"),
        (row(verdict="fine"), "unknown verdict"),
        (row(value=float("nan")), "both a value and a reason"),
        (row(value=float("inf"), high=float("inf")), "a number that no machine gives"),
        (row(value=1e308, low=None, high=None), "a number that no machine gives"),
        (row(value=5e-324, low=0.0), "a number that no machine gives"),
        (row(value=None, low=None, high=None), "both a value and a reason"),
        (row(reason="out of memory"), "both a value and a reason"),
        (row(value=None, status="failed", reason="x"), "an interval with one end, or without a value"),
        (row(low=None), "an interval with one end"),
        (row(value=9.0), "a value outside its interval"),
        (row(confidence=1.5), "not a share"),
        (row(drift_p=-0.1), "not a share"),
        (row(batch=0), "no machine serves"),
        (row(length=2**62), "no machine serves"),
        (row(decode=-1), "no machine serves"),
        (row(n=0), "less than one repetition"),
        (row(parameters=-1), "less than one repetition or parameter"),
        (row(metric="ttft_ms", phase="prefill"), "a second value of one metric"),
        (row(note="x" * 20_000), "column note holds a text that is too long"),
        (row(flags=["x" * 20_000]), "column flags holds a text that is too long"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, table: pa.Table, expected: str) -> None:
    path = write(tmp_path / "a.parquet", table)
    if not expected:  # numbers for names are read as texts
        assert list(Profile.load(path).records["model"]) == ["1", "2"]
        return
    with pytest.raises(DataError) as refused:
        Profile.load(path)
    message = str(refused.value)
    assert str(path) in message and expected in message
    assert "\n" not in message and len(message) < 700


def test_what_is_not_a_profile_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "half").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    names = [tmp_path, *(tmp_path / name for name in ("absent", "pipe", "binary", "empty", "half"))]
    for path in (*names, Path("x" * 5000)):
        with pytest.raises(DataError, match="name a Parquet file that") as refused:
            Profile.load(path)
        assert "\n" not in str(refused.value)


def test_a_file_that_is_larger_than_any_profile_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.parquet").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(DataError, match="larger than any profile"):
        Profile.load(tmp_path / "large.parquet")
    write(tmp_path / "many.parquet", pa.table({"a": pa.nulls(1_000_001, pa.int8())}))
    with pytest.raises(DataError, match="holds more than any profile"):
        Profile.load(tmp_path / "many.parquet")


@pytest.mark.parametrize("column", ["note", "flags"])
def test_a_small_file_that_would_fill_the_memory_is_refused(tmp_path: Path, column: str) -> None:
    rows = 200_000
    table = records_table([value("ttft_ms", "prefill", 1.0)]).take(pa.array([0] * rows))
    texts: Any = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 1_000_000]))
    if column == "flags":
        texts = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), texts)
    path = write(
        tmp_path / "bomb.parquet", table.set_column(table.schema.get_field_index(column), column, texts)
    )
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match=f"column {column} holds a text that is too long"):
        Profile.load(path)


def test_the_table_has_a_row_per_point_and_a_column_per_metric_and_phase() -> None:
    table = a_profile().table()
    assert len(table) == 2 * 3
    first = table[(table["model"] == "gla:nano") & (table["length"] == 128)].iloc[0]
    assert first["ttft_ms@prefill"] == pytest.approx(41.0)
    assert (first["ttft_ms@prefill_low"], first["ttft_ms@prefill_high"]) == pytest.approx((36.9, 45.1))
    assert first["weight_bytes"] == 3.3e7 and first["decode"] == 4
    assert "latency_p95_ms@generate" not in table  # of which nothing was measured


def test_estimates_stand_beside_what_was_measured() -> None:
    both = [
        value("energy_j_per_example", "generate", 1.0, basis=basis) for basis in ("measured", "estimated")
    ]
    table = Profile(both).table()  # type: ignore[arg-type]
    assert {"energy_j_per_example@generate", "energy_j_per_example@generate estimate"} <= set(table)


def test_json_holds_everything(tmp_path: Path) -> None:
    content = json.loads(a_profile().to_json())
    assert content["notes"] == ["a note", "another"] and len(content["records"]) == len(two_models()) + 1
    assert content["records"][-1]["reason"] == "out of memory" and content["records"][-1]["value"] is None


def test_crossovers_name_the_models_with_what_tells_their_forms_apart() -> None:
    forms = [replace(one, precision=name) for name in ("float32", "int8") for one in two_models()]
    races = Profile(forms).crossovers()
    assert ("gla:nano float32", "gla:nano int8") in {race.models for race in races}
    assert {str(race) for race in races if race.models == ("gla:nano float32", "gla:nano int8")} == {
        "not told apart"
    }


EVIL = "</script><img src=x onerror=pwned=1>\x1b[2Jevil"


def shown(profile: Profile) -> str:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    profile.show(console)
    return console.export_text()


def test_names_in_a_file_cannot_steer_a_terminal_or_a_page(tmp_path: Path) -> None:
    evil = [replace(one, model=EVIL, kernel=EVIL, hardware=EVIL, machine=EVIL) for one in two_models()[:30]]
    Profile(evil, [EVIL]).save(tmp_path / "a.parquet")
    profile = Profile.load(tmp_path / "a.parquet")
    text = shown(profile)
    assert "\x1b" not in text and "evil" in text
    for page in (profile._repr_html_(), profile.report(tmp_path / "a.html").read_text("utf-8")):
        assert "img" not in {tag for tag, _ in Page(page).tags}


def test_a_notebook_shows_the_tables() -> None:
    html = a_profile()._repr_html_()
    assert "<table" in html and "TTFT" in html and "41.0 ms" in html


def run_without(library: str, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nassert {library!r} not in sys.modules"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_saved_profile_is_shown_without_torch(tmp_path: Path) -> None:
    path = a_profile().save(tmp_path / "a.parquet")
    load = f"import trilemma as tl\nfound = tl.Profile.load({str(path)!r})\n"
    run_without("torch", load + f"found.show()\nfound.report({str(tmp_path / 'a.html')!r})")
