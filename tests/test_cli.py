"""The command line: a user's mistake is one sentence and exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def trilemma(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trilemma", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a refusal."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("trilemma: ")
    return done.stderr


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_help_names_every_command() -> None:
    done = trilemma("--help")
    assert done.returncode == 0
    for command in ("run", "show", "decide", "compare", "report", "pretrain", "schema", "doctor"):
        assert f"\n  {command} " in done.stdout
        assert trilemma(command, "--help").returncode == 0


def test_schema_is_json() -> None:
    assert "models" in json.loads(trilemma("schema").stdout)["properties"]


def test_an_unreadable_study_is_one_sentence(tmp_path: Path) -> None:
    assert "cannot read study" in refused(trilemma("run", tmp_path / "absent.yaml"))
    assert "line 2: modles" in refused(trilemma("run", write(tmp_path, "name: a\nmodles: []\n")))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("{path: ./absent}", "not a Hugging Face model folder"),
        ("{package: no_such_package_here/model}", "not installed"),
    ],
)
def test_an_unknown_model_is_one_sentence(tmp_path: Path, model: str, expected: str) -> None:
    study = write(tmp_path, f"name: a\nmodels: [{model}]\ntasks: [sst2]\n")
    assert expected in refused(trilemma("run", study, "--out", tmp_path / "out"))


def test_an_unknown_task_or_set_names_the_known(tmp_path: Path) -> None:
    study = write(tmp_path, "name: a\nmodels: [{arch: gla, size: nano}]\ntasks: [sst3]\n")
    assert "sst2" in refused(trilemma("run", study, "--out", tmp_path / "out"))
    study = write(
        tmp_path, "name: a\nmodels: [{arch: gla, size: nano}]\ntasks: [sst2]\nrobustness: {sets: [nope]}\n"
    )
    assert "nope" in refused(trilemma("run", study, "--out", tmp_path / "out"))


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    for command in ("show", "decide", "report"):
        assert str(tmp_path) in refused(trilemma(command, tmp_path))


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = trilemma("--debug", "run", tmp_path / "absent.yaml")
    assert done.returncode == 2 and "Traceback" in done.stderr and "StudyError" in done.stderr
