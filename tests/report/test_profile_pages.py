"""A profile, a forecast and a sweep over frequencies as HTML pages."""

import html
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from tests.report.test_html import Page, data_of
from tests.stand_ins.profiles import COUNTED, LENGTHS, TIMED, lacking, two_models, value
from trilemma.clocks.choose import Bounds, Setting
from trilemma.clocks.sweep import Place
from trilemma.errors import StoreError
from trilemma.forecasting.forecasts import forecast
from trilemma.operating_point import OperatingPoint
from trilemma.profile_result import Profile
from trilemma.records import Record
from trilemma.report.charts.encoding import short
from trilemma.sweep_result import ClockSweep
from trilemma.units import format_value

EVIL = "</script><script>window.pwned=1</script><img src=x onerror=pwned=1>${title}\u2028&amp;"


def written(records: list[Record], folder: Path, *notes: str) -> str:
    return Profile(records, notes).report(folder / "p.html").read_text("utf-8")


def drawn_in(page: str) -> list[str | None]:
    """The charts that the page has a place for."""
    return [attributes["data-figure"] for _, attributes in Page(page).tags if "data-figure" in attributes]


def rows_of(page: str, figure: str, *key: str) -> list[dict[str, Any]]:
    for *own, spec in data_of(page)["figures"][figure]["variants"]:
        if tuple(own) == key:
            return spec["datasets"]["rows"]
    raise AssertionError(f"no variant {key}")


def test_every_number_reaches_the_page(tmp_path: Path) -> None:
    page = written(two_models(), tmp_path)
    for record in two_models():
        in_tables = (record.metric, record.phase) not in (
            *(("latency_ms", "decode"), ("roofline_ms", "prefill"), ("roofline_ms", "decode")),
            ("parameters", ""),
        )
        if in_tables and not record.metric.startswith("gross"):
            assert html.escape(format_value(record.value, record.unit)) in page, record.metric
    assert drawn_in(page) == list(data_of(page)["figures"]) == ["length", "phases", "roofline"]
    assert "Profile of gla:nano and transformer-pp:nano" in page


def test_phases_and_roofline_are_those_of_the_profile(tmp_path: Path) -> None:
    int8 = [
        replace(
            one, model="int8", note="products in int8" if one.metric == "machine_flops_per_s" else one.note
        )
        for one in two_models()
        if one.model == "gla:nano"
    ]
    classified = [
        value(metric, "classify", number, None if counted else 0.1, model="gla:nano", note=note)
        for metric, number, counted, note in (
            ("flops", 6e8, True, ""),
            ("bytes_moved", 3e7, True, ""),
            ("roofline_ms", 6.0, True, "bound by compute"),
            ("roofline_share", 0.5, False, ""),
        )
    ]
    page = written([*two_models(), *int8, *classified], tmp_path)
    prefill, decoding = (
        row for row in rows_of(page, "phases", "2") if (row["candidate"], row["length"]) == ("gla:nano", 32)
    )
    assert (prefill["start"], prefill["end"], decoding["end"]) == (0, 10.25, 14.75)
    assert decoding["tokens"] == "3 further tokens" and decoding["n"] == 8
    steps = rows_of(page, "roofline", "decoding")
    mark = next(row for row in steps if row.get("candidate") == "gla:nano" and "length 32" in row["point"])
    flops, moved = COUNTED["flops", "decode"], COUNTED["bytes_moved", "decode"]
    share, least = TIMED["roofline_share", "decode"], COUNTED["roofline_ms", "decode"]
    assert mark["x"] == short(flops / moved) and mark["y"] == short(share * 1e3 * flops / least)
    assert mark["y_low"] == short(0.9 * share * 1e3 * flops / least)
    assert (mark["share"], mark["limit"]) == ("43.0%", "bound by memory")
    assert mark["time"].startswith(format_value(least / share, "ms"))
    assert {row["roof"] for row in steps if "roof" in row} == {"products in float32", "products in int8"}
    batches = [row for row in rows_of(page, "roofline", "a classified batch") if "point" in row]
    (classify,) = (row for row in batches if row["candidate"] == "gla:nano")
    assert all(row["point"].startswith("prefill") for row in batches if row is not classify)
    assert classify["limit"] == "bound by compute" and classify["y"] == short(0.5 * 6e8 / 6e-3)


def test_points_without_known_work_have_no_mark(tmp_path: Path) -> None:
    partly = [one for one in two_models() if (one.metric, one.model) != ("flops", "gla:nano")]
    rows = rows_of(written(partly, tmp_path), "roofline", "prefill")
    assert {row["candidate"] for row in rows if "point" in row} == {"transformer-pp:nano"}
    without = [one for one in two_models() if one.metric != "machine_flops_per_s"]
    assert not [row for row in rows_of(written(without, tmp_path), "roofline", "prefill") if "roof" in row]


def test_forms_of_one_model_are_drawn_apart(tmp_path: Path) -> None:
    forms = [replace(one, precision=name) for name in ("float32", "int8") for one in two_models()]
    rows = rows_of(written(forms, tmp_path), "phases", "2")
    names = {
        f"{model} {precision}"
        for model in ("gla:nano", "transformer-pp:nano")
        for precision in ("float32", "int8")
    }
    assert {row["candidate"] for row in rows} == names and len(rows) == 2 * len(names) * len(LENGTHS)


