"""Attacks as a part of a study: stages, tables, transfer, resume, defence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import trilemma
from trilemma.errors import AttackError, DivergedError, StudyError
from trilemma.report.charts.robustness import transfer_figure
from trilemma.report.sheets import attack_sheet
from trilemma.study import load_study
from trilemma.study.layout import lay_out
from trilemma.study.stage import StageRun
from trilemma.study.stages.attack import AttackStage
from trilemma.study.stages.transfer import Transfer

STUDY = """\
name: attacked
models:
  - {arch: transformer-pp, size: nano}
  - {arch: gla, size: nano}
tasks: [sst2]
seeds: [0]
adapt: {epochs: 2, rows: 1500, batch: 16, learning_rate: 2.0e-3}
robustness:
  attacks: [deepwordbug, {recipe: pwws, name: synonyms, wordnet: embedded}, checklist]
  attack_settings: {words_changed: 0.5}
  budget: 40
  items: 20
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "study.yaml").write_text(STUDY)
    trilemma.run(folder / "study.yaml", out=folder / "run", store=folder / "store")
    return folder


def test_other_names_ask_no_model_again(finished: Path) -> None:
    """The records and items then have the new names."""
    renamed = STUDY.replace("[deepwordbug,", "[{recipe: deepwordbug, name: letters},")
    (finished / "renamed.yaml").write_text(renamed.replace("name: attacked", "name: renamed"))
    before = {path.name for path in (finished / "store").glob("*/*")}
    result = trilemma.run(finished / "renamed.yaml", out=finished / "renamed", store=finished / "store")
    assert {path.name for path in (finished / "store").glob("*/*")} == before
    items, old = result.items, pd.read_parquet(finished / "run" / "items.parquet")
    assert set(items["set"]) == {"validation", "attack:letters", "attack:synonyms", "attack:checklist"}
    assert set(items.loc[items["set"] == "attack:letters", "method"]) == {"letters"}
    same = ["model", "task", "id", "gold", "answer"]
    pd.testing.assert_frame_equal(items[same], old[same], check_dtype=False)
    assert {"letters", "synonyms"} <= set(result.records["method"])


def attack_tables(folder: Path) -> list[pd.DataFrame]:
    return [
        pd.read_parquet(path) for path in sorted((folder / "store" / "attack").glob("*/examples.parquet"))
    ]


def test_every_example_is_kept_and_is_what_it_says(finished: Path) -> None:
    tables = attack_tables(finished)
    assert len(tables) == 6
    for table in tables:
        assert len(table) == 20
        assert (table["queries"] <= 40).all()
        assert (table["success"] <= table["attacked"]).all()
        for row in table.to_dict("records"):
            wrong = max(range(2), key=lambda label: row["probabilities"][label]) != row["gold"]
            assert row["success"] == (wrong and row["attacked"])
            changed = list(row["original"]) != list(row["adversarial"])
            assert changed == bool(len(row["changed"])) == (row["words_changed"] > 0)
            assert row["words_changed"] <= 0.5 or row["level"] == "sentence"
    assert any(table["success"].any() for table in tables)


def test_records_have_intervals_and_agree_with_the_examples(finished: Path) -> None:
    records = pd.read_parquet(finished / "run" / "records.parquet")
    items = pd.read_parquet(finished / "run" / "items.parquet")
    own = records[records["set"].isin(["attack:deepwordbug", "attack:synonyms"]) & records["seed"].isna()]
    for metric in ("robust_accuracy", "attack_success_rate", "words_changed", "queries_per_item"):
        rows = own[(own["metric"] == metric) & (own["method"] != "")]
        assert len(rows) == 4, metric
        known = rows[rows["value"].notna()]
        assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all()
    chosen = items[(items["set"] == "attack:deepwordbug") & (items["model"] == "gla-nano")]
    right = own[(own["set"] == "attack:deepwordbug") & (own["model"] == "gla-nano")]
    value = right[(right["metric"] == "robust_accuracy") & (right["method"] != "")]["value"].item()
    assert value == pytest.approx((chosen["answer"] == chosen["gold"]).mean())
    assert {"sentence"} == set(records[records["set"] == "attack:checklist"]["level"]) - {"all"}


def test_examples_are_shown_to_the_other_model(finished: Path) -> None:
    records = pd.read_parquet(finished / "run" / "records.parquet")
    rows = records[(records["metric"] == "transfer_success_rate") & records["seed"].isna()]
    assert set(rows["set"]) == {f"attack:{attack}" for attack in ("deepwordbug", "synonyms", "checklist")}
    assert set(rows["made_on"]) == {"transformer-pp-nano", "gla-nano"} == set(rows["model"])
    assert (rows["made_on"] != rows["model"]).all()
    attacked = records[(records["metric"] == "robust_accuracy") & records["set"].isin(set(rows["set"]))]
    assert len(attacked) and (attacked["made_on"] == attacked["model"]).all()
    figure = transfer_figure(records)
    assert figure is not None and ("sst2", "deepwordbug") in figure.variants
    sheet = attack_sheet(records)
    assert sheet is not None and len(sheet.rows) == 6
    assert 'id="attacks"' in (finished / "run" / "report.html").read_text("utf-8")


