"""A stage's key holds what can change its result, and nothing else."""

from pathlib import Path

import pytest

from trilemma.study.data import StudyData
from trilemma.study.graph import GraphBuilder
from trilemma.study.origin import fingerprint, resolve
from trilemma.study.spec import load_study

STUDY = """\
name: keys
models: [{arch: gla, size: nano}]
tasks:
  - name: own
    fields: text
    labels: [a, b]
    metric: accuracy
    files: {train: train.csv, validation: dev.csv}
adapt: {epochs: 2, learning_rate: {sweep: [1.0e-3, 2.0e-3]}, checkpoint_steps: 100}
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text("text,label\n" + "".join(f"x {i},{'ab'[i % 2]}\n" for i in range(10)))


def keys(folder: Path, text: str = STUDY) -> dict[str, list[str]]:
    (folder / "study.yaml").write_text(text)
    study = load_study(folder / "study.yaml")
    origins = {model.label: resolve(model, study.base) for model in study.models}
    found: dict[str, list[str]] = {}
    for stage in GraphBuilder(study, StudyData(study), origins, {}).build().stages:
        found.setdefault(stage.kind, []).append(stage.key)
    return found


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("metric: accuracy", "metric: matthews", {"sweep", "adapt", "answer"}),
        ("epochs: 2", "epochs: 3", {"adapt", "answer"}),
        ("checkpoint_steps: 100", "checkpoint_steps: 50", set()),
        ("sweep: [1.0e-3", "sweep: [3.0e-3", {"sweep", "adapt", "answer"}),
        ("name: keys", "name: other", set()),
        ("labels: [a, b]", "labels: [b, a]", {"tokenizer", "create", "sweep", "adapt", "answer", "profile"}),
        ("size: nano", "size: micro", {"create", "sweep", "adapt", "answer", "profile"}),
    ],
)
def test_what_changes_a_key(tmp_path: Path, old: str, new: str, changed: set[str]) -> None:
    assert old in STUDY
    before, after = keys(tmp_path), keys(tmp_path, STUDY.replace(old, new))
    assert {kind for kind in before if before[kind] != after[kind]} == changed


def test_watts_measure_nothing_anew(tmp_path: Path) -> None:
    grid = "efficiency: {batch: [1]}\n"
    before, after = keys(tmp_path, STUDY + grid), keys(tmp_path, STUDY + grid.replace("}", ", watts: 65}"))
    assert before == after != keys(tmp_path)


def test_changed_data_change_the_keys(tmp_path: Path) -> None:
    before = keys(tmp_path)
    with (tmp_path / "dev.csv").open("a") as file:
        file.write("one more,a\n")
    after = keys(tmp_path)
    assert {kind for kind in before if before[kind] != after[kind]} == {"answer"}


def test_the_fingerprint_of_a_folder_sees_every_file_but_its_card(tmp_path: Path) -> None:
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "sub" / "merges.tiktoken").write_text("a")
    first = fingerprint(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("card")
    assert fingerprint(tmp_path / "model") == first
    (tmp_path / "model" / "sub" / "merges.tiktoken").write_text("b")
    assert fingerprint(tmp_path / "model") != first