def test_forecasts_are_drawn_by_machine_without_brackets_that_are_not_intervals(tmp_path: Path) -> None:
    points = [OperatingPoint(1, 128, 8), OperatingPoint(1, 256, 8)]
    page = written(forecast(["gla:nano"], ["l4", "h100-sxm"], points), tmp_path)
    assert "Forecast of gla:nano" in page and "bands are 95% intervals" not in page
    rows = rows_of(page, "phases", "1")
    assert {row["candidate"] for row in rows} == {"gla:nano on l4", "gla:nano on h100-sxm"}
    drawn = [
        row for *_, spec in data_of(page)["figures"]["length"]["variants"] for row in spec["datasets"]["rows"]
    ]
    assert drawn and all(row["y_low"] is None for row in drawn)


def sweep_of(*places: Place, settings: list[Setting] | None = None, phase: str = "prefill") -> ClockSweep:
    return ClockSweep({place: {phase: settings or sweep()} for place in places}, ["a processor"])


def sweep(estimate: bool = False) -> list[Setting]:
    """Of these 2000, 1600 and 1200 MHz are the front."""
    taken = {2000: (1.0, 9.0), 1800: (1.2, 9.5), 1600: (1.4, 6.0), 1400: (1.4, 7.0), 1200: (2.0, 5.0)}
    return [Setting(mhz, *one, estimate) for mhz, one in taken.items()] + [Setting(800, 3.0, 5.0, estimate)]


GLA = Place("gla", OperatingPoint(1, 64, 4))


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile = [replace(one, model=EVIL, kernel=EVIL, hardware=EVIL, versions=EVIL) for one in two_models()]
    # One form at each point, as a file must have it.
    seen = {(one.metric, one.phase, one.length): one for one in hostile}
    pages = [written(list(seen.values()), tmp_path, EVIL)]
    swept = ClockSweep({Place(EVIL, OperatingPoint(1, 8, 4)): {EVIL: [Setting(800, 1, 2)]}}, [EVIL])
    pages.append(swept.report(tmp_path / "f.html", queries={EVIL: [EVIL]}).read_text("utf-8"))
    for page in pages:
        parsed = Page(page)
        assert len(parsed.scripts) == 3
        assert "img" not in {tag for tag, _ in parsed.tags}
        raw = page[page.index('id="data">') + len('id="data">') :]
        assert "<" not in raw[: raw.index("</script>")]
        assert data_of(page)["figures"]


def test_nothing_measured_is_still_a_page(tmp_path: Path) -> None:
    page = written(
        [lacking("ttft_ms", "prefill", "too slow"), lacking("tpot_ms", "decode", "too slow")], tmp_path
    )
    assert data_of(page)["figures"] == {} and not drawn_in(page)
    assert "gla:nano" in page and "too slow" in page
    page = written([], tmp_path)
    assert "Profile of 0 models" in page and 'id="numbers"' not in page
    assert not drawn_in(ClockSweep({}).report(tmp_path / "f.html").read_text("utf-8"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        Profile(two_models()).report(tmp_path / "file" / "p.html")


def test_many_points_are_not_drawn(tmp_path: Path) -> None:
    many = [value("ttft_ms", "prefill", 1.0, length=length) for length in range(1, 402)]
    page = written(many, tmp_path)
    assert not drawn_in(page) and "401 batches and lengths are too many to draw" in page


def test_the_front_and_the_choice_are_marked(tmp_path: Path) -> None:
    estimates = [replace(one, seconds=one.seconds / 100) for one in sweep(estimate=True)]
    found = ClockSweep({GLA: {"prefill": sweep(), "decode": estimates}}, ["a processor"])
    choices = found.choose(0.0, Bounds(ttft=1.5))
    page = found.report(tmp_path / "f.html", choices).read_text("utf-8")
    rows = rows_of(page, "clocks", "gla", "1", "64", "prefill")
    assert {row["frequency"] for row in rows if row["front"]} == {"2000 MHz", "1600 MHz", "1200 MHz"}
    assert [row["frequency"] for row in rows if row["candidate"] == "chosen"] == ["1600 MHz"]
    assert {(row["x"], row["y"]) for row in rows} == {(1e3 * one.seconds, one.joules) for one in sweep()}
    specs = {key: spec for *_, key, spec in data_of(page)["figures"]["clocks"]["variants"]}
    assert list(specs) == ["prefill", "decode"]
    titles = {key: spec["layer"][0]["encoding"]["y"]["title"] for key, spec in specs.items()}
    assert titles["prefill"].startswith("energy of prefill (J)")
    assert titles["decode"].startswith("energy, estimate, of decode (J)")
    for spec in specs.values():
        alt.Chart.from_dict(spec, validate=True)
    assert "prefill at 1600 MHz" in page and "gla, batch 1, length 64, 4 tokens generated" in page


def test_labels_do_not_cover_each_other(tmp_path: Path) -> None:
    crowd = [Setting(1000.0 + i, 1.0 + i / 1e5, 1.0 - i / 1e5) for i in range(12)]
    found = sweep_of(GLA, settings=[*crowd, Setting(500, 2.0, 3.0)])
    page = found.report(tmp_path / "f.html", found.choose(0.0)).read_text("utf-8")
    sides = {row["frequency"]: row["side"] for row in rows_of(page, "clocks", "gla", "1", "64", "prefill")}
    assert sides["1011 MHz"] and sides["500 MHz"]
    crowded = [side for name, side in sides.items() if side and name != "500 MHz"]
    assert len(crowded) == len(set(crowded)) < 12
