"""Attacks as a part of a study: stages, tables, transfer, resume, replay, defence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import trilemma
from tests.stand_ins.victims import BagOfWords, Failing
from trilemma.analysis.attack_records import masking_cautions
from trilemma.analysis.scores.attacks import (
    AttackRun,
    TransferRun,
    attack_records,
    gap_records,
    transfer_records,
)
from trilemma.attacks import Attacked
from trilemma.attacks.journal import Journal
from trilemma.attacks.made import MadeExamples
from trilemma.cli import attack as attack_command
from trilemma.errors import AttackError, StudyError
from trilemma.records import Record, records_table
from trilemma.report.attacks import attack_sheet, transfer_figure
from trilemma.study import attack_stages
from trilemma.study.spec import load_study

STUDY = """\
name: attacked
models:
  - {arch: transformer-pp, size: nano}
  - {arch: gla, size: nano}
tasks: [sst2]
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
    assert set(rows["set"]) == {
        f"attack:{attack}:{source}"
        for attack in ("deepwordbug", "synonyms", "checklist")
        for source in ("transformer-pp-nano", "gla-nano")
    }
    assert all(row["set"].split(":")[2] != row["model"] for row in rows.to_dict("records"))
    figure = transfer_figure(records)
    assert figure is not None and ("sst2", "deepwordbug") in figure.variants
    sheet = attack_sheet(records)
    assert sheet is not None and len(sheet.rows) == 6
    assert 'id="attacks"' in (finished / "run" / "report.html").read_text("utf-8")


def test_a_finished_study_is_not_attacked_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_stages, "attack", lambda *_: pytest.fail("attacked again"))
    before = (finished / "run" / "records.parquet").read_bytes()
    trilemma.run(finished / "study.yaml", out=finished / "run", store=finished / "store")
    assert (finished / "run" / "records.parquet").read_bytes() == before


def test_what_a_failing_run_has_finished_is_not_attacked_again(tmp_path: Path) -> None:
    path, won = tmp_path / "attacked.jsonl", Attacked(("ünïcode 🎬",), 7, True, 0.5, "pwws")
    journal = Journal(path, 5, "a model")
    journal.keep(3, won)
    journal.keep(9, Attacked(("of another size",), 1))
    with path.open("a") as file:
        file.write('{"index": 4, "text": ["cut o')
    again = Journal(path, 5, "a model")
    assert again.results == {3: won}
    again.keep(2, won)
    assert Journal(path, 5, "a model").results == {3: won, 2: won}
    assert Journal(path, 5, "another model").results == {}


def test_the_command_goes_on_where_a_failing_victim_left_it(finished: Path, tmp_path: Path) -> None:
    out, victim = tmp_path / "adv.parquet", Failing(BagOfWords({"good": 1.0}), 3, TimeoutError("no answer"))
    checkpoint = json.loads((finished / "run" / "checkpoints.json").read_text("utf-8"))[0]["folder"]

    def attack(victim: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attack_command, "victim_of", lambda *_: victim)
            attack_command.attack(checkpoint, "sst2", "deepwordbug", out, items=30, budget=30)

    with pytest.raises(TimeoutError):
        attack(victim)
    assert not out.exists() and out.with_suffix(".journal").is_file()
    attack(BagOfWords({"is": 1.0}, bias=-0.5))
    assert out.is_file() and not out.with_suffix(".journal").exists()


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


RECORD = Record("s", "m", "gla", 1, "full", "sst2", "attack:x", 0, "R", "", level="word", method="x")


def rows(*queries: int, success: bool = True) -> list[dict[str, object]]:
    return [
        {
            "id": str(n),
            "attacked": True,
            "success": success,
            "queries": count,
            "words_changed": 0.25,
            "similarity": 0.9,
            "perplexity_ratio": None,
        }
        for n, count in enumerate(queries)
    ]