def test_a_finished_study_is_not_attacked_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AttackStage, "compute", lambda *_: pytest.fail("attacked again"))
    before = (finished / "run" / "records.parquet").read_bytes()
    trilemma.run(finished / "study.yaml", out=finished / "run", store=finished / "store")
    assert (finished / "run" / "records.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("attacks: [deepwrdbug]", "did you mean deepwordbug"),
        ("attacks: [{recipe: pwws, colour: red}]", "colour"),
        ("attacks: [pwws, pwws]", "pwws"),
        ("attacks: [{recipe: pwws, similarity: 2}]", "similarity"),
    ],
)
def test_a_wrong_attack_is_refused_before_any_work(tmp_path: Path, block: str, said: str) -> None:
    start = STUDY[: STUDY.index("robustness:")]
    (tmp_path / "study.yaml").write_text(f"{start}robustness: {{{block}}}\n")
    with pytest.raises(StudyError, match=said):
        load_study(tmp_path / "study.yaml")


def test_a_missing_resource_is_named_before_any_work(tmp_path: Path) -> None:
    start = STUDY[: STUDY.index("robustness:")]
    (tmp_path / "study.yaml").write_text(
        f"{start}robustness: {{attacks: [{{recipe: pwws, wordnet: none}}]}}\n"
    )
    with pytest.raises(AttackError, match="apt-get install wordnet-base"):
        trilemma.run(tmp_path / "study.yaml", out=tmp_path / "run")
    assert not list((tmp_path / ".store").glob("adapt/*"))


def test_adversarial_training_learns_from_what_fooled_it(tmp_path: Path) -> None:
    study = STUDY[: STUDY.index("robustness:")].replace("  - {arch: gla, size: nano}\n", "")
    adapt = "{epochs: 1, rows: 300, batch: 16, learning_rate: 3.0e-3, method: adversarial-training,"
    study = study.replace("adapt: {epochs: 2, rows: 1500, batch: 16, learning_rate: 2.0e-3}", "")
    (tmp_path / "study.yaml").write_text(f"{study}adapt: {adapt} adversarial: {{rows: 40, budget: 30}}}}\n")
    trilemma.run(tmp_path / "study.yaml", out=tmp_path / "run", store=tmp_path / "store")
    records = pd.read_parquet(tmp_path / "run" / "records.parquet")
    rows = records[records["metric"] == "training_rows"]["value"].item()
    assert 300 < rows <= 340


def test_a_model_that_answers_no_numbers_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __call__(self, texts: list[tuple[str, ...]]) -> np.ndarray:
            return np.full((len(texts), 2), np.nan, np.float32)

    (tmp_path / "study.yaml").write_text(STUDY)
    graph = lay_out(load_study(tmp_path / "study.yaml"), machine={})
    stage = next(stage for stage in graph.stages if isinstance(stage, AttackStage))
    run = StageRun(tmp_path, tmp_path, graph.data, artifact=lambda source: tmp_path)
    monkeypatch.setattr(AttackStage, "classifier", lambda *_: Broken())
    with pytest.raises(DivergedError, match=r"no(t a)? number.*check its weights"):
        stage.compute(run)


def test_where_a_resource_of_adversarial_training_is_does_not_matter(tmp_path: Path) -> None:
    study = STUDY[: STUDY.index("robustness:")].replace("  - {arch: gla, size: nano}\n", "")
    study = study.replace("adapt: {epochs: 2, rows: 1500, batch: 16, learning_rate: 2.0e-3}", "")
    adapt = "{epochs: 1, learning_rate: 3.0e-3, method: adversarial-training, adversarial: {recipe: pso,"
    keys = []
    for folder, content in (("a", '{"good": ["fine"]}'), ("b", '{"good": ["fine"]}'), ("c", '{"good": []}')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sememes.json").write_text(content)
        text = f"{study}adapt: {adapt} settings: {{sememes: sememes.json, part_of_speech: false}}}}}}\n"
        (tmp_path / folder / "study.yaml").write_text(text)
        [adapted] = lay_out(load_study(tmp_path / folder / "study.yaml"), machine={}).adapted
        keys.append(adapted.adapt.key)
    assert keys[0] == keys[1] != keys[2]


def test_every_pair_of_models_is_shown_the_examples_made_on_the_other(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    graph = lay_out(load_study(tmp_path / "study.yaml"), machine={})
    transfers = [stage for stage in graph.stages if isinstance(stage, Transfer)]
    assert {(one.adapted.model, one.made_on, one.set) for one in transfers} == {
        (target, source, f"attack:{name}")
        for target, source in (("gla-nano", "transformer-pp-nano"), ("transformer-pp-nano", "gla-nano"))
        for name in ("deepwordbug", "synonyms", "checklist")
    }
