"""Sweeps over clock frequencies as objects and files: saved, shown and chosen from again."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.stand_ins.profiles import two_models
from trilemma.clocks.choose import Bounds, Setting
from trilemma.clocks.sweep import Place
from trilemma.errors import DataError, TrilemmaError
from trilemma.operating_point import OperatingPoint
from trilemma.profile_result import Profile
from trilemma.statistics.intervals import Interval
from trilemma.sweep_result import SWEEP, ClockSweep, load_file

SHORT, LONG = (Place("gla:nano", OperatingPoint(1, length, 4), "int8") for length in (8, 64))


def settings(factor: float, estimate: bool = False) -> list[Setting]:
    spread = Interval(0.9 * factor, 1.1 * factor)
    return [Setting(800, 2 * factor, 1.0, estimate), Setting(1600, factor, 2 * factor, estimate, spread)]


def a_sweep() -> ClockSweep:
    places = {
        place: {"prefill": settings(factor), "decode": settings(2 * factor, True)}
        for place, factor in ((SHORT, 1.0), (LONG, 1.5))
    }
    return ClockSweep(places, ["a processor", "a remark"])


def test_a_sweep_comes_back(tmp_path: Path) -> None:
    path = a_sweep().save(tmp_path / "sweep.parquet")
    for found in (ClockSweep.load(path), load_file(path)):
        assert isinstance(found, ClockSweep)
        assert found.places == a_sweep().places and found.facts == a_sweep().facts
    with pytest.raises(TrilemmaError, match=r"does not end in \.parquet"):
        a_sweep().save(tmp_path / "sweep.json")


def test_a_profile_is_not_a_sweep(tmp_path: Path) -> None:
    path = Profile(two_models()).save(tmp_path / "profile.parquet")
    assert isinstance(load_file(path), Profile)
    with pytest.raises(DataError, match="is a profile or forecast; print it by"):
        ClockSweep.load(path)
    with pytest.raises(DataError, match="is a sweep over clock frequencies; print it by"):
        Profile.load(a_sweep().save(tmp_path / "sweep.parquet"))


def rows(**columns: object) -> list[dict[str, object]]:
    good: dict[str, object] = dict.fromkeys(SWEEP.names)
    good |= {"model": "m", "form": "", "phase": "prefill", "batch": 1, "length": 8, "decode": 4}
    good |= {"mhz": 800.0, "seconds": 1.0, "joules": 2.0, "estimate": False}
    return [good, good | {"mhz": 900.0} | columns]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"mhz": 800.0}, "two settings of one frequency"),
        ({"mhz": None}, "damaged"),
        ({"seconds": float("nan")}, "seconds of a setting is nan"),
        ({"joules": -1.0}, "joules of a setting is -1"),
        ({"batch": 0}, "batch and length are 1 to"),
        ({"length": None}, "cannot read the operating point"),
        ({"decode": -4}, "cannot read the operating point"),
        ({"model": "x" * 20_000}, "a text that is too long"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, columns: dict[str, object], expected: str) -> None:
    schema = SWEEP.with_metadata({b"trilemma_sweep": b"1"})
    pq.write_table(pa.Table.from_pylist(rows(**columns), schema=schema), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=expected) as refused:
        load_file(tmp_path / "a.parquet")
    assert "\n" not in str(refused.value)


def shown(found: ClockSweep, *arguments: object) -> str:
    console = Console(width=240, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    found.show(console, *arguments)  # type: ignore[arg-type]
    return console.export_text()


def test_what_is_shown_is_what_was_chosen() -> None:
    found = a_sweep()
    text = shown(found, found.choose(0.05, Bounds(ttft=3.0)))
    assert "gla:nano int8, batch 1, length 8, 4 tokens generated" in text and "a remark" in text
    assert "energy of the batch, estimate" in text and "1000 ms [900" in text
    assert "with TTFT at most 3000 ms: prefill at 800 MHz" in text
    assert "no frequency can be chosen" in shown(ClockSweep({}))


def test_bounds_are_met_at_every_place_or_not() -> None:
    choices = a_sweep().choose(0.05, Bounds(ttft=1.2))
    assert [choice.met for choice in choices.values()] == [True, False]


def test_queries_run_by_their_length_for_each_model_and_batch() -> None:
    queries = ["word " * count for count in (1, 2, 3, 30, 40, 50)]
    ((title, lines),) = a_sweep().by_query(queries).items()
    assert title == (
        "gla:nano int8, batch 1, queries by length, in words and marks, as the model has no tokenizer"
    )
    assert lines[0].startswith("from 0 to below 23 tokens (3 of 6 queries, as measured at 8): prefill at ")
    assert lines[1].startswith("from 23 tokens (3 of 6 queries, as measured at 64): ")
    (title,) = a_sweep().by_query(queries, 0.05, {"gla:nano": list})
    assert title.endswith("queries by length")


def test_a_notebook_shows_the_frequencies() -> None:
    assert "<table" in a_sweep()._repr_html_()
