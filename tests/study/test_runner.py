"""The walk over a study's stages: what is reused, what a kill leaves, what failures do."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.stand_ins.killed import assert_same, killed_and_resumed, tables
from tests.stand_ins.listener import Events
from tests.stand_ins.stages import stub
from trilemma.errors import DivergedError, StoreError
from trilemma.records import RECORDS, Record, read_table
from trilemma.study import load_study
from trilemma.study.finished import Finished
from trilemma.study.graph import AdaptedModel, Graph
from trilemma.study.runner import run_study
from trilemma.study.stage import AGAIN, Stage, StageRun
from trilemma.study.stages import KINDS, Kind
from trilemma.study.stages.adapt import Adapt
from trilemma.study.stages.answer import Answer, Asking
from trilemma.study.stages.profile import ProfileStage

STUDY = """\
name: small
models: [gla:nano, matmul-free:nano]
tasks: [sst2]
adapt: {epochs: 1, rows: 200, learning_rate: {sweep: [1.0e-3, 3.0e-3]}}
seeds: [0, 1]
robustness: {sets: [advglue]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stub(monkeypatch.setattr)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "run").mkdir()
    return tmp_path


def run(folder: Path, listener: Events | None = None) -> Events:
    listener = listener or Events()
    run_study(load_study(folder / "study.yaml"), folder / "run", folder / "store", listener)
    return listener


def test_a_second_run_repeats_no_stage(folder: Path) -> None:
    first = run(folder)
    before = tables(folder)
    assert len(first.computed) == 20 and not first.reused
    second = run(folder)
    assert second.reused == first.computed and not second.computed
    assert_same(before, tables(folder))
    assert len(json.loads((folder / "run" / "checkpoints.json").read_text())) == 4


def test_an_earlier_run_is_used_again_but_for_its_profile_and_tables(folder: Path) -> None:
    """Its tables have other columns, and its profile is not found, since its VERSION rose."""
    run(folder)
    expected = tables(folder)
    shutil.rmtree(folder / "store" / "profile")
    for name in ("records", "items"):
        earlier = pa.table({"study": ["small"], "metric": ["latency_ms"], "partial": [False]})
        pq.write_table(earlier, folder / "run" / f"{name}.parquet")
    with pytest.raises(StoreError, match="another version"):
        read_table(folder / "run" / "records.parquet", RECORDS)
    again = run(folder)
    assert again.computed == ["profile of 2 shapes"] and len(again.reused) == 19
    assert_same(expected, tables(folder))


def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    killed_and_resumed(tmp_path / "study.yaml", kills=4, seed=20_240_817, stubs=True)


def test_another_study_reuses_what_does_not_depend_on_what_it_changes(folder: Path) -> None:
    run(folder)
    (folder / "study.yaml").write_text(
        STUDY.replace("[0, 1]", "[0, 2]").replace("name: small", "name: other")
    )
    listener = run(folder)
    assert [one for one in listener.reused if "seed 0" in one] and "tokenizer" in listener.reused[0]
    assert all("seed 2" in one for one in listener.computed if "seed" in one)
    records, items = tables(folder)
    assert set(records["study"]) == {"other"} and set(items["seed"]) == {0, 2}


def test_a_failed_stage_fails_what_needs_it_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Adapt.compute

    def diverge(self: Adapt, run: StageRun) -> None:
        if "gla-nano on sst2, seed 1" in self.title:
            raise DivergedError("the loss is not a number at step 3")
        compute(self, run)

    monkeypatch.setattr(Adapt, "compute", diverge)
    listener = run(folder)
    assert list(listener.failed) == [
        "adapt gla-nano on sst2, seed 1",
        "answer gla-nano on sst2, seed 1: validation",
        "answer gla-nano on sst2, seed 1: adv_sst2",
    ]
    records, items = tables(folder)
    assert listener.notices[-1].startswith("1 of 20 stages failed, and 2 that need them were not run")
    failed = records[records["status"] == "failed"]
    assert failed[["model", "axis", "metric", "seed"]].values.tolist() == [["gla-nano", "P", "accuracy", 1.0]]
    assert failed["reason"].tolist() == ["the loss is not a number at step 3"]
    assert len(items.groupby(["model", "seed"])) == 3
    assert run(folder).failed == listener.failed  # a result of the settings: kept, not tried again