def test_what_attacks_took_is_a_mean_over_items_and_seeds() -> None:
    other = Record("s", "m", "gla", 1, "full", "sst2", "attack:x", 1, "R", "", level="word", method="x")
    runs = [AttackRun(RECORD, rows(10, 20, 30)), AttackRun(other, rows(20, 40))]
    found = {(one.metric, one.seed): one for one in attack_records(runs)}
    assert found["queries_per_item", 0].value == pytest.approx(20)
    assert found["queries_per_item", None].value == pytest.approx(25)  # of both seeds' means
    pooled = found["queries_per_item", None]
    assert pooled.n == 5 and pooled.low is not None and pooled.high is not None
    assert 0 <= pooled.low < 25 < pooled.high <= 50
    failed = {one.metric: one for one in attack_records([AttackRun(RECORD, rows(5, 6, success=False))])}
    assert failed["queries_per_success"].value is None
    assert failed["queries_per_success"].note == "not measured: no success"
    unmeasured = attack_records([AttackRun(RECORD, rows(5), "no encoder")])
    assert "no encoder" in {one.metric: one for one in unmeasured}["similarity"].note


def test_transfer_counts_items_that_the_other_model_answers_correctly() -> None:
    answers = [
        {"id": "a", "gold": 1, "original_answer": 1, "answer": 0},
        {"id": "b", "gold": 1, "original_answer": 1, "answer": 1},
        {"id": "c", "gold": 1, "original_answer": 0, "answer": 0},
    ]
    [first, _] = transfer_records([TransferRun(RECORD, answers)])
    assert (first.value, first.n) == (0.5, 2)


def outcomes(method: str, *successes: bool, seed: int | None = 0) -> AttackRun:
    record = replace(RECORD, set=f"attack:{method}", method=method, seed=seed)
    rows = [
        {"id": str(n), "attacked": True, "success": won, "queries": 5, "words_changed": 0.1}
        | {"similarity": None, "perplexity_ratio": None}
        for n, won in enumerate(successes)
    ]
    return AttackRun(record, rows)


def test_a_white_box_attack_that_is_weaker_is_flagged() -> None:
    black, white = [True] * 30 + [False] * 10, [True] * 12 + [False] * 28

    def cautions(blind: list[bool], seeing: list[bool]) -> list[str]:
        records = list(gap_records([outcomes("pwws", *blind), outcomes("hotflip", *seeing)], {"hotflip"}))
        assert len(records) == 1
        return list(masking_cautions(records_table(records).to_pandas()))

    [apart] = cautions(black, white)
    assert "hotflip succeeds on 45% fewer of the items [" in apart and "black-box attack pwws" in apart
    assert "not distinguishably" not in apart
    assert cautions(white, black) == []
    assert "not distinguishably" in cautions([True] * 3 + [False] * 9, [True] * 2 + [False] * 10)[0]
    assert list(gap_records([outcomes("pwws", *black)], {"hotflip"})) == []


def made() -> MadeExamples:
    texts = [("a good film",), ("a fine film",), ("a bad film",), ("dull",)]
    shown = [("a gud film",), ("a fien film",), ("a bad film",), ("dull",)]
    zeros = np.zeros((4, 2), np.float32)
    return MadeExamples(
        level="word",
        originals=texts,
        shown=shown,
        labels=[1, 1, 0, 0],
        attacked=[True, True, True, False],
        queries=[5, 6, 9, 0],
        by=[""] * 4,
        success=[True, True, False, False],
        similarity=[0.9, 0.4, None, None],
        perplexity_ratio=[None] * 4,
        before=zeros,
        after=zeros,
        unmeasured="",
    )


def test_a_made_set_is_curated_with_counts_by_reason() -> None:
    from trilemma.attacks import AttackSettings

    kept, dropped = made().kept(AttackSettings(similarity=0.5, words_changed=0.4))
    assert kept == [0]
    assert dropped == {"no success": 1, "the model was wrong already": 1, "too little similar": 1}


