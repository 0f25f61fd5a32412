"""``trilemma clocks`` on the command line: what it refuses, a saved sweep, and clocks that are given back."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.test_sweep_result import a_sweep
from trilemma.cli.main import app
from trilemma.errors import TrilemmaError


def run(*arguments: str | Path, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "240"} | environment)
    if isinstance(result.exception, TrilemmaError):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return a_sweep().save(tmp_path / "sweep.parquet")


def test_a_saved_sweep_is_chosen_from_again(saved: Path) -> None:
    code, text = run("clocks", saved)
    assert code == 0 and "least energy, estimate with at most 5% more time: prefill at 1600 MHz" in text
    code, text = run("clocks", saved, "--max-slowdown", "1.5")
    assert code == 0 and "with at most 150% more time: prefill at 800 MHz" in text
    code, text = run("clocks", saved, "--slo", "ttft=1.2s", "--report", saved.with_suffix(".html"))
    assert code == 1 and "no frequency meets TTFT at most 1200 ms: TTFT is 1500 ms at the fastest" in text
    assert "What to run at" in saved.with_suffix(".html").read_text("utf-8")


def test_a_saved_sweep_is_shown(saved: Path) -> None:
    code, text = run("show", saved)
    assert code == 0 and "gla:nano int8, batch 1, length 64, 4 tokens generated" in text
    code, text = run("report", saved)
    assert code == 0 and text.strip() == str(saved.with_suffix(".html"))
    assert "Time and energy by clock frequency" in saved.with_suffix(".html").read_text("utf-8")
    for word in ("json", "zzz"):
        assert f"printed as a table, not as --format {word}" in run("show", saved, "--format", word)[1]
    code, text = run("show", saved, "--table", "efficiency", "--at", "batch=1")
    assert code == 2 and text.endswith("leave out --table and --at")
    assert "--watts and" not in run("clocks", "--restore", "--watts", "3")[1]
    assert run("clocks", "--restore", "gla:nano", "--watts", "3")[1].endswith(
        "leave out MODEL... and --watts"
    )


def test_queries_are_given_frequencies_by_their_length(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("\n".join("word " * n for n in (1, 2, 3, 30, 40, 50)))
    code, text = run("clocks", saved, "--queries", file, "--report", tmp_path / "sweep.html")
    line = "from 0 to below 23 tokens (3 of 6 queries, as measured at 8): prefill at"
    assert code == 0 and "gla:nano int8, batch 1, queries by length" in text and line in text
    assert line in (tmp_path / "sweep.html").read_text("utf-8")


def test_restore_gives_back_what_a_killed_sweep_left(tmp_path: Path) -> None:
    code, text = run("clocks", "--restore", XDG_STATE_HOME=str(tmp_path))
    assert code == 0 and "no clocks are left changed" in text
    journals = tmp_path / "trilemma" / "clocks"
    journals.mkdir(parents=True)
    (journals / "cpufreq.json").write_text(json.dumps({"boot": "another", "found": {}}))
    assert run("clocks", "--restore", XDG_STATE_HOME=str(tmp_path))[0] == 0
    assert not (journals / "cpufreq.json").exists()


SWEPT = ["gla:nano", "--frequencies", "800"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["gla:nano"], "name at least one frequency"),
        ([*SWEPT, "--idle-watts", "3"], "--idle-watts goes with --watts"),
        ([*SWEPT, "--watts", "65", "--allow-frequency-control"], "leave out one of the two"),
        ([*SWEPT, "--watts", "5", "--idle-watts", "6"], "are not powers of one device"),
        ([*SWEPT, "--watts", "l5"], "'l5' is neither a number of watts nor a machine"),
        ([*SWEPT, "--watts", "65", "--slo", "speed=1ms"], "is not a bound here"),
        ([*SWEPT, "--watts", "65", "--queries", "absent.txt"], "is not a file"),
        ([*SWEPT, "--device", "cuda:9"], "no device"),
        ([*SWEPT, "--out", "sweep.json"], "is not a .parquet file"),
        (["gla:nano", "--frequencies", "fast"], "--frequencies 'fast' is not a list of whole numbers"),
        (["absent.parquet"], "is not a file"),
        ([], "name a model"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: list[str], match: str) -> None:
    code, message = run("clocks", *arguments)
    assert code == 2 and match in message, message


def test_a_saved_sweep_is_not_measured_again(saved: Path) -> None:
    for more in (("--frequencies", "800"), ("--batch", "1"), ("--watts", "65"), ("--out", "x.parquet")):
        code, message = run("clocks", saved, *more)
        assert code == 2 and "was swept already" in message


@pytest.mark.slow
def test_an_estimate_touches_no_clock_and_is_saved(tmp_path: Path) -> None:
    asked = (
        "--batch",
        "1",
        "--length",
        "8",
        "--decode",
        "3",
        "--device",
        "cpu",
        "--out",
        tmp_path / "s.parquet",
    )
    estimate = ("--frequencies", "400,800,3400", "--watts", "65", "--idle-watts", "5", "--max-slowdown", "9")
    environment = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code, text = run("clocks", "gla:nano", *asked, *estimate, "--slo", "ttft=1000s,tpot=1s", **environment)
    assert code == 0 and not (tmp_path / "state").exists()
    assert "the clocks were not touched" in text and "energy of the batch, estimate" in text
    assert "least energy, estimate with at most 900% more time: prefill at" in text
    assert "least energy, estimate with TTFT at most 1e+06 ms, TPOT at most 1000 ms: prefill at" in text
    code, again = run("show", tmp_path / "s.parquet")
    assert code == 0 and "gla:nano, batch 1, length 8, 3 tokens generated" in again


def test_a_file_of_settings_says_all_that_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("models: [gla:nano]\n")
    for more in (("--batch", "4"), ("gla:micro",)):
        code, text = run("clocks", file, *more, "--frequencies", "1000", "--watts", "10")
        assert code == 2 and "grid.yaml says what is measured" in text
