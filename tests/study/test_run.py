"""A study runs to its two tables, goes on where it was killed, and repeats itself."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import trilemma
import trilemma.study.runner
from trilemma.errors import DivergedError, StoreError
from trilemma.study.stage import StageRun
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

MEASURED = {"training_seconds"}
"""Efficiency values that differ from run to run."""


def command(folder: Path) -> list[str]:
    (folder / "study.yaml").write_text(STUDY)
    return [sys.executable, "-m", "trilemma", "run", str(folder / "study.yaml"), "--out", str(folder / "run")]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(folder), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    records = pd.read_parquet(folder / "run" / "records.parquet")
    items = pd.read_parquet(folder / "run" / "items.parquet")
    return records[~records["metric"].isin(MEASURED)].reset_index(drop=True), items


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return folder


def test_every_cell_is_in_the_tables(undisturbed: Path) -> None:
    records, items = tables(undisturbed)
    cells = items.groupby(["model", "seed", "set"], observed=True).size()
    assert set(cells.index) == {
        (model, seed, name)
        for model in ("transformer-pp-nano", "matmul-free-nano")
        for seed in (0, 1)
        for name in ("validation", "adv_sst2")
    }
    assert {"E", "P", "R"} == set(records["axis"])
    assert (records["study"] == "small").all() and records["hardware"].ne("").all()
    assert items["probabilities"].map(sum).between(0.999, 1.001).all()
    assert (items["answer"] == items["probabilities"].map(lambda p: float(p.argmax()))).all()


def test_a_second_run_repeats_no_stage(undisturbed: Path) -> None:
    before = tables(undisturbed)
    done = run(undisturbed)
    stages = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert stages and all("reused" in line for line in stages)
    for old, new in zip(before, tables(undisturbed), strict=True):
        pd.testing.assert_frame_equal(old, new)


def finished(folder: Path) -> dict[str, float]:
    """When each artifact was finished; a name with a dot in front is that of one which is being written."""
    store = folder / ".store"
    return {str(path): path.stat().st_mtime for path in store.glob("*/[!.]*/artifact.json")}


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    rng = random.Random()
    kills = []
    done: dict[str, float] = {}
    for _ in range(10):
        process = subprocess.Popen(
            command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:  # a kill before the first stage would only test Python's start
            if "laying out" in line:
                break
        moment = rng.uniform(0, 4)
        time.sleep(moment)
        kills.append(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = finished(tmp_path)
        assert done.items() <= now.items(), f"a finished stage was repeated; killed after {kills}"
        done = now
    run(tmp_path)
    assert done.items() <= finished(tmp_path).items()
    for old, new in zip(tables(undisturbed), tables(tmp_path), strict=True):
        pd.testing.assert_frame_equal(old, new, obj=f"after kills at {kills}")
    assert not list((tmp_path / ".store" / "work").glob("*"))


def test_a_diverged_cell_is_recorded_and_the_study_goes_on(undisturbed: Path, tmp_path: Path) -> None:
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
    failed = records[records["note"].str.contains("failed")]
    assert set(failed["model"]) == {"broken"} and failed["value"].isna().all()
    assert set(items["model"]) == {"matmul-free-nano"}


def test_a_diverged_pretraining_is_recorded_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("the loss is no number any more at step 3")

    monkeypatch.setattr("trilemma.training.pretraining.pretrain", diverge)
    (tmp_path / "corpus.txt").write_text("\n\n".join(f"line {i} of a story" for i in range(300)))
    text = STUDY.replace("transformer-pp, size: nano}", "transformer-pp, size: nano, pretrain: true}")
    text += "pretrain: {corpus: [corpus.txt], tokens: 20k, vocabulary: 300, length: 32}\n"
    (tmp_path / "study.yaml").write_text(text.replace("[0, 1]", "[0]"))
    trilemma.run(tmp_path / "study.yaml", out=tmp_path / "run")
    records, items = tables(tmp_path)
    failed = records[records["note"].str.contains("failed")]
    assert set(failed["model"]) == {"transformer-pp-nano-pretrained"} and failed["value"].isna().all()
    assert set(failed["metric"]) == {"parameters", "pretraining_tokens", "accuracy"}
    assert set(items["model"]) == {"matmul-free-nano"}
    assert "at step 3" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_a_run_folder_in_use_is_refused(undisturbed: Path) -> None:
    with locked(undisturbed / "run"):
        done = subprocess.run(command(undisturbed), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "another process is running the study" in done.stderr


def test_a_damaged_artifact_is_set_aside_and_made_anew(undisturbed: Path, tmp_path: Path) -> None:
    for name in (".store", "run"):
        shutil.copytree(undisturbed / name, tmp_path / name)
    weights = next((tmp_path / ".store" / "adapt").glob("*/model.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = run(tmp_path)
    aside = weights.parent.with_name(f".damaged-{weights.parent.name}")
    reason = "its artifact is damaged (model.safetensors is missing or differs from its checksum)"
    assert f"{reason}; made anew, the old one is {aside}" in done.stdout
    assert weights.read_bytes() == content and (aside / "model.safetensors").is_file()
    assert sum(": reused" not in line for line in done.stdout.splitlines() if line.startswith("[")) == 1
    for old, new in zip(tables(undisturbed), tables(tmp_path), strict=True):
        pd.testing.assert_frame_equal(old, new)


def test_artifacts_that_vanish_while_the_study_runs_are_one_sentence(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".store", "run"):
        shutil.copytree(undisturbed / name, tmp_path / name)
    (tmp_path / "study.yaml").write_text(STUDY)
    score = trilemma.study.runner.build_tables

    def without_answers(*arguments: object) -> object:
        shutil.rmtree(tmp_path / ".store" / "answer")
        return score(*arguments)

    monkeypatch.setattr("trilemma.study.runner.build_tables", without_answers)
    with pytest.raises(StoreError, match=r"items.parquet is gone or unreadable.*run the same command again"):
        trilemma.run(tmp_path / "study.yaml", out=tmp_path / "run")

    def without_models(stage: StageRun) -> None:
        shutil.rmtree(stage.inputs["model"])
        raise FileNotFoundError(stage.inputs["model"])

    monkeypatch.setitem(trilemma.study.runner.FUNCTIONS, "answer", without_models)
    with pytest.raises(StoreError, match=r"was removed while the study ran; run the same command again"):
        trilemma.run(tmp_path / "study.yaml", out=tmp_path / "run")


def test_what_a_cell_was_trained_on_is_in_the_records(undisturbed: Path) -> None:
    records, _ = tables(undisturbed)
    rows = records[records["metric"] == "training_rows"]
    assert len(rows) == 4 and (rows["value"] == 200).all() and (rows["n"] == 200).all()
    assert (rows["note"] == "").all() and not rows["partial"].any()
    assert (records.loc[records["metric"] == "training_epochs", "value"] == 1).all()


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


def test_a_regression_of_ones_own_runs_to_its_report(tmp_path: Path) -> None:
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
