"""The command line: a user's mistake is one sentence and exit code 2."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stand_ins.synthetic import write_run


def trilemma(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trilemma", *map(str, arguments)]
    # readline, which pytest imports, sets COLUMNS for all its children, as if there were a terminal.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a refusal."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "\ntrilemma: " in f"\n{done.stderr}"  # after what it says of its progress
    return done.stderr


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_help_names_every_command() -> None:
    done = trilemma("--help")
    assert done.returncode == 0
    commands = (
        "run show decide compare report pretrain schema doctor attack profile clocks calibrate forecast"
    )
    for command in commands.split():
        assert f"\n  {command} " in done.stdout
        assert trilemma(command, "--help").returncode == 0


def test_compare_takes_the_newest_run(tmp_path: Path) -> None:
    question = ("compare", "gla-nano", "transformer-pp-nano")
    assert "no finished study in runs" in refused(trilemma(*question, cwd=tmp_path))
    for age, name in ((100, "old"), (0, "new")):
        write_run(tmp_path / "runs" / name, tasks=("sst2",), models=2)
        moment = time.time() - age
        os.utime(tmp_path / "runs" / name / "records.parquet", (moment, moment))
    done = trilemma(*question, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "run: runs/new\n" and "gla-nano" in done.stdout


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"trilemma \d+\.\d+\.\d+\n", trilemma("--version").stdout)


@pytest.mark.slow
def test_a_plan_counts_what_is_present_and_says_what_is_not_known(finished_demo: Path) -> None:
    done = trilemma("run", "studies/demo.yaml", "--dry-run", cwd=finished_demo)
    assert done.returncode == 0, done.stderr
    assert re.search(r"0 of \d+ stages, the rest present: about 0 seconds", done.stdout), done.stdout
    elsewhere = trilemma("run", "studies/demo.yaml", "--dry-run", "--store", "none", cwd=finished_demo)
    assert re.search(r"this machine, \d+ stages: about", elsewhere.stdout), elsewhere.stdout
    assert not (finished_demo / "none").exists()


def test_a_plan_of_a_model_of_unknown_size_says_so(tmp_path: Path) -> None:
    study = write(tmp_path, "name: a\ndata: hub\nmodels: ['x[/y]z']\ntasks: [sst2]\n")
    done = trilemma("run", study, "--dry-run")
    assert done.returncode == 2 and "`name`" in done.stderr
    study = write(tmp_path, "name: a\ndata: hub\nmodels: [{id: 'x[/y]z', name: odd}]\ntasks: [sst2]\n")
    done = trilemma("run", study, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "x[/y]z (odd): size unknown" in done.stdout
    assert "of odd: unknown until fetched or opened" in done.stdout and "0 B" not in done.stdout


def test_what_is_not_a_terminal_gets_unbroken_lines(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tasks=("sst2",), models=2)
    lines = trilemma("show", tmp_path / "run", "--table", "efficiency").stdout.splitlines()
    assert max(map(len, lines)) > 80


@pytest.mark.parametrize("arguments", [("report",), ("run",), ("run", "--dry-run")])
def test_a_path_that_is_too_long_is_one_sentence(arguments: tuple[str, ...]) -> None:
    refused(trilemma(*arguments, "x" * 5000))


def test_show_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    assert "there is no folder nope; name a run folder" in refused(trilemma("show", "nope", cwd=tmp_path))
    write_run(tmp_path / "run", tasks=("sst2",), models=2)
    assert "holds one table" in refused(trilemma("show", tmp_path / "run", "--format", "csv"))
    out = ("--out", tmp_path / "tables")
    assert "is for --format csv" in refused(trilemma("show", tmp_path / "run", *out))
    done = trilemma("show", tmp_path / "run", "--format", "csv", *out)
    assert done.returncode == 0 and len(list((tmp_path / "tables").glob("*.csv"))) == 3


def test_a_report_has_a_title_and_an_operating_point(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tasks=("sst2",), models=2)
    asked = ("--title", "For the board", "--at", "batch=1,length=2048")
    done = trilemma("report", tmp_path / "run", *asked)
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert done.returncode == 0 and "<title>For the board" in page and "length 2048" in page


def test_the_shell_completes_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    # Typer asks the parent process which shell it is, and make's has no completion.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    done = trilemma("--show-completion", "bash")
    assert done.returncode == 0 and "complete -o default" in done.stdout


def test_schema_is_json() -> None:
    assert "models" in json.loads(trilemma("schema").stdout)["properties"]


def test_an_unreadable_study_is_one_sentence(tmp_path: Path) -> None:
    assert "cannot be read" in refused(trilemma("run", tmp_path / "absent.yaml"))
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


@pytest.mark.slow
def test_a_model_that_cannot_be_opened_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text('{"model_type": "bert"}')
    study = write(tmp_path, "name: a\nmodels: [{path: m}]\ntasks: [sst2]\n")
    assert "has no weights" in refused(trilemma("run", study, "--dry-run"))
    os.mkfifo(tmp_path / "m" / "model.safetensors")  # which nobody will ever write to
    assert "has no weights" in refused(trilemma("run", study, "--dry-run"))
    refused(trilemma("run", study, "--out", tmp_path / "out"))
    assert not (tmp_path / ".store").exists()


@pytest.mark.parametrize(("data", "name"), [("hub", "nope"), ("hub", "anli"), ("embedded", "nope")])
def test_a_plan_refuses_a_set_that_the_run_would_refuse(tmp_path: Path, data: str, name: str) -> None:
    study = write(
        tmp_path,
        f"name: a\ndata: {data}\nmodels: [{{arch: gla, size: nano}}]\ntasks: [sst2]\n"
        f"robustness: {{sets: [{name}]}}\n",
    )
    assert repr(name) in refused(trilemma("run", study, "--dry-run"))


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    study = write(tmp_path, "name: a\nmodels: [{arch: gla, size: nano}]\ntasks: [sst2]\n")
    command = [sys.executable, "-m", "trilemma", "run", str(study), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a background job
    )
    assert process.stdout is not None
    assert "reading the data" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to resume" in errors and "Traceback" not in errors


@pytest.mark.slow
def test_a_terminal_without_unicode_is_no_error(finished_demo: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for arguments in (["show", "runs/demo"], ["show", "runs/demo", "--format", "markdown"], ["doctor"]):
        done = subprocess.run(
            [sys.executable, "-m", "trilemma", *arguments],
            cwd=finished_demo,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_under_the_output_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "trilemma", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert "disk is full" in refused(done)


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    for command in ("show", "decide", "report"):
        assert str(tmp_path) in refused(trilemma(command, tmp_path))


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = trilemma("--debug", "run", tmp_path / "absent.yaml")
    assert done.returncode == 2 and "Traceback" in done.stderr and "StudyError" in done.stderr
