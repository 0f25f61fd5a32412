"""Profiles as files: what is written is read back, and nothing else is."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trilemma.errors import DataError, StoreError
from trilemma.hardware.roofline import Roofline
from trilemma.profiling import exchange
from trilemma.profiling.exchange import ModelProfile, PointProfile, Profile, Value, read, write
from trilemma.profiling.grid import EfficiencyGrid


def a_profile(*values: Value, **changes: Any) -> Profile:
    """A profile of one model at one point."""
    timed = Value(
        value=1.5,
        unit="ms",
        low=1.25,
        high=2.0,
        n=7,
        verdict="noisy",
        drift=-0.01,
        drift_p=0.4,
        note="a note",
    )
    absent = Value(value=None, unit="bytes", note="not measured: out of memory")
    named = {"ttft_ms": timed, "state_bytes": absent} | {f"own_{i}": value for i, value in enumerate(values)}
    point = PointProfile(phase="inference", batch=2, length=32, decode=4, values=named)
    model = ModelProfile(
        name="gla:nano",
        source="gla:nano",
        arch="gla",
        dtype="float32",
        kernel="native",
        causal=True,
        parameters=300_000,
        max_length=None,
        points=(point,),
    )
    fields = {
        "device": "cpu",
        "hardware": "a processor, 2 cores",
        "versions": "trilemma 0",
        "grid": EfficiencyGrid(batch=[2], length=[32], decode=4),
        "roofline": Roofline(machine="a processor", bandwidth=4e10, flops={"float32": 1e11}),
        "notes": ("one",),
        "models": (model,),
    }
    return Profile(**(fields | changes))


@pytest.mark.parametrize(
    "change", [{"value": 1e308, "high": None, "low": None}, {"value": 5e-324, "low": 0.0}, {"n": 10**30}]
)
def test_a_number_that_no_machine_gives_is_damage(tmp_path: Path, change: dict[str, Any]) -> None:
    write(a_profile(), tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text("utf-8"))
    content["models"][0]["points"][0]["values"]["ttft_ms"] |= change
    (tmp_path / "a.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(DataError, match="is damaged"):
        read(tmp_path / "a.json")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    profile = a_profile()
    write(profile, tmp_path / "a.json")
    assert read(tmp_path / "a.json") == profile
    write(read(tmp_path / "a.json"), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


finite = st.floats(-1e30, 1e30).filter(lambda number: number == 0 or abs(number) >= 1e-30)
texts = st.text(max_size=40).filter(lambda text: not text.startswith(exchange.ABSENT))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(finite, min_size=3, max_size=3), note=texts, n=st.integers(1, 10**6))
def test_every_number_and_note_survives(tmp_path: Path, numbers: list[float], note: str, n: int) -> None:
    low, value, high = sorted(numbers)
    profile = a_profile(Value(value=value, unit="ms", low=low, high=high, n=n, note=note))
    write(profile, tmp_path / "a.json")
    assert read(tmp_path / "a.json") == profile


def test_a_file_is_written_whole_or_not(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        write(a_profile(), tmp_path / "absent" / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_the_version_stands_in_the_file(tmp_path: Path) -> None:
    write(a_profile(), tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["version"] == exchange.VERSION


def edited(change: Callable[[Any], object]) -> str:
    content = json.loads(a_profile().model_dump_json())
    change(content)
    return json.dumps(content)


def value_of(content: Any) -> Any:
    return content["models"][0]["points"][0]["values"]["ttft_ms"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 200_000, "no JSON"),
        ("null", "no profile"),
        ("[1]", "no profile"),
        ('{"a": 1}', "no profile"),
        (edited(lambda c: c.pop("version")), "version None"),
        (edited(lambda c: c.update(version=2)), "version 2, this program reads version 1"),
        (edited(lambda c: c.update(version="x" * 10_000)), "version xxxxxxxxxxxxxxxxxxxx,"),
        (edited(lambda c: c.update(extra=1)), "extra"),
        (edited(lambda c: c.pop("device")), "device"),
        (edited(lambda c: c.update(models={})), "models"),
        (edited(lambda c: c["models"].append(c["models"][0])), "same name"),
        (edited(lambda c: c["models"][0].update(dtype="float8")), "dtype"),
        (edited(lambda c: c["models"][0]["points"][0].update(batch=0)), "batch"),
        (edited(lambda c: c["models"][0]["points"][0].update(batch="2")), "batch"),
        (edited(lambda c: c["roofline"].update(bandwidth=0)), "bandwidth"),
        (edited(lambda c: c["grid"].update(decode=1)), "grid"),
        (edited(lambda c: value_of(c).update(value=float("nan"))), "value"),
        (edited(lambda c: value_of(c).update(value=float("inf"))), "value"),
        (edited(lambda c: value_of(c).update(value=9.0)), "outside its interval"),
        (edited(lambda c: value_of(c).update(value=None)), "not both"),
        (edited(lambda c: value_of(c).update(note="not measured: x")), "not both"),
        (edited(lambda c: value_of(c).update(low=None)), "two ends"),
        (edited(lambda c: value_of(c).update(drift_p=2.0)), "drift_p"),
        (edited(lambda c: value_of(c).update(verdict="fine")), "verdict"),
        (edited(lambda c: value_of(c).update(note="x" * 5000)), "note"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError) as refused:
        read(path)
    message = str(refused.value)
    assert str(path) in message and expected in message
    assert "\n" not in message and len(message) < 700


def test_what_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe", Path("x" * 5000)):
        with pytest.raises(DataError, match="name"):
            read(path)
    with pytest.raises(DataError, match="no JSON"):
        read(tmp_path / "binary")


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(a_profile(), tmp_path / "a.json")
    monkeypatch.setattr(exchange, "LARGEST_FILE", 100)
    with pytest.raises(DataError, match="larger than any profile"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": None, "unit": "ms"},
        {"value": None, "unit": "ms", "note": "not measured: x", "low": 1.0, "high": 2.0},
        {"value": 1.0, "unit": "ms", "low": 1.0},
        {"value": 1.0, "unit": "ms", "n": 0},
    ],
)
def test_a_value_that_contradicts_itself_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Value(**wrong)
