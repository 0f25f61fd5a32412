"""``trilemma profile`` on the command line, and ``trilemma show`` of what it saved."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.stand_ins.profiles import two_models
from trilemma.cli.main import app
from trilemma.commands import asked_settings, profile_settings, read_settings, watts_of
from trilemma.errors import TrilemmaError
from trilemma.profile_result import Profile


def trilemma(*arguments: str | Path, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {"XDG_CACHE_HOME": str(cache)} if cache else {}
    command = [sys.executable, "-m", "trilemma", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


GRID = """\
models: [gla:nano]
device: cpu
efficiency:
  {batch: [1], length: [8], decode: 4, rounds: 6, seconds: 0.05, energy: false}
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A profile that was measured and saved, and what was printed."""
    folder = tmp_path_factory.mktemp("profile")
    options = ["--batch", "1", "--length", "8", "--decode", "4", "--rounds", "6", "--seconds", "0.05"]
    options += ["--training", "--device", "cpu"]
    done = trilemma("profile", "gla:nano", *options, "--out", folder / "p.parquet", cache=folder / "cache")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_profile_is_printed_and_saved(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = first
    records = Profile.load(folder / "p.parquet").records
    assert {("ttft_ms", "prefill"), ("tpot_ms", "decode"), ("step_ms", "train")} <= set(
        zip(records["metric"], records["phase"], strict=True)
    )
    titles = ("Generation: time, 4 tokens generated", "Generation: memory", "Generation: work")
    for title in (*titles, "Training: time of a step", "TTFT", "TPOT"):
        assert title in done.stdout
    assert f"profile: {folder / 'p.parquet'}" in done.stdout and "roofline: memory" in done.stdout
    assert done.stderr == ""


def test_a_saved_profile_is_shown_as_it_was(first: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = first
    again = trilemma("show", folder / "p.parquet")
    assert again.returncode == 0, again.stderr
    assert done.stdout == again.stdout + f"profile: {folder / 'p.parquet'}\n"


@pytest.mark.slow
def test_a_file_says_what_is_measured(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    page = tmp_path / "p.html"
    done = trilemma("profile", tmp_path / "grid.yaml", "--json", "--report", page, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert {one["model"] for one in content["records"]} == {"gla:nano"} and content["notes"] == []
    assert "Profile of gla:nano" in page.read_text("utf-8")


def test_showing_a_saved_profile_needs_no_torch(tmp_path: Path) -> None:
    path = Profile(two_models()).save(tmp_path / "p.parquet")
    code = (
        "import sys\nfrom trilemma.cli.main import app\n"
        f"app(['show', {str(path)!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_says_what_is_measured() -> None:
    done = trilemma("profile", "--help")
    assert done.returncode == 0
    for word in ("TTFT", "roofline", "gla:small", "--training", "--precision", "packed", "YAML"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("gla:nano", "--batch", "1,x"), "--batch '1,x' is not a list of whole numbers"),
        (("gla:nano", "--batch", ""), "--batch '' is not a list of whole numbers"),
        (("gla:nano", "--batch", "1.5"), "is not a list of whole numbers"),
        (("gla:nano", "--length", "8,-4"), "--length '8,-4' holds a number below 1"),
        (("gla:nano", "--length", "0"), "below 1"),
        (("gla:nano", "--length", "9999999999"), "holds a number above 10,000,000"),
        (("gla:nano", "--length", "99999999"), "holds a number above"),
        (("gla:nano", "--decode", "1"), "one token has no time per further token"),
        (("gla:nano", "--decode=-3"), "--decode -3"),
        (("gla:nano", "--rounds", "2"), "--rounds 2"),
        (("gla:nano", "--seconds", "0"), "--seconds 0"),
        (("gla:nano", "--precision", "float8"), "--precision float8"),
        (("gla:nano", "--precision", "float32,"), "is not a list of different names"),
        (("gla:nano", "--out", "absent/p.parquet"), "is not a .parquet file in a folder that exists"),
        (("gla:nano", "--out", "p.json"), "is not a .parquet file"),
        (("gla:nano", "--report", "p.txt"), "--report p.txt is not a .html file"),
        (("gla:nano", "--watts", "nan"), "--watts nan"),
        (("gla:nano", "--watts=-3"), "--watts -3"),
        (("gla:nano", "--watts", "l5"), "l5"),
        (("absent.yaml",), "absent.yaml cannot be read"),
        (("grid.yaml", "--batch", "1"), "grid.yaml says what is measured"),
        (("grid.yaml", "gla:nano"), "grid.yaml says what is measured"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], expected: str) -> None:
    result = CliRunner().invoke(app, ["profile", *arguments])
    assert isinstance(result.exception, TrilemmaError) and result.output == ""
    message = str(result.exception)
    assert expected in message and "\n" not in message


def test_a_refusal_is_one_line_and_exit_code_2() -> None:
    done = trilemma("profile", "gla:nano", "--batch", "1,x")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("trilemma: --batch '1,x' ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("./absent",), "does not exist"),
        (("gla:nano", "--precision", "packed"), "has no ternary weights"),
        (("gla:nano", "--device", "cuda:9"), "there is no device 'cuda:9'"),
    ],
)
def test_bad_models_are_one_sentence(arguments: tuple[str, ...], expected: str) -> None:
    result = CliRunner().invoke(app, ["profile", *arguments])
    assert isinstance(result.exception, TrilemmaError) and expected in str(result.exception)


@pytest.mark.parametrize("name", ["absent.parquet", "old.json"])
def test_what_is_not_a_profile_is_not_shown(tmp_path: Path, name: str) -> None:
    (tmp_path / "old.json").write_text('{"version": 1, "models": []}')
    result = CliRunner().invoke(app, ["show", str(tmp_path / name)])
    assert isinstance(result.exception, TrilemmaError) and name in str(result.exception)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "does not hold settings"),
        ("[1]", "does not hold settings"),
        ("1: 2", "`1` cannot name a field"),
        ("[" * 5000, "nested too deeply"),
        ("models: []", "models: List should have at least 1 item"),
        ("models: [a]\nwatts: 3", "watts: Extra inputs are not permitted"),
        ("models: [a]\nefficiency: {batch: [0]}", "efficiency.batch: it should be greater than"),
        ("models: [a]\nprecisions: [float8]", "precisions: "),
    ],
)
def test_a_wrong_file_of_settings_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(TrilemmaError) as refused:
        read_settings(tmp_path / "grid.yaml")
    message = str(refused.value)
    assert "grid.yaml" in message and expected in message and "\n" not in message


def test_settings_have_the_defaults_of_the_command() -> None:
    settings = profile_settings({"models": ["gla:nano"]})
    assert settings.efficiency.decode == 64 and settings.efficiency.training is None
    assert not settings.efficiency.energy and settings.precisions == ["float32"]


def test_watts_are_a_number_or_a_machine_of_the_catalogue() -> None:
    assert watts_of("65.5") == 65.5 and watts_of("l4") == 72
    with pytest.raises(TrilemmaError, match="l5"):
        watts_of("l5")


def test_what_is_given_beside_a_file_replaces_its_fields_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("models: [gla:nano]\nprecisions: [packed]\nefficiency: {batch: [2], length: [16]}\n")
    asked = asked_settings(path, {"efficiency": {"length": [8]}, "device": "cpu"})
    assert (asked.efficiency.batch, asked.efficiency.length) == ([2], [8])
    assert (asked.precisions, asked.device) == (["packed"], "cpu")
    with pytest.raises(TrilemmaError, match="lenght"):
        asked_settings(path, {"efficiency": {"lenght": [8]}})