def test_a_made_set_has_the_columns_of_advglue_and_is_read_without_naming_them(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from trilemma.tasks import adversarial_from_user, get

    columns = made().as_advglue(get("sst2"), "deepwordbug", [0, 1])
    pq.write_table(pa.Table.from_pydict(columns), tmp_path / "made.parquet")
    block = {"name": "mine", "task": "sst2", "file": "made.parquet"}
    [examples] = adversarial_from_user(block, tmp_path, get("sst2"))
    assert list(examples.texts) == [("a gud film",), ("a fien film",)]
    assert list(examples.originals) == [("a good film",), ("a fine film",)]
    assert set(examples.levels) == {"word"} and set(examples.methods) == {"deepwordbug"}


def test_adversarial_training_learns_from_what_fooled_it(tmp_path: Path) -> None:
    study = STUDY[: STUDY.index("robustness:")].replace("  - {arch: gla, size: nano}\n", "")
    adapt = "{epochs: 1, rows: 300, batch: 16, learning_rate: 3.0e-3, method: adversarial-training,"
    study = study.replace("adapt: {epochs: 2, rows: 1500, batch: 16, learning_rate: 2.0e-3}", "")
    (tmp_path / "study.yaml").write_text(f"{study}adapt: {adapt} adversarial: {{rows: 40, budget: 30}}}}\n")
    trilemma.run(tmp_path / "study.yaml", out=tmp_path / "run", store=tmp_path / "store")
    records = pd.read_parquet(tmp_path / "run" / "records.parquet")
    rows = records[records["metric"] == "training_rows"]["value"].item()
    assert 300 < rows <= 340


def test_a_model_that_answers_no_numbers_fails_alone(finished: Path, tmp_path: Path) -> None:
    from trilemma.errors import DivergedError
    from trilemma.study.data import StudyData
    from trilemma.study.stage import Stage, StageRun

    class Broken:
        def __call__(self, texts: list[tuple[str, ...]]) -> np.ndarray:
            return np.full((len(texts), 2), np.nan, np.float32)

    study = load_study(finished / "study.yaml")
    settings = {"task": "sst2", "attack": "deepwordbug", "name": "x", "items": 5, "budget": 20, "seed": 0}
    stage = Stage("attack", "x", settings, {}, {"options": {}})
    run = StageRun(stage, {}, tmp_path, tmp_path, StudyData(study))
    with pytest.raises(DivergedError, match="no number"):
        attack_stages.attack(run, Broken())  # type: ignore[arg-type]


def test_where_a_resource_of_adversarial_training_lies_does_not_matter(tmp_path: Path) -> None:
    from trilemma.study.data import StudyData
    from trilemma.study.graph import GraphBuilder
    from trilemma.study.origin import resolve

    study = STUDY[: STUDY.index("robustness:")].replace("  - {arch: gla, size: nano}\n", "")
    study = study.replace("adapt: {epochs: 2, rows: 1500, batch: 16, learning_rate: 2.0e-3}", "")
    adapt = "{epochs: 1, learning_rate: 3.0e-3, method: adversarial-training, adversarial: {recipe: pso,"
    keys = []
    for folder, content in (("a", '{"good": ["fine"]}'), ("b", '{"good": ["fine"]}'), ("c", '{"good": []}')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sememes.json").write_text(content)
        own = f"{study}adapt: {adapt} settings: {{sememes: sememes.json, part_of_speech: false}}}}}}\n"
        (tmp_path / folder / "study.yaml").write_text(own)
        spec = load_study(tmp_path / folder / "study.yaml")
        origins = {model.label: resolve(model, spec.base) for model in spec.models}
        [cell] = GraphBuilder(spec, StudyData(spec), origins, {}).build().cells
        keys.append(cell.adapt.key)
    assert keys[0] == keys[1] != keys[2]
