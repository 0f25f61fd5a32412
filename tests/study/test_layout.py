"""A stage's key holds what can change its result, and nothing else; and it stays what it was."""

from pathlib import Path

import pytest

from trilemma.files import folder_fingerprint as fingerprint
from trilemma.study import load_study
from trilemma.study.graph import Graph
from trilemma.study.layout import lay_out
from trilemma.study.stages.profile import ProfileStage
from trilemma.transforms import TRANSFORMS

STUDY = """\
name: keys
models: [{arch: gla, size: nano}]
tasks:
  - name: mine
    fields: text
    labels: [a, b]
    metric: accuracy
    files: {train: train.csv, validation: dev.csv}
seeds: [0]
adapt: {epochs: 2, learning_rate: {sweep: [1.0e-3, 2.0e-3]}, checkpoint_steps: 100}
"""
MACHINE = {"hardware": "a computer", "versions": "some", "kernels": "some"}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text("text,label\n" + "".join(f"x {i},{'ab'[i % 2]}\n" for i in range(10)))


def laid_out(folder: Path, text: str = STUDY) -> Graph:
    (folder / "study.yaml").write_text(text)
    return lay_out(load_study(folder / "study.yaml"), machine=MACHINE)


def keys(folder: Path, text: str = STUDY) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for stage in laid_out(folder, text).stages:
        found.setdefault(stage.kind, []).append(stage.key)
    return found


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("metric: accuracy", "metric: matthews", {"sweep", "adapt", "answer"}),  # it chooses the rate
        ("metric: accuracy", "metric: [accuracy, macro_f1]", set()),
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


FIXED = (
    STUDY.replace("{sweep: [1.0e-3, 2.0e-3]}", "1.0e-3")
    + """\
robustness:
  sets: [{name: typos, task: mine, file: dev.csv}]
  attacks: [{recipe: deepwordbug, name: letters}]
"""
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("metric: accuracy", "metric: [matthews, accuracy]"),
        ("name: typos", "name: misspelt"),
        ("name: letters", "name: swaps"),
    ],
)
def test_names_and_metrics_train_and_ask_nothing_again(tmp_path: Path, old: str, new: str) -> None:
    assert old in FIXED and keys(tmp_path, FIXED) == keys(tmp_path, FIXED.replace(old, new))


def test_the_metric_that_stops_a_training_early_is_part_of_it(tmp_path: Path) -> None:
    text = FIXED.replace("epochs: 2", "epochs: 2, early_stopping: {patience: 1}")
    before, after = keys(tmp_path, text), keys(tmp_path, text.replace("metric: accuracy", "metric: matthews"))
    assert before["adapt"] != after["adapt"]


# What was computed with an earlier version must be found again, but for stages whose version rose since: they
# compute something else.
DEMO = {
    "tokenizer on the training texts": "23c612d1f9426aa1b9501b94",
    "create transformer-pp-nano, seed 0": "259d0ec04cd7485ae5dd9c0a",
    "create matmul-free-nano, seed 1": "0ad24d815894cf6757330ee5",
    "sweep transformer-pp-nano on sst2": "2cea02f158a1502fd5da4457",
    "adapt transformer-pp-nano on sst2, seed 0": "5de63aa7c594cfd9fa59f9c4",
    "adapt matmul-free-nano on qnli, seed 1": "fcb3cdc012135785da55dd5c",
    "answer transformer-pp-nano on sst2, seed 0: validation": "0c6148fed9d6f2c7c84ce03d",
    "answer matmul-free-nano on qnli, seed 1: adv_qnli": "7a6acfe4660a9392123f5d25",
    "attack transformer-pp-nano on sst2, seed 0: pwws": "89332d54c24e43bb7971ba18",
    "attack matmul-free-nano on qnli, seed 1: checklist-templates": "bc8434e04744be4ddbdd236d",
    "transfer transformer-pp-nano on sst2, seed 0: pwws made on gla-nano": "3b0bf59734ee43b41f4d4cd5",
}
REGRESSION = {
    "tokenizer on the corpus": "38bab5ba761b5e03ff154540",
    "pretrain gla-nano-pretrained+prune": "7958e9447d16f65d044f8657",
    "transform prune of gla-nano-pretrained+prune, seed 0": "7e415af2270d4911dee8006c",
    "sweep gla-nano-pretrained+prune on stars": "dc84c74e9b508ea93d5f8e5c",
    "adapt gla-nano-pretrained+prune on stars, seed 0": "6e21cebf91903cc38281a0f8",
    "answer gla-nano-pretrained+prune on stars, seed 0: validation": "48defa58e195ef7de6f23e90",
}


