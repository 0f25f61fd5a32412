"""``trilemma profile`` on the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.profiling.test_exchange import a_profile
from trilemma.cli import profile, profile_tables
from trilemma.errors import TrilemmaError
from trilemma.profiling.exchange import ModelProfile, PointProfile, Profile, Value, read, write


def trilemma(*arguments: str | Path, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {"XDG_CACHE_HOME": str(cache)} if cache else {}
    command = [sys.executable, "-m", "trilemma", "profile", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A profile that was measured and saved, and what was printed."""
    folder = tmp_path_factory.mktemp("profile")
    options = ["--batch", "1", "--length", "8", "--decode", "4", "--rounds", "6", "--seconds", "0.05"]
    options += ["--training", "--device", "cpu"]
    done = trilemma("gla:nano", *options, "--out", folder / "p.json", cache=folder / "cache")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_profile_is_printed_and_saved(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = first
    profile = read(folder / "p.json")
    (model,) = profile.models
    assert [(p.phase, p.batch, p.length, p.decode) for p in model.points] == [
        ("inference", 1, 8, 4),
        ("training", 1, 8, 0),
    ]
    for title in (
        "Time, with 4 tokens decoded",
        "Memory",
        "Work",
        "Training: time of a step",
        "TTFT",
        "TPOT",
    ):
        assert title in done.stdout
    assert f"profile: {folder / 'p.json'}" in done.stdout and "roofline: memory" in done.stdout
    assert done.stderr == ""
    (cached,) = (folder / "cache" / "trilemma").iterdir()
    assert json.loads(cached.read_text("utf-8"))["roofline"]["flops"]["float32"] > 0


def test_a_saved_profile_becomes_a_page(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = first
    done = trilemma("--from", folder / "p.json", "--report", folder / "p.html")
    assert done.returncode == 0 and f"report: {folder / 'p.html'}" in done.stdout
    page = (folder / "p.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and "Profile of gla:nano" in page


def test_a_saved_profile_is_shown_as_it_was(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = first
    again = trilemma("--from", folder / "p.json")
    assert again.returncode == 0, again.stderr
    assert done.stdout == again.stdout + f"profile: {folder / 'p.json'}\n"


def test_showing_a_saved_profile_needs_no_torch(tmp_path: Path) -> None:
    write(a_profile(), tmp_path / "p.json")
    code = (
        "import sys\nfrom trilemma.cli.main import app\n"
        f"app(['profile', '--from', {str(tmp_path / 'p.json')!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_says_what_is_measured() -> None:
    done = trilemma("--help")
    assert done.returncode == 0
    for word in ("TTFT", "roofline", "gla:small", "--training", "--from", "--time-limit", "packed"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "name a model to profile"),
        (("gla:nano", "--batch", "1,x"), "--batch '1,x' is no list of whole numbers"),
        (("gla:nano", "--batch", ""), "--batch '' is no list of whole numbers"),
        (("gla:nano", "--batch", "1.5"), "is no list of whole numbers"),
        (("gla:nano", "--length", "8,-4"), "--length '8,-4' holds a number below 1"),
        (("gla:nano", "--length", "0"), "below 1"),
        (("gla:nano", "--length", "9999999999"), "no machine serves"),
        (("gla:nano", "--length", "99999999"), "--length 99999999"),
        (("gla:nano", "--decode", "1"), "--decode 1: one token shows no time per further token"),
        (("gla:nano", "--decode=-3"), "--decode -3"),
        (("gla:nano", "--rounds", "2"), "--rounds 2"),
        (("gla:nano", "--seconds", "0"), "--seconds 0"),
        (("gla:nano", "--time-limit=-1"), "--time-limit -1"),
        (("gla:nano", "--dtype", "float8"), "unknown dtype 'float8'"),
        (("gla:nano", "--dtype", "float32,"), "no list of different names"),
        (
            ("gla:nano", "--out", "absent/p.json"),
            "--out absent/p.json is no .json file in a folder that exists",
        ),
        (("gla:nano", "--out", "p.txt"), "is no .json file"),
        (("gla:nano", "--report", "p.txt"), "--report p.txt is no .html file"),
        (("gla:nano", "--watts", "nan"), "--watts nan"),
        (("gla:nano", "--watts=-3"), "--watts -3"),
        (("gla:nano", "--watts", "l5"), "l5"),
        (("gla:nano", "--from", "p.json"), "leave out the models"),
        (("--from", "absent.json"), "absent.json is no file"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], expected: str) -> None:
    done = trilemma(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("trilemma: ") and done.stderr.count("\n") == 1
    assert expected in done.stderr


def test_bad_models_are_one_sentence(tmp_path: Path) -> None:
    for arguments, expected in (
        (("./absent",), "does not exist"),
        (("gla:nano", "--dtype", "packed"), "has no ternary weights"),
        (("gla:nano", "--device", "cuda:9"), "there is no device 'cuda:9'"),
    ):
        done = trilemma(*arguments, cache=tmp_path)
        assert done.returncode == 2 and expected in done.stderr and done.stderr.count("\n") == 1


def point(phase: str, **values: Value) -> PointProfile:
    return PointProfile.model_validate(
        {"phase": phase, "batch": 1, "length": 8, "decode": 4, "adaptation": "", "values": values}
    )


def with_points(*points: PointProfile) -> Profile:
    profile = a_profile()
    model = profile.models[0].model_copy(update={"points": points})
    return profile.model_copy(update={"models": (model,)})


def timed(verdict: str) -> Value:
    return Value.model_validate(
        {"value": 2.0, "unit": "ms", "low": 1.0, "high": 3.0, "n": 9, "verdict": verdict}
    )


def test_verdicts_and_reasons_are_marked_and_explained() -> None:
    lacking = Value(value=None, unit="ms", note="not measured: out of memory")
    profile = with_points(
        point("inference", ttft_ms=timed("noisy"), tpot_ms=timed("drifting"), batch_latency_ms=lacking),
        point(
            "inference", ttft_ms=timed("steady"), tpot_ms=timed("undecided"), batch_latency_ms=timed("steady")
        ),
    )
    (sheet,) = profile_tables.sheets(profile)
    assert sheet.header == ("model", "batch", "length", "TTFT", "TPOT", "batch latency")
    first, second = sheet.rows
    assert first[3].endswith("] ~") and first[4].endswith("] !") and first[5] == "–¹"
    assert second[3].endswith("]") and second[4].endswith("] ?")
    assert sheet.notes[0] == "¹ not measured: out of memory"
    assert [note[0] for note in sheet.notes[1:]] == ["~", "!", "?"]


def test_columns_without_any_value_are_one_line() -> None:
    lacking = Value(value=None, unit="ms", note="not measured: not a generative model")
    profile = with_points(
        point("inference", ttft_ms=lacking, tpot_ms=lacking, batch_latency_ms=timed("steady"))
    )
    (sheet,) = profile_tables.sheets(profile)
    assert sheet.header == ("model", "batch", "length", "batch latency")
    assert sheet.notes == ("TTFT, TPOT: not measured: not a generative model",)


def test_a_table_of_which_nothing_was_measured_says_why() -> None:
    lacking = Value(value=None, unit="ms", note="not measured: out of memory")
    (sheet,) = profile_tables.sheets(with_points(point("inference", ttft_ms=lacking, tpot_ms=lacking)))
    assert sheet.title.startswith("Time") and sheet.header == ("model", "batch", "length")
    assert sheet.notes == ("TTFT, TPOT: not measured: out of memory",)


def test_names_in_a_file_cannot_steer_a_terminal(tmp_path: Path) -> None:
    model = a_profile().models[0]
    evil = ModelProfile.model_validate({**model.model_dump(), "name": "\x1b[2Jevil", "kernel": "\x1b]0;x"})
    write(a_profile(models=(evil,), notes=("\x1b[31m",)), tmp_path / "p.json")
    done = trilemma("--from", tmp_path / "p.json")
    assert done.returncode == 0 and "\x1b" not in done.stdout and "evil" in done.stdout


def test_watts_are_a_number_or_a_machine_of_the_catalogue() -> None:
    assert profile.watts_of("65.5") == 65.5 and profile.watts_of("l4") == 72
    with pytest.raises(TrilemmaError, match="l5"):
        profile.watts_of("l5")


def test_lists_keep_their_order() -> None:
    assert profile.counts("batch", "16, 1,4") == [16, 1, 4]
    assert profile.listed("dtype", "int8, float32") == ["int8", "float32"]
    with pytest.raises(TrilemmaError):
        profile.listed("dtype", "int8,int8")
