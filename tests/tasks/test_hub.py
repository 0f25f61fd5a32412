"""The hub source through the real ``datasets`` download and cache code, against a local server."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.stand_ins.hub import HubStandIn, require_loopback

READ = """
import json, sys
from trilemma import tasks
from trilemma.errors import DataError

source, answers = tasks.open_source("hub"), []
for name, split in json.loads(sys.argv[1]):
    task = tasks.get(name)
    published = split in ("advglue", "anli")
    try:
        found = source.adversarial(task, split) if published else [source.load(task, split)]
    except DataError as error:
        answers.append(str(error))
        continue
    for one in found:
        answers.append(
            [one.split, list(one.ids), one.texts, one.labels, one.official_rows]
            + [list(getattr(one, "levels", [])), list(getattr(one, "originals", [])), one.fingerprint]
        )
print(json.dumps(answers))
"""


def publish(root, repository, tables):
    """Write a data set of Parquet files with a README that names its configurations and splits."""
    folder = root / repository
    lines = ["---", "configs:"]
    for configuration, splits in tables.items():
        lines += [f"- config_name: {configuration}", "  data_files:"]
        (folder / configuration).mkdir(parents=True)
        for split, columns in splits.items():
            lines += [f"  - split: {split}", f"    path: {configuration}/{split}-*"]
            pq.write_table(pa.table(columns), folder / configuration / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    require_loopback()
    root = tmp_path_factory.mktemp("hub")
    pair = {"premise": ["p", "q"], "hypothesis": ["h", "i"], "label": [0, 2]}
    publish(
        root,
        "nyu-mll/glue",
        {
            "sst2": {"validation": {"sentence": ["fine", "bad"], "label": [1, 0], "idx": [0, 1]}},
            "mnli": {"train": {**pair, "idx": [5, 6]}},
            "ax": {"test": {**pair, "label": [-1, -1], "idx": [0, 1]}},
            "cola": {"validation": {"text": ["no such column here"], "label": [1], "idx": [0]}},
        },
    )
    publish(
        root,
        "AI-Secure/adv_glue",
        {"adv_sst2": {"validation": {"sentence": ["fien"], "label": [1], "idx": [0]}}},
    )
    rounds = {f"dev_r{i}": {"uid": [f"u{i}", "v"], **pair, "reason": ["", ""]} for i in (1, 2, 3)}
    publish(root, "facebook/anli", {"plain_text": rounds})
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def read(asked, home, **environment):
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(asked)],
        env={**os.environ, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        check=True,
        cwd=home,
    )
    return json.loads(done.stdout)


ASKED = [
    ("sst2", "validation"),
    ("ax", "train"),
    ("ax", "test"),
    ("sst2", "advglue"),
    ("cola", "advglue"),
    ("mnli", "anli"),
]


def test_glue_advglue_and_anli_are_downloaded_then_cached(hub, home):
    with HubStandIn(hub) as server:
        online = read(ASKED, home, HF_ENDPOINT=server.endpoint)
    sst2, train, test, adversarial, *anli = online
    assert sst2[:5] == ["validation", ["0", "1"], [["fine"], ["bad"]], [1.0, 0.0], 872]
    assert train[0] == "train" and train[1] == ["5", "6"] and train[4] == 392_702
    assert test[3] == [None, None]
    assert adversarial[:3] == ["adv_sst2", ["0"], [["fien"]]] and adversarial[4] == 148
    assert adversarial[5] == ["unknown"] and adversarial[6] == [None]
    assert [one[0] for one in anli] == ["anli_r1", "anli_r2", "anli_r3"] and anli[0][1] == ["u1", "v"]

    assert read(ASKED, home, HF_HUB_OFFLINE="1") == online


def test_what_cannot_be_read_is_one_sentence(hub, tmp_path):
    with HubStandIn(hub) as server:
        column, split, configuration = read(
            [("cola", "validation"), ("sst2", "train"), ("wnli", "train")],
            tmp_path,
            HF_ENDPOINT=server.endpoint,
        )
    assert column == "nyu-mll/glue (cola, validation) lacks the column 'sentence'; it has text, label, idx"
    for message, where in ((split, "sst2, train"), (configuration, "wnli, train")):
        assert message.startswith(f"cannot read nyu-mll/glue ({where}) from the Hugging Face Hub")
        assert message.endswith("or give the data as folder:PATH") and "\n" not in message


def test_without_network_and_cache_the_remedy_is_named(tmp_path):
    (message,) = read([("sst2", "validation")], tmp_path, HF_HUB_OFFLINE="1")
    assert "connect once, so that the cache has it, or give the data as folder:PATH" in message
