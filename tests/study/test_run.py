"""A study runs to its two tables, resumes when it was killed, and repeats itself."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import trilemma
from tests.stand_ins.killed import assert_same, killed_and_resumed, tables
from trilemma.errors import DivergedError, StoreError
from trilemma.study.store import locked

STUDY = """\
name: small
models:
  - {arch: transformer-pp, size: nano}
  - {arch: matmul-free, size: nano}
tasks: [sst2]
adapt: {epochs: 1, rows: 200, batch: 16, learning_rate: {sweep: [1.0e-3, 3.0e-3], rows: 100}}
seeds: [0, 1]
robustness: {sets: [advglue]}
"""


def command(folder: Path) -> list[str]:
    (folder / "study.yaml").write_text(STUDY)
    return [sys.executable, "-m", "trilemma", "run", str(folder / "study.yaml"), "--out", str(folder / "run")]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(folder), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return folder


def test_every_adapted_model_is_in_the_tables(undisturbed: Path) -> None:
    records, items = tables(undisturbed)
    answered = items.groupby(["model", "seed", "set"], observed=True).size()
    assert set(answered.index) == {
        (model, seed, name)
        for model in ("transformer-pp-nano", "matmul-free-nano")
        for seed in (0, 1)
        for name in ("validation", "adv_sst2")
    }
    assert {"E", "P", "R"} == set(records["axis"])
    assert (records["study"] == "small").all() and records["hardware"].ne("").all()
    assert items["probabilities"].map(sum).between(0.999, 1.001).all()
    assert (items["answer"] == items["probabilities"].map(lambda p: float(p.argmax()))).all()


@pytest.mark.slow
def test_a_second_run_repeats_no_stage(undisturbed: Path) -> None:
    before = tables(undisturbed)
    done = run(undisturbed)
    stages = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert stages and all("reused" in line for line in stages)
    assert_same(before, tables(undisturbed))


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    """As the fast test of the runner, with stages that train, and each time at other moments."""
    seed = int(os.environ.get("TRILEMMA_SEED", random.randrange(2**32)))
    (tmp_path / "study.yaml").write_text(STUDY)
    killed_and_resumed(tmp_path / "study.yaml", kills=10, seed=seed, stubs=False)


@pytest.mark.slow
def test_a_diverged_model_is_recorded_and_the_study_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    source = next((undisturbed / ".store" / "create").glob("*/model.safetensors")).parent
    shutil.copytree(source, tmp_path / "broken", ignore=shutil.ignore_patterns("artifact.json"))
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, tmp_path / "broken" / "model.safetensors", {"format": "pt"})
    text = STUDY.replace("{arch: transformer-pp, size: nano}", "{path: broken}").replace("[0, 1]", "[0]")
    (tmp_path / "study.yaml").write_text(text)
    arguments = ["run", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "trilemma", *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed sweep broken on sst2" in done.stdout
    records, items = tables(tmp_path)
    failed = records[records["status"] == "failed"]
    assert set(failed["model"]) == {"broken"} and failed["value"].isna().all()
    assert failed["reason"].str.contains("loss|NaN|finite|number").all()
    assert set(items["model"]) == {"matmul-free-nano"}


@pytest.mark.slow
def test_a_diverged_pretraining_is_recorded_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("the loss is no number any more at step 3")

    monkeypatch.setattr("trilemma.training.pretraining.run", diverge)
    (tmp_path / "corpus.txt").write_text("\n\n".join(f"line {i} of a story" for i in range(300)))
    text = STUDY.replace("transformer-pp, size: nano}", "transformer-pp, size: nano, pretrain: true}")
    text += "pretrain: {corpus: [corpus.txt], tokens: 20k, vocabulary: 300, length: 32}\n"
    (tmp_path / "study.yaml").write_text(text.replace("[0, 1]", "[0]"))
    trilemma.run(tmp_path / "study.yaml", out=tmp_path / "run")
    records, items = tables(tmp_path)
    failed = records[records["status"] == "failed"]
    assert set(failed["model"]) == {"transformer-pp-nano-pretrained"} and failed["value"].isna().all()
    assert set(failed["metric"]) == {"parameters", "pretraining_tokens", "accuracy"}
    assert set(items["model"]) == {"matmul-free-nano"}
    assert "at step 3" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_a_run_folder_in_use_is_refused(undisturbed: Path) -> None:
    with locked(undisturbed / "run"):
        done = subprocess.run(command(undisturbed), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "another process is running the study" in done.stderr


def test_what_a_model_was_trained_on_is_in_the_records(undisturbed: Path) -> None:
    records, _ = tables(undisturbed)
    rows = records[records["metric"] == "training_rows"]
    assert len(rows) == 4 and (rows["value"] == 200).all() and (rows["n"] == 200).all()
    assert (rows["note"] == "").all() and not rows["flags"].map(len).any()
    assert (records.loc[records["metric"] == "training_epochs", "value"] == 1).all()


@pytest.mark.slow
def test_a_changed_seed_reuses_what_does_not_depend_on_it(undisturbed: Path) -> None:
    (undisturbed / "other.yaml").write_text(
        STUDY.replace("seeds: [0, 1]", "seeds: [0]").replace("small", "other")
    )
    arguments = ["run", str(undisturbed / "other.yaml"), "--out", str(undisturbed / "other")]
    done = subprocess.run(
        [sys.executable, "-m", "trilemma", *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "adapt transformer-pp-nano on sst2, seed 0: reused" in done.stdout
    facts = json.loads((undisturbed / "other" / "study.json").read_text())
    assert facts["seeds"] == [0]


def test_a_lock_is_of_the_process_that_took_it(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StoreError), locked(tmp_path):
        pass


def test_a_regression_from_your_files_runs_to_its_report(tmp_path: Path) -> None:
    rng = random.Random(0)
    for name, rows in (("train", 120), ("validation", 40)):
        lines = ["text,score"]
        for _ in range(rows):
            stars = rng.randint(0, 5)
            lines.append(f"{' '.join(['good'] * stars + ['dull'] * (5 - stars))},{stars}.0")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    task = "{name: stars, fields: text, label: score, files: {train: train.csv, validation: validation.csv}}"
    text = STUDY.replace("tasks: [sst2]", f"tasks: [{task}]").replace("robustness: {sets: [advglue]}\n", "")
    text = text.replace("{sweep: [1.0e-3, 3.0e-3], rows: 100}", "3.0e-3").replace("[0, 1]", "[0]")
    (tmp_path / "study.yaml").write_text(text)
    arguments = ["run", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "trilemma", *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    records, items = tables(tmp_path)
    assert records.loc[records["metric"] == "pearson", "value"].between(-1, 1).all()
    assert items["labels"].isna().all() and (tmp_path / "run" / "report.html").stat().st_size > 100_000