def test_an_error_of_a_library_ends_its_candidate_and_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Adapt.compute

    def fail(self: Adapt, run: StageRun) -> None:
        if "gla-nano" in self.title:
            raise IndexError("index out of range in self")
        compute(self, run)

    monkeypatch.setattr(Adapt, "compute", fail)
    listener = run(folder)
    assert [one for one in listener.failed if one.startswith("adapt")] == [
        f"adapt gla-nano on sst2, seed {seed}" for seed in (0, 1)
    ]
    records, items = tables(folder)
    failed = records[records["status"] == "failed"]
    assert set(failed["reason"]) == {"the model failed with IndexError: index out of range in self"}
    assert set(items["model"]) == {"matmul-free-nano"}
    monkeypatch.setattr(Adapt, "compute", compute)
    assert [one for one in run(folder).computed if "adapt gla" in one] and not run(folder).failed


@pytest.mark.parametrize("error", [StoreError("the store is locked"), KeyboardInterrupt()])
def test_what_would_stop_every_stage_ends_the_study(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(self: Adapt, run: StageRun) -> None:
        raise error

    monkeypatch.setattr(Adapt, "compute", fail)
    with pytest.raises(type(error)):
        run(folder)


def test_a_damaged_artifact_is_set_aside_and_made_again(folder: Path) -> None:
    run(folder)
    before = tables(folder)
    weights = next((folder / "store" / "adapt").glob("*/model.safetensors"))
    content = weights.read_text()
    weights.write_text(content + " ")
    listener = run(folder)
    aside = weights.parent.with_name(f".damaged-{weights.parent.name}")
    reason = "its artifact is damaged (model.safetensors is missing or differs from its checksum)"
    [notice] = listener.notices
    assert notice.endswith(f"{reason}; it is made again, the old one is {aside}")
    assert weights.read_text() == content and (aside / "model.safetensors").is_file()
    assert len(listener.computed) == 1
    assert_same(before, tables(folder))


def test_what_somebody_interrupted_is_measured_again_by_the_next_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = ProfileStage.compute, [True]

    def compute(self: ProfileStage, run: StageRun) -> None:
        whole(self, run)
        run.facts[AGAIN] = killed.pop() if killed else False

    monkeypatch.setattr(ProfileStage, "compute", compute)
    first = run(folder)
    second = run(folder)
    assert [name for name in second.computed if name.startswith("profile")] == second.computed
    assert len(second.computed) == 1 and len(second.reused) == len(first.computed) - 1
    assert not run(folder).computed


def test_artifacts_that_vanish_while_the_study_runs_are_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_answers(event: str) -> None:
        if event == "scoring":
            shutil.rmtree(folder / "store" / "answer")

    with pytest.raises(StoreError, match=r"items.parquet is gone or unreadable.*Run the command again"):
        run(folder, Events(without_answers))

    def without_models(self: Answer, run: StageRun) -> None:
        shutil.rmtree(run.artifact(self.adapted.adapt))
        raise FileNotFoundError(run.artifact(self.adapted.adapt))

    monkeypatch.setattr(Answer, "compute", without_models)
    with pytest.raises(StoreError, match=r"was removed while the study ran; run the same command"):
        run(folder)


def test_a_full_disk_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Stage, run: StageRun) -> None:
        raise RuntimeError("write failed")

    monkeypatch.setattr(Adapt, "compute", fail)
    assert "write failed" in next(iter(run(folder).failed.values()))
    usage = shutil.disk_usage(folder)._replace(free=0)
    monkeypatch.setattr("trilemma.study.runner.shutil.disk_usage", lambda path: usage)
    with pytest.raises(StoreError, match="the disk is full: cannot write"):
        run(folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Count(Asking, kind="count", version=1):
    """What a new file in ``stages`` would hold: counts the letters of a set."""

    def compute(self, run: StageRun) -> None:
        [examples] = [one for one in run.data.evaluation(self.adapted.task) if one.split == self.set]
        run.facts["letters"] = sum(len(text) for pair in examples.texts for text in pair)

    def ask(self, classifier: object, run: StageRun) -> None:
        raise NotImplementedError


def lay_out(graph: Graph, adapted: AdaptedModel) -> Iterator[Count]:
    yield Count(title=f"letters of {adapted.adapt.title}", adapted=adapted, set="validation")


def records(finished: Finished) -> Iterator[Record]:
    for stage in finished.graph.asked:
        if isinstance(stage, Count):
            letters = float(finished.facts[stage.key]["letters"])
            yield finished.of_adapted(stage.adapted, stage, axis="P", metric="letters", value=letters)


def test_a_new_kind_of_stage_is_one_line_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (*KINDS, Kind(records, of_adapted=lay_out))
    for module in ("layout", "stages"):
        monkeypatch.setattr(f"trilemma.study.{module}.KINDS", kinds)
    listener = run(folder)
    assert sum(one.startswith("count letters of") for one in listener.computed) == 4
    found = tables(folder)[0].query("metric == 'letters'")
    assert len(found) == 4 and (found["value"] > 0).all() and (found["arch"] == "gla").all()
    assert len(run(folder).reused) == 24
