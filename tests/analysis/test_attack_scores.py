"""What attacks took, on which other models their examples work, and which white-box attack is suspect."""

from dataclasses import replace
from typing import Any

import pytest

from trilemma.analysis.scores.attacks import (
    AttackRun,
    TransferRun,
    attack_records,
    gap_records,
    transfer_records,
)
from trilemma.records import SUSPECT, Record

SHARED: dict[str, Any] = {"model": "m", "arch": "gla", "adaptation": "full", "task": "sst2", "axis": "R"}
SHARED |= {"set": "attack:x", "method": "x", "made_on": "m", "level": "word", "metric": "", "seed": 0}
RECORD = Record(**SHARED, status="not measured", reason="no value yet")


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
    runs = [AttackRun(RECORD, rows(10, 20, 30)), AttackRun(replace(RECORD, seed=1), rows(20, 40))]
    found = {(one.metric, one.seed): one for one in attack_records(runs)}
    assert found["queries_per_item", 0].value == pytest.approx(20)
    assert found["queries_per_item", None].value == pytest.approx(25)  # of both seeds' means
    pooled = found["queries_per_item", None]
    assert pooled.n == 5 and pooled.low is not None and pooled.high is not None
    assert 0 <= pooled.low < 25 < pooled.high <= 50
    failed = {one.metric: one for one in attack_records([AttackRun(RECORD, rows(5, 6, success=False))])}
    assert failed["queries_per_success"].value is None
    assert failed["queries_per_success"].status == "not measured"
    assert failed["queries_per_success"].reason == "no success"
    unmeasured = attack_records([AttackRun(RECORD, rows(5), "no encoder")])
    assert "no encoder" in {one.metric: one for one in unmeasured}["similarity"].reason


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

    def gap(blind: list[bool], seeing: list[bool]) -> Record:
        [record] = gap_records([outcomes("pwws", *blind), outcomes("hotflip", *seeing)], {"hotflip"})
        assert (record.metric, record.method, record.made_on) == ("white_box_gap", "hotflip", "m")
        return record

    apart = gap(black, white)
    assert apart.value == pytest.approx(0.45) and SUSPECT in apart.flags
    assert gap(white, black).flags == ()
    undecided = gap([True] * 3 + [False] * 9, [True] * 2 + [False] * 10)
    assert undecided.value and undecided.value > 0 and undecided.flags == ()
    assert list(gap_records([outcomes("pwws", *black)], {"hotflip"})) == []
