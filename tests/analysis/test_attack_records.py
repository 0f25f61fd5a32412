"""What attacks on the study's own models took, by seed and over seeds, and what in it is suspect."""

from dataclasses import replace

import numpy as np
import pytest

from trilemma.analysis.cautions import masking_cautions
from trilemma.analysis.scores.attacks import (
    AttackOutcome,
    TransferRun,
    attack_records,
    gap_records,
    transfer_records,
)
from trilemma.records import SUSPECT, Record, records_table
from trilemma.report.charts.robustness import transfer_figure
from trilemma.report.sheets import attack_sheet

TEMPLATE = Record(
    model="m",
    arch="gla",
    adaptation="full",
    task="sst2",
    set="attack:x",
    seed=0,
    axis="R",
    metric="",
    level="word",
    method="x",
    made_on="m",
    status="not measured",
    reason="a template",
)


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
    runs = [
        AttackOutcome(TEMPLATE, rows(10, 20, 30, 10, 20, 30)),
        AttackOutcome(replace(TEMPLATE, seed=1), rows(20, 40, 20, 40, 20, 40)),
    ]
    found = {(one.metric, one.seed): one for one in attack_records(runs)}
    assert found["queries_per_item", 0].value == pytest.approx(20)
    pooled = found["queries_per_item", None]
    assert pooled.value == pytest.approx(25)  # of both seeds' means
    assert (pooled.n, pooled.unit, pooled.status, pooled.reason) == (12, "queries", "ok", "")
    assert pooled.low is not None and pooled.high is not None
    assert 0 < pooled.low < 25 < pooled.high


def test_amounts_have_no_limit_at_the_largest_and_no_interval_below_five_items() -> None:
    def per_success(*queries: int) -> Record:
        found = attack_records([AttackOutcome(TEMPLATE, rows(*queries))])
        return {one.metric: one for one in found if one.seed is None}["queries_per_success"]

    few, five = per_success(12, 14, 10), per_success(12, 14, 10, 11, 40)
    assert few.value == 12 and few.low is None and "no interval: 3 items" in few.note
    assert 0 < five.low < 10 and five.high > 40


def test_what_an_attack_without_success_has_no_value_of_says_why() -> None:
    failed = {one.metric: one for one in attack_records([AttackOutcome(TEMPLATE, rows(5, 6, success=False))])}
    assert failed["queries_per_item"].value == 5.5
    none = failed["queries_per_success"]
    assert (none.value, none.status, none.reason) == (None, "not measured", "no success")
    unmeasured = attack_records([AttackOutcome(TEMPLATE, rows(5), "no encoder")])
    assert {one.metric: one.reason for one in unmeasured}["similarity"] == "no encoder"


def test_transfer_counts_items_that_the_other_model_answers_correctly() -> None:
    answers = [
        {"id": "a", "gold": 1, "original_answer": 1, "answer": 0},
        {"id": "b", "gold": 1, "original_answer": 1, "answer": 1},
        {"id": "c", "gold": 1, "original_answer": 0, "answer": 0},
    ]
    [first, over_seeds] = transfer_records([TransferRun(replace(TEMPLATE, made_on="other"), answers)])
    assert (first.value, first.n, first.made_on) == (0.5, 2, "other")
    assert (over_seeds.seed, over_seeds.value) == (None, 0.5)


def outcomes(method: str, *successes: bool) -> AttackOutcome:
    rows = [
        {"id": str(n), "attacked": True, "success": won, "queries": 5, "words_changed": 0.1}
        | {"similarity": None, "perplexity_ratio": None}
        for n, won in enumerate(successes)
    ]
    return AttackOutcome(replace(TEMPLATE, set=f"attack:{method}", method=method), rows)


def test_a_white_box_attack_that_is_weaker_is_flagged() -> None:
    black, white = [True] * 30 + [False] * 10, [True] * 12 + [False] * 28

    def gap(blind: list[bool], seeing: list[bool]) -> tuple[Record, list[str]]:
        (one,) = gap_records([outcomes("a; b", *blind), outcomes("hotflip", *seeing)], {"hotflip"})
        assert (one.metric, one.method, one.made_on) == ("white_box_gap", "hotflip", "m")
        return one, list(masking_cautions(records_table([one]).to_pandas()))

    record, [apart] = gap(black, white)
    assert record.value == pytest.approx(0.45)
    assert (record.set, record.flags) == ("attack:a; b", (SUSPECT,))
    assert "hotflip succeeds on 45% fewer of the items [" in apart and "black-box attack a; b;" in apart
    stronger, silent = gap(white, black)
    assert stronger.flags == () and silent == []
    record, silent = gap([True] * 3 + [False] * 9, [True] * 2 + [False] * 10)
    assert record.value is not None and record.value > 0
    assert silent == [] and record.flags == ()
    assert list(gap_records([outcomes("pwws", *black)], {"hotflip"})) == []


def test_the_largest_of_several_gaps_must_stand_out_from_as_many() -> None:
    where = {"metric": "white_box_gap", "method": "hotflip", "unit": "fraction", "seed": None}
    one = TEMPLATE.with_value(0.21, 0.01, 0.41, **where)
    gaps = [replace(one, set=f"attack:{n}") for n in "abcd"]
    assert len(list(masking_cautions(records_table(gaps[:1]).to_pandas()))) == 1
    assert list(masking_cautions(records_table(gaps).to_pandas())) == []


def test_what_seeds_add_to_an_amount_is_pooled_over_the_study() -> None:
    def run(model: str, seed: int, queries: float) -> AttackOutcome:
        rows = outcomes("x", *[True] * 12).examples
        own = [dict(row) | {"queries": queries + int(row["id"]) % 5} for row in rows]
        return AttackOutcome(replace(TEMPLATE, model=model, seed=seed), own)

    def interval(runs: list[AttackOutcome]) -> tuple[float, float]:
        (one,) = (
            record
            for record in attack_records(runs)
            if (record.model, record.metric, record.seed) == ("m0", "queries_per_success", None)
        )
        assert one.value == pytest.approx(30 + np.mean([n % 5 for n in range(12)]))
        assert one.low is not None and one.high is not None
        return one.low, one.high

    study = [run(f"m{model}", seed, 30 + 2 * (-1) ** seed) for model in range(5) for seed in (0, 1)]
    alone, pooled = interval(study[:2]), interval(study)
    assert alone[0] < pooled[0] < 30 and pooled[1] < 40 < alone[1]


def test_attacks_and_their_transfer_are_shown_by_the_model_they_were_made_on() -> None:
    scored = replace(TEMPLATE, seed=None).with_value(0.4, 0.3, 0.5, n=10, unit="fraction")
    records = [
        replace(scored, model=model, metric=metric, made_on=source)
        for model, source, metric in (
            ("m", "m", "attack_success_rate"),
            ("other", "other", "attack_success_rate"),
            ("m", "other", "transfer_success_rate"),
            ("other", "m", "transfer_success_rate"),
        )
    ]
    table = records_table(records).to_pandas()
    sheet, figure = attack_sheet(table), transfer_figure(table)
    assert sheet is not None and [row[:2] for row in sheet.rows] == [("x", "m"), ("x", "other")]
    assert figure is not None
    cells = figure.variants["sst2", "x"]["datasets"]["rows"]
    assert {(cell["candidate"], cell["source"]) for cell in cells} == {
        (model, source) for model in ("m", "other") for source in ("m", "other")
    }
    assert transfer_figure(table[table["made_on"] == table["model"]]) is None
