from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.stand_ins.synthetic import frames
from trilemma.errors import StoreError, TrilemmaError
from trilemma.report.model_card import write_card


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    return frames(tasks=("qqp",), models=2)[0]


def test_the_card_has_all_three_axes_in_model_index(tmp_path: Path, records: pd.DataFrame) -> None:
    path = write_card(tmp_path, records, "gla-nano", "full", "qqp", 1)
    _, front, text = path.read_text(encoding="utf-8").split("---\n", 2)
    (index,) = yaml.safe_load(front)["model-index"]
    assert index["name"] == "gla-nano-qqp-seed1"
    values = {(r["dataset"]["name"], m["type"]): m["value"] for r in index["results"] for m in r["metrics"]}
    own = records[(records["model"] == "gla-nano") & (records["task"] == "qqp") & (records["seed"] == 1)]
    clean = own[own["metric"] == "f1"]["value"].item()
    word = own[(own["metric"] == "robust_accuracy") & (own["level"] == "word") & (own["method"] == "")][
        "value"
    ].item()
    assert values["qqp validation (partial)", "f1"] == pytest.approx(clean, rel=1e-5)
    assert values["qqp adv_qqp, word level", "robust_accuracy"] == pytest.approx(word, rel=1e-5)
    assert values["random tokens, batch 1, length 128", "latency_ms"] == pytest.approx(4.364)
    assert "| median latency | 16 | 2048 |" in text
    assert "with 95%" not in text and "Brackets hold 95% intervals" in text


def test_hugging_face_reads_the_card(tmp_path: Path, records: pd.DataFrame) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(write_card(tmp_path, records, "gla-nano", "full", "qqp", 0))
    assert card.data.model_name == "gla-nano-qqp-seed0"
    assert {result.metric_type for result in card.data.eval_results} >= {
        "accuracy",
        "robust_accuracy",
        "latency_ms",
    }


def test_a_checkpoint_without_any_value_has_a_card_that_says_so(
    tmp_path: Path, records: pd.DataFrame
) -> None:
    blank = records.assign(value=records["value"].where(records["axis"] == "E"))
    text = write_card(tmp_path, blank, "gla-nano", "full", "qqp", 0).read_text(encoding="utf-8")
    assert "## Performance and robustness\n\nNot measured.\n" in text and "median latency" in text


def test_data_does_not_break_the_card(tmp_path: Path, records: pd.DataFrame) -> None:
    evil = records.assign(study="a | b\n---\n<script>", kernel="x`y")
    text = write_card(tmp_path, evil, "gla-nano", "full", "qqp", 0).read_text(encoding="utf-8")
    assert "<script>" not in text
    assert r"a \| b --- &lt;script>" in text


def test_absent_checkpoints_and_folders_are_refused(tmp_path: Path, records: pd.DataFrame) -> None:
    with pytest.raises(TrilemmaError, match="nothing of gla-nano"):
        write_card(tmp_path, records, "gla-nano", "full", "qqp", 7)
    with pytest.raises(StoreError, match="cannot write"):
        write_card(tmp_path / "absent", records, "gla-nano", "full", "qqp", 0)
