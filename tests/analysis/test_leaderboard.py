"""AdvGLUE's leaderboard: the published totals follow from the published per-task numbers."""

import json
from pathlib import Path

import pytest

from trilemma.analysis.scores import leaderboard_score

MODELS = json.loads((Path(__file__).parent.parent / "data" / "advglue_leaderboard.json").read_text("utf-8"))[
    "models"
]
SETS = {
    "sst2": ["SST-2"],
    "qqp": ["QQP"],
    "qnli": ["QNLI"],
    "rte": ["RTE"],
    "mnli": ["MNLI-m", "MNLI-mm"],
}


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row["model"])
def test_a_published_total_is_reproduced(row: dict) -> None:
    tasks = {task: [row["tasks"][name]["all"] for name in names] for task, names in SETS.items()}
    assert leaderboard_score(tasks) == pytest.approx(row["published_score"], abs=0.05)


def test_all_twelve_models_are_there() -> None:
    assert len(MODELS) == 12
