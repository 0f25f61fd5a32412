"""Duplicates between training and evaluation, and texts that are cut, are said before any work."""

from pathlib import Path

import pytest

from trilemma.records import SEEN, Record
from trilemma.study import load_study
from trilemma.study.data_warnings import data_warnings, seen_in_training
from trilemma.study.finished import Finished
from trilemma.study.graph import Graph
from trilemma.study.layout import lay_out
from trilemma.study.store import Store
from trilemma.tasks import from_user
from trilemma.testing import check_task

BLOCK = {
    "name": "own",
    "fields": ["t"],
    "label": "y",
    "labels": ["no", "yes"],
    "files": {"train": "train.csv", "validation": "validation.csv"},
}


def write(folder: Path, validation: list[str]) -> None:
    for name, texts in (("train", [f"the train text {i}" for i in range(100)]), ("validation", validation)):
        rows = [f"{text},{('no', 'yes')[i % 2]}" for i, text in enumerate(texts)]
        (folder / f"{name}.csv").write_text("\n".join(["t,y", *rows]) + "\n")


def graph_of(folder: Path, block: str = "") -> Graph:
    (folder / "study.yaml").write_text(
        f"name: x\nmodels: [gla:nano]\ntasks: [{BLOCK}]\nadapt: {{max_length: 16, learning_rate: 1e-3}}\n"
        f"{block}\n"
    )
    return lay_out(load_study(folder / "study.yaml"), machine={})


def test_duplicates_and_cut_texts_are_counted(tmp_path: Path) -> None:
    own = [f"another text {i}" for i in range(45)]
    write(tmp_path, [*own, "The train  text 7", "the train text 8", *["long " * 20] * 3])
    graph = graph_of(tmp_path)
    cut, shared = data_warnings(graph)
    assert cut.startswith("about 6% of the texts of own/validation are longer than the 16 tokens")
    assert shared.startswith("4% of the items of own/validation are in its training split too")
    assert seen_in_training(graph, "own") == {"validation": 0.04}
    attacked = graph_of(tmp_path, "robustness: {attacks: [stresstest]}")
    assert "are cut, and what an attack appends to them is not read" in next(data_warnings(attacked))
    with pytest.raises(AssertionError, match=r"own/validation: 4% of the items are in the training split"):
        check_task(from_user(BLOCK, tmp_path)[0])


def test_nothing_is_said_of_sound_data(tmp_path: Path) -> None:
    write(tmp_path, [f"another text {i}" for i in range(200)] + ["the train text 7"])
    assert not list(data_warnings(graph_of(tmp_path)))
    check_task(from_user(BLOCK, tmp_path)[0])


def test_scores_on_what_was_seen_in_training_are_flagged(tmp_path: Path) -> None:
    write(tmp_path, ["the train text 7", "another text"])
    finished = Finished(graph_of(tmp_path), Store(tmp_path / "store"))
    finished.__dict__["models"] = {
        "gla-nano": Record(model="gla-nano", axis="E", metric="parameters", value=7.0)
    }
    one = Record(model="gla-nano", axis="P", metric="accuracy", task="own", set="validation", value=1.0)
    assert finished.completed(one).flags == (SEEN,)