def test_artifacts_of_earlier_runs_of_the_demo_are_found_again() -> None:
    graph = lay_out(load_study("studies/demo.yaml"), machine=MACHINE)
    found = {str(stage): stage.key for stage in graph.stages}
    assert len(found) == len(graph.stages) == 158
    assert {name: found[name] for name in DEMO} == DEMO


def test_artifacts_of_a_pretrained_and_transformed_regression_are_found_again(tmp_path: Path) -> None:
    if "prune" not in TRANSFORMS:
        TRANSFORMS.register("prune", lambda source, out, seed: None)
    (tmp_path / "stars.csv").write_text("text,score\n" + "".join(f"word {i},{i % 5}.5\n" for i in range(30)))
    (tmp_path / "corpus.txt").write_text("\n\n".join(f"line {i} of a story" for i in range(300)))
    files = "{train: stars.csv, validation: stars.csv}"
    text = f"""\
name: kept
models: [{{arch: gla, size: nano, pretrain: true, transforms: [prune]}}]
tasks: [{{name: stars, fields: [text], label: score, files: {files}}}]
seeds: [0]
adapt: {{method: lora, learning_rate: {{sweep: [1.0e-3, 2.0e-3]}}, early_stopping: {{patience: 2}}}}
pretrain: {{corpus: [corpus.txt], tokens: 20k, vocabulary: 300, length: 32, learning_rate: {{gla: 0.002}}}}
"""
    found = {str(stage): stage.key for stage in laid_out(tmp_path, text).stages}
    assert {name: found.get(name) for name in REGRESSION} == REGRESSION


def test_watts_do_not_measure_again(tmp_path: Path) -> None:
    grid = "efficiency: {batch: [1]}\n"
    before, after = keys(tmp_path, STUDY + grid), keys(tmp_path, STUDY + grid.replace("}", ", watts: 65}"))
    assert before == after != keys(tmp_path)


def test_changed_data_change_the_keys(tmp_path: Path) -> None:
    before = keys(tmp_path)
    with (tmp_path / "dev.csv").open("a") as file:
        file.write("one more,a\n")
    after = keys(tmp_path)
    assert {kind for kind in before if before[kind] != after[kind]} == {"answer"}


def test_equal_candidates_are_computed_once_and_asked_under_both_names(tmp_path: Path) -> None:
    twins = STUDY.replace("{arch: gla, size: nano}", "gla:nano, {name: twin, arch: gla, size: nano}")
    once, both = laid_out(tmp_path), laid_out(tmp_path, twins)
    assert len(both.stages) == len(once.stages) and len(both.adapted) == 2 * len(once.adapted)
    assert [adapted.model for adapted in both.adapted] == ["gla-nano", "twin"]
    [stage] = [stage for stage in both.stages if isinstance(stage, ProfileStage)]
    assert [shape.names for shape in stage.shapes] == [("gla-nano", "twin")]


def test_every_stage_follows_its_inputs(tmp_path: Path) -> None:
    done: set[str] = set()
    for stage in lay_out(load_study("studies/demo.yaml"), machine=MACHINE).stages:
        assert {source.key for source in stage.inputs.values()} <= done
        done.add(stage.key)


def test_the_fingerprint_of_a_folder_sees_every_file_but_its_card(tmp_path: Path) -> None:
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "sub" / "merges.tiktoken").write_text("a")
    first = fingerprint(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("card")
    assert fingerprint(tmp_path / "model") == first
    (tmp_path / "model" / "sub" / "merges.tiktoken").write_text("b")
    assert fingerprint(tmp_path / "model") != first
