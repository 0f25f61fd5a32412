"""A profile, and a sweep over frequencies, as HTML pages."""

import html
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import altair as alt
import pytest

from tests.profiling.test_exchange import a_profile
from tests.report.test_html import Page, data_of
from trilemma.analysis.metrics import format_value
from trilemma.cli.profile_page import SweptPlace, multiplied, write_frequency_page, write_profile_page
from trilemma.clocks.choose import Place, Setting
from trilemma.errors import StoreError
from trilemma.hardware.roofline import Roofline
from trilemma.profiling.exchange import ModelProfile, PointProfile, Profile, Value
from trilemma.profiling.measurements import work
from trilemma.report.charts.encoding import short

EVIL = "</script><script>window.pwned=1</script><img src=x onerror=pwned=1>${title}\u2028&amp;"
TIMED = {
    "ttft_ms": ("ms", 10.25),
    "tpot_ms": ("ms", 1.5),
    "decode_tokens_per_s": ("tokens/s", 1334.0),
    "batch_latency_ms": ("ms", 14.75),
    "throughput_tokens_per_s": ("tokens/s", 4881.0),
    "peak_memory_bytes": ("bytes", 7.1e7),
    "prefill_energy_j_per_token": ("J", 0.012),
    "prefill_roofline_share": ("fraction", 0.32),
    "decode_roofline_share": ("fraction", 0.43),
}
COUNTED = {
    "weight_bytes": ("bytes", 3.3e7),
    "state_bytes": ("bytes", 6.5e6),
    "activation_bytes": ("bytes", 3.15e7),
    "prefill_flops": ("FLOPs", 8e8),
    "prefill_bytes": ("bytes", 4e7),
    "decode_flops": ("FLOPs", 3e8),
    "decode_bytes": ("bytes", 9e7),
}
DRAWN = (*list(TIMED)[:7], "state_bytes", "activation_bytes")
"""What the chart over lengths shows; the others are in the other charts, or in tables alone."""


def values(factor: float, leave_out: tuple[str, ...] = ()) -> dict[str, Value]:
    """Every metric of inference, with numbers of its own."""
    note = "bound by memory; above 1: caches"
    found = {
        name: Value(
            value=factor * x,
            unit=unit,
            low=0.9 * factor * x,
            high=1.1 * factor * x,
            n=8,
            verdict="noisy",
            note=note,
        )
        for name, (unit, x) in TIMED.items()
    }
    found |= {name: Value(value=factor * x, unit=unit) for name, (unit, x) in COUNTED.items()}
    return {name: value for name, value in found.items() if name not in leave_out}


def model(name: str, factor: float, arch: str = "gla", causal: bool = True) -> ModelProfile:
    generated = (
        "ttft_ms",
        "tpot_ms",
        "state_bytes",
        *(name for name in (*TIMED, *COUNTED) if "decode" in name),
    )
    left_out = () if causal else generated
    points = tuple(
        PointProfile(
            phase="inference",
            batch=2,
            length=length,
            decode=4 * causal,
            values=values(factor * length / 32, left_out),
        )
        for length in (32, 64)
    )
    return (
        a_profile()
        .models[0]
        .model_copy(update={"name": name, "arch": arch, "causal": causal, "points": points})
    )


def written(profile: Profile, folder: Path) -> str:
    write_profile_page(profile, folder / "p.html")
    return (folder / "p.html").read_text("utf-8")


def drawn_in(page: str) -> list[str | None]:
    """The charts that the page has a place for."""
    return [attributes["data-figure"] for _, attributes in Page(page).tags if "data-figure" in attributes]


def rows_of(page: str, figure: str, *key: str) -> list[dict[str, Any]]:
    for *own, spec in data_of(page)["figures"][figure]["variants"]:
        if tuple(own) == key:
            return spec["datasets"]["rows"]
    raise AssertionError(f"no variant {key}")


def test_every_number_reaches_the_page(tmp_path: Path) -> None:
    profile = a_profile(models=(model("one", 1.0), model("two", 1.017), model("three", 1.03, causal=False)))
    page = written(profile, tmp_path)
    drawn = {
        row[end]
        for *_, spec in data_of(page)["figures"]["length"]["variants"]
        for row in spec["datasets"]["rows"]
        for end in ("y", "y_low", "y_high")
    }
    for point in (point for model in profile.models for point in model.points):
        for name, value in point.values.items():
            assert html.escape(format_value(value.value, value.unit)) in page
            if name in DRAWN and value.value is not None:
                assert short(value.value) in drawn, name
                assert value.low is None or {short(value.low), short(value.high)} <= drawn
    assert drawn_in(page) == list(data_of(page)["figures"]) == ["length", "phases", "roofline"]
    assert "comparison" not in Page(page).scripts[2]


def test_phases_and_roofline_are_those_of_the_profile(tmp_path: Path) -> None:
    rates = Roofline(machine="m", bandwidth=4e10, flops={"float32": 1e11, "int8": 3e11})
    models = (model("one", 1.0), model("two", 1.0, arch="hgrn_bit"), model("three", 1.0, causal=False))
    page = written(a_profile(models=models, roofline=rates), tmp_path)
    prefill, decoding = (
        r for r in rows_of(page, "phases", "2") if (r["candidate"], r["length"]) == ("one", 32)
    )
    assert (prefill["start"], prefill["end"], decoding["end"]) == (0, 10.25, 10.25 + 3 * 1.5)
    assert decoding["tokens"] == "3 further tokens" and decoding["n"] == 8
    steps = rows_of(page, "roofline", "a decoding step")
    mark = next(row for row in steps if row.get("candidate") == "one" and "length 32" in row["point"])
    assert mark["x"] == short(3e8 / 9e7) and mark["y"] == short(1e8 / 1.5e-3)
    assert (mark["share"], mark["limit"]) == ("43.0%", "memory")
    assert {row["roof"] for row in steps if "roof" in row} == {"products in float32", "products in int8"}
    classified = [
        row["candidate"] for row in rows_of(page, "roofline", "a classified batch") if "point" in row
    ]
    assert classified == ["three", "three"]


