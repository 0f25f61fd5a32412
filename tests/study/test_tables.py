"""What the tables say of a study: what is generated, what a model was trained on, what was not measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from trilemma.profiling import EfficiencyGrid
from trilemma.records import GENERATED, PARTIAL, Record, records_table, write_table
from trilemma.study import load_study
from trilemma.study.finished import Finished
from trilemma.study.layout import lay_out
from trilemma.study.runner import keep_study
from trilemma.study.stages import adapt, pretrain, profile
from trilemma.study.stages.pretrain import Pretrain
from trilemma.study.store import Store

STUDY = """\
name: mixed
models:
  - {arch: gla, size: nano}
  - {arch: matmul-free, size: nano, note: with fewer epochs, adapt: {epochs: 1, batch: 16}}
tasks:
  - sst2
  - {name: mine, fields: sentence, labels: [a, b], files: {train: mine.csv, validation: mine.csv}}
adapt: {epochs: 2, learning_rate: 1.0e-3}
robustness: {sets: [advglue, {name: typos, task: sst2, file: typos.csv}]}
"""
FACTS = {
    "rows": 3,
    "epochs": 1.0,
    "learning_rate": 1e-3,
    "steps": 5,
    "seconds": 2.0,
    "precision": "float32",
    "hardware": "a computer",
    "versions": "some",
}
PRETRAINED = {"tokens": 10_000, "held_out_tokens": 70, "held_out_perplexity": 9.0} | {
    "held_out_word_perplexity": None,
    "held_out_bits_per_byte": 2.0,
}
MODELS = ["gla-nano", "matmul-free-nano", "twin"]


def measured(*more: Record) -> list[Record]:
    """What a profile would have written: the parameters of each model, and more of each."""
    shared = {"arch": "gla", "parameters": 1, "hardware": "here", "kernel": "ours", "versions": "these"}
    blank = Record(model="", axis="E", metric="parameters", value=1.0, unit="count", basis="counted")
    return [replace(one, model=model, **shared) for model in MODELS for one in (blank, *more)]


def finished_study(folder: Path, text: str = STUDY, *more: Record) -> Finished:
    """A study whose models were all adapted, and whose efficiency was measured."""
    (folder / "mine.csv").write_text("sentence,label\n" + "".join(f"x {i},{'ab'[i % 2]}\n" for i in range(9)))
    (folder / "typos.csv").write_text("sentence,label\na goood film,1\n")
    (folder / "study.yaml").write_text(text)
    graph = lay_out(load_study(folder / "study.yaml"), machine={})
    store = Store(folder / "store")
    [stage] = [stage for stage in graph.stages if isinstance(stage, profile.ProfileStage)]
    place = store.folder(stage.kind, stage.key)
    place.mkdir(parents=True)
    write_table(records_table(measured(*more)), place / "records.parquet")
    return Finished(graph, store, {adapted.adapt.key: FACTS for adapted in graph.adapted})


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    return finished_study(tmp_path)


@pytest.mark.parametrize(
    ("task", "name", "generated"),
    [
        ("sst2", "validation", True),
        ("sst2", "adv_sst2", True),
        ("sst2", "typos", False),
        ("mine", "validation", False),
        ("average", "advglue", True),
        ("average", "typos", False),
        ("average", "", True),
    ],
)
def test_only_what_is_generated_is_called_so(
    finished: Finished, task: str, name: str, generated: bool
) -> None:
    score = Record(model="gla-nano", axis="R", metric="robust_accuracy", value=0.5, task=task, set=name)
    completed = finished.completed(replace(score, flags=(PARTIAL,)))
    assert completed.flags == ((PARTIAL, GENERATED) if generated else (PARTIAL,))
    assert (completed.study, completed.arch, completed.kernel) == ("mixed", "gla", "ours")


def test_unequal_training_is_said(finished: Finished) -> None:
    records = list(adapt.records(finished))
    rows, epochs, rates = (
        {(record.model, record.task): record for record in records if record.metric == metric}
        for metric in ("training_rows", "training_epochs", "learning_rate")
    )
    assert len(rows) == 4 and {record.value for record in rows.values()} == {3.0}
    assert {record.note for record in rows.values()} == {""}
    assert {record.value for record in epochs.values()} == {1.0}  # as the artifact says
    assert rates["gla-nano", "sst2"].note == ""
    assert rates["matmul-free-nano", "mine"].note == "batch 16 (study: 32)"
    assert {record.hardware for record in records} == {"a computer"}  # not where it was profiled


def test_a_model_that_failed_has_the_reason(finished: Finished) -> None:
    failed = finished.graph.adapted[0]
    finished.failures[failed.adapt.key] = "the loss is not a number"
    records = [one for one in adapt.records(finished) if one.status != "ok"]
    [record] = [one for one in records if (one.model, one.task) == (failed.model, failed.task)]
    assert (record.status, record.reason, record.value) == ("failed", "the loss is not a number", None)
    assert (record.axis, record.metric, record.level, record.seed) == ("P", "accuracy", "clean", failed.seed)


@pytest.mark.parametrize("partial", [True, False])
def test_a_partial_training_split_is_flagged(
    finished: Finished, partial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = finished.graph.data
    train = data.examples("sst2", "train")
    n = len(train)
    changed = replace(train, official_rows=n + partial)
    read = data.examples
    monkeypatch.setattr(
        data, "examples", lambda task, split: changed if task == "sst2" else read(task, split)
    )
    records = {(record.task, record.metric): record for record in adapt.records(finished)}
    assert records["sst2", "training_seconds"].flags == ((PARTIAL,) if partial else ())
    assert records["mine", "training_seconds"].flags == ()
    said = f"partial training split: {n:,} of {n + 1:,} official rows" if partial else f"3 of {n:,} official"
    assert records["sst2", "training_rows"].note.startswith(said)
    assert records["sst2", "training_rows"].flags == (PARTIAL,)


def test_candidates_come_first_with_what_a_reader_must_know(finished: Finished) -> None:
    records = list(profile.records(finished))
    assert [(one.study, one.model, one.note) for one in records[:2]] == [
        ("mixed", "gla-nano", ""),
        ("mixed", "matmul-free-nano", "with fewer epochs"),
    ]


@pytest.mark.parametrize("watts", [None, 65.0])
def test_watts_give_estimates(tmp_path: Path, watts: float | None) -> None:
    latency = Record(
        model="",
        axis="E",
        metric="latency_ms",
        phase="classify",
        value=20.0,
        unit="ms",
        batch=4,
        length=8,
        precision="float32",
    )
    finished = finished_study(tmp_path, STUDY, latency)
    study = finished.graph.study.model_copy(update={"efficiency": EfficiencyGrid(watts=watts)})
    finished = replace(finished, graph=replace(finished.graph, study=study))
    energy = [one for one in profile.records(finished) if "energy" in one.metric]
    found = [(one.model, one.metric, one.phase, one.basis, one.value) for one in energy]
    estimate = "energy_j_per_example", "classify", "estimated", 0.325
    assert found == ([(model, *estimate) for model in MODELS] if watts else [])


def test_a_text_without_words_has_no_perplexity_per_word(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(f"line {i} of a story" for i in range(300)))
    twins = (
        "size: nano, name: gla-nano, pretrain: true}\n  - {arch: gla, size: nano, name: twin, pretrain: true}"
    )
    text = STUDY.replace("size: nano}", twins, 1)
    text += "pretrain: {corpus: [a.txt], tokens: 10k}\n"
    finished = finished_study(tmp_path, text)
    [stage] = [stage for stage in finished.graph.stages if isinstance(stage, Pretrain)]
    finished.facts[stage.key] = PRETRAINED
    records = {(record.model, record.metric): record for record in pretrain.records(finished)}
    assert records["twin", "held_out_perplexity"].value == 9  # of the same artifact
    word = records["gla-nano", "held_out_word_perplexity"]
    assert (word.value, word.status) == (None, "not measured")
    assert word.reason == "the text has too few words between white space"
    assert records["gla-nano", "held_out_perplexity"].value == 9
    assert records["gla-nano", "pretraining_tokens"].value == 10_000
    assert records["matmul-free-nano", "pretraining_tokens"].value == 0
    finished.failures[stage.key] = "diverged at step 3"
    first, *_ = pretrain.records(finished)
    assert (first.status, first.reason) == ("failed", "diverged at step 3")


def test_a_changed_study_says_that_it_replaces_the_earlier_result(finished: Finished, tmp_path: Path) -> None:
    notices: list[str] = []
    study, path = finished.graph.study, tmp_path / "study.json"
    keep_study(study, path, notices.append)
    (tmp_path / "records.parquet").write_text("")
    keep_study(study, path, notices.append)
    assert notices == []
    keep_study(study.model_copy(update={"seeds": (7,)}), path, notices.append)
    assert notices == [f"replaces the result of an earlier version of the study in {tmp_path}"]
    assert '"seeds":[7]' in path.read_text().replace(" ", "").replace("\n", "")
