"""The paper's study through local look-alikes of its three checkpoints.

The folders have the published configuration fields, tensor names, dtypes, sharded files and a tokenizer
without a pad token, at tiny widths; the study is `studies/paper.yaml` with its ids replaced.
"""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.models.test_loading import look_alike
from trilemma.models import loading
from trilemma.study.plan import plan
from trilemma.study.spec import load_study

PAPER = Path(__file__).parent.parent.parent / "studies" / "paper.yaml"

FOLDERS = {"transformer-pp": "transformer", "gla": "gla", "matmul-free": "matmul-free"}


def test_the_plan_needs_no_network() -> None:
    made = plan(load_study(PAPER))
    counts = {row.kind: row.all for row in made.stages}
    assert counts["sweep"] == 15 and counts["adapt"] == 45
    assert sum("2.73 GB" in download for download in made.downloads) == 3
    assert made.memory > 20e9 and made.operations > 1e18


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    study = yaml.safe_load(PAPER.read_text("utf-8"))
    for model in study["models"]:
        (folder / model["name"]).mkdir()
        look_alike(folder / model["name"], FOLDERS[model["name"]], fused=model["name"] == "gla", older=True)
        for field in ("id", "arch", "size"):
            del model[field]
        model["path"] = model["name"]
    study |= {"data": "embedded", "tasks": ["sst2", "rte"], "seeds": [0]}
    study["adapt"] |= {
        "epochs": 1,
        "rows": 64,
        "learning_rate": {"sweep": [1e-4, 1e-3], "rows": 32, "epochs": 1},
    }
    study["efficiency"] = {"batch": [1], "length": [16], "decode": 4, "seconds": 0.1}
    study["efficiency"]["training"] = {"batch": [2], "length": [16]}
    (folder / "study.yaml").write_text(yaml.safe_dump(study), "utf-8")
    command = [sys.executable, "-m", "trilemma", "run", "study.yaml", "--out", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_every_look_alike_is_measured_on_all_three_axes(run: Path) -> None:
    records = pd.read_parquet(run / "run" / "records.parquet")
    assert dict(records.groupby("model")["arch"].first()) == {
        "transformer-pp": "transformer-pp",
        "gla": "gla",
        "matmul-free": "matmul-free",
    }
    for _, own in records[records["value"].notna()].groupby("model"):
        assert {"E", "P", "R"} == set(own["axis"])
        measured = set(zip(own["metric"], own["phase"], strict=True))
        assert {("latency_ms", "classify"), ("ttft_ms", "prefill"), ("tpot_ms", "decode")} <= measured
        assert ("peak_memory_bytes", "train") in measured


@pytest.mark.slow
def test_what_it_was_pretrained_on_is_not_claimed(run: Path) -> None:
    records = pd.read_parquet(run / "run" / "records.parquet")
    pretraining = records[records["metric"] == "pretraining_tokens"]
    assert len(pretraining) == 3 and pretraining["value"].isna().all()
    assert (pretraining["status"] == "not measured").all()
    assert pretraining["reason"].str.startswith("pretrained elsewhere").all()


@pytest.mark.slow
def test_adapted_checkpoints_are_plain_folders_with_a_card(run: Path) -> None:
    folders = [path.parent for path in (run / ".store" / "adapt").glob("*/config.json")]
    assert len(folders) == 6
    for folder in folders:
        card = yaml.safe_load((folder / "README.md").read_text("utf-8").split("---")[1])
        assert card["model-index"][0]["results"]
        model = loading.load_classifier(folder, 2)
        assert loading.load_tokenizer(folder).pad_token == "</s>"
        assert model.config.id2label[0] in ("negative", "entailment")