@pytest.mark.parametrize("arch", ["gla", "hgrn_bit"])
@pytest.mark.parametrize("dtype", ["float32", "int8", "packed"])
def test_the_roof_is_that_under_which_the_profile_was_measured(arch: str, dtype: str) -> None:
    one = a_profile().models[0].model_copy(update={"arch": arch, "dtype": dtype})
    assert multiplied(one) == work.multiplied(SimpleNamespace(model_type=arch), dtype)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile = model(EVIL, 1.0).model_copy(update={"kernel": EVIL, "source": EVIL})
    pages = [written(a_profile(models=(hostile,), notes=(EVIL,), hardware=EVIL, versions=EVIL), tmp_path)]
    place = SweptPlace({EVIL: [Setting(800, 1, 2)]}, {EVIL: Setting(800, 1, 2)}, [EVIL])
    write_frequency_page(EVIL, [EVIL], {Place(EVIL, 1, 8): place}, tmp_path / "f.html")
    pages.append((tmp_path / "f.html").read_text("utf-8"))
    for page in pages:
        parsed = Page(page)
        assert len(parsed.scripts) == 3
        assert "img" not in {tag for tag, _ in parsed.tags}
        raw = page[page.index('id="data">') + len('id="data">') :]
        assert "<" not in raw[: raw.index("</script>")]
        assert data_of(page)["figures"]


def test_nothing_measured_is_still_a_page(tmp_path: Path) -> None:
    absent = {
        name: Value(value=None, unit="ms", note="not measured: too slow") for name in ("ttft_ms", "tpot_ms")
    }
    point = PointProfile(phase="inference", batch=1, length=8, decode=4, values=absent)
    nothing = a_profile().models[0].model_copy(update={"points": (point,)})
    page = written(a_profile(models=(nothing,)), tmp_path)
    assert data_of(page)["figures"] == {}
    assert "gla:nano" in page and not drawn_in(page)
    page = written(a_profile(models=()), tmp_path)
    assert "Profile of 0 models" in page and 'id="numbers"' not in page
    write_frequency_page("Clocks", [], {}, tmp_path / "f.html")
    assert not drawn_in((tmp_path / "f.html").read_text("utf-8"))
    with pytest.raises(StoreError, match="cannot write"):
        write_profile_page(a_profile(), tmp_path / "absent" / "p.html")


def sweep(estimate: bool = False) -> list[Setting]:
    """Of these 2000, 1600 and 1200 MHz are the front."""
    taken = {2000: (1.0, 9.0), 1800: (1.2, 9.5), 1600: (1.4, 6.0), 1400: (1.4, 7.0), 1200: (2.0, 5.0)}
    return [Setting(mhz, *one, estimate) for mhz, one in taken.items()] + [Setting(800, 3.0, 5.0, estimate)]


def test_the_front_and_the_choice_are_marked(tmp_path: Path) -> None:
    phases = {"prefill": sweep(), "decode": sweep(estimate=True)}
    places = {
        Place("gla", 1, 64): SweptPlace(phases, {"prefill": sweep()[2]}, ["prefill at 1600 MHz"]),
        Place("gla", 4, 64): SweptPlace({"prefill": []}, {}, []),
    }
    write_frequency_page("Clocks", ["a processor"], places, tmp_path / "f.html")
    page = (tmp_path / "f.html").read_text("utf-8")
    rows = rows_of(page, "frequency", "gla", "1", "64", "prefill")
    assert {row["frequency"] for row in rows if row["front"]} == {"2000 MHz", "1600 MHz", "1200 MHz"}
    assert [row["frequency"] for row in rows if row["candidate"] == "chosen"] == ["1600 MHz"]
    assert {(row["x"], row["y"]) for row in rows} == {(1e3 * one.seconds, one.joules) for one in sweep()}
    specs = {key: spec for *_, key, spec in data_of(page)["figures"]["frequency"]["variants"]}
    assert list(specs) == ["prefill", "decode"]
    titles = {key: spec["layer"][0]["encoding"]["y"]["title"] for key, spec in specs.items()}
    assert titles["prefill"].startswith("energy of prefill (J)")
    assert titles["decode"].startswith("energy, estimate, of decode (J)")
    for spec in specs.values():
        alt.Chart.from_dict(spec, validate=True)
    assert "prefill at 1600 MHz" in page and "gla, batch 1, length 64" in page
    assert "batch 4" not in page


def test_labels_do_not_cover_each_other(tmp_path: Path) -> None:
    crowd = [Setting(1000.0 + i, 1.0 + i / 1e5, 1.0 - i / 1e5) for i in range(12)]
    alone = Setting(500, 2.0, 3.0)
    place = SweptPlace({"prefill": [*crowd, alone]}, {"prefill": crowd[7]}, [])
    write_frequency_page("Clocks", [], {Place("gla", 1, 64): place}, tmp_path / "f.html")
    rows = rows_of((tmp_path / "f.html").read_text("utf-8"), "frequency", "gla", "1", "64", "prefill")
    sides = {row["frequency"]: row["side"] for row in rows}
    assert sides["1007 MHz"] and sides["500 MHz"]
    crowded = [side for name, side in sides.items() if side and name != "500 MHz"]
    assert len(crowded) == len(set(crowded)) < 12


def test_a_page_needs_no_torch() -> None:
    code = "import sys, trilemma.cli.profile_page\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
