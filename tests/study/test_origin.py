"""A model folder is what it is said to be, or is refused at once."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers

from trilemma.errors import DataError, ModelError
from trilemma.files import folder_fingerprint
from trilemma.forecasting.models import ForecastModel
from trilemma.inference.classifier import Classifier
from trilemma.models import loading
from trilemma.study.origin import require_loadable, resolve
from trilemma.study.spec import ModelSpec
from trilemma.training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origin") / "nano"
    tokenizer = train_tokenizer(["some words to make a small vocabulary of"] * 3, 280)
    loading.save(loading.create("gla", "nano", tokenizer, 0), tokenizer, folder)
    return folder


def opened(model: ModelSpec, base: Path) -> None:
    require_loadable(model, resolve(model, base))


def test_a_folder_has_the_shape_it_must_have(nano: Path) -> None:
    opened(ModelSpec(arch="gla", size="nano", path="nano"), nano.parent)
    for arch, size in (("gla", "micro"), ("transformer-pp", "nano")):
        with pytest.raises(ModelError, match=f"arch {arch} and size {size} mean .* holds gla.*leave"):
            opened(ModelSpec(arch=arch, size=size, path="nano"), nano.parent)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_hidden_layers": 10**7}, "num_hidden_layers 10,000,000; no model has more than 10,000"),
        ({"encoder_layers": 1e8}, r"encoder_layers 100,000,000\.0; no model has more"),
        ({"text_config": {"num_hidden_layers": 10**8}}, r"text_config\.num_hidden_layers 100,000,000; no"),
        ({"parts": [{"n_layers": 10**6}]}, r"parts\.0\.n_layers 1,000,000; no model has more"),
        ({"vision": {"depths": [2, 10**6]}}, r"vision\.depths 1,000,000; no model has more"),
        ({"layer_types": ["full"] * 20_000}, "layer_types of length 20,000; no model has more"),
        ({"num_local_experts": 10**6}, "num_local_experts 1,000,000; no model has more"),
        ({"num_labels": 10**8}, "num_labels 100,000,000; no model has more"),
        ({"n_layer": 9_999}, r"n_layer 9,999, but the weights beside it are \d+ tensors; fetch"),
    ],
)
def test_a_number_of_layers_that_no_model_has_is_refused_at_once(
    nano: Path, tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    folder = shutil.copytree(nano, tmp_path / "deep")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    for load in (
        lambda: opened(ModelSpec(path="deep"), tmp_path),
        lambda: loading.load_classifier(folder, 2),
        lambda: loading.load_tokenizer(folder),
        lambda: Classifier.load(folder),
        lambda: ForecastModel.find(str(folder)),
    ):
        with pytest.raises(ModelError, match=said):
            load()


def test_a_shape_that_is_larger_than_its_file_is_refused(nano: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(nano, tmp_path / "wide")
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**9] * 50, "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(ModelError, match=r"is not a readable safetensors file .*; fetch the model again"):
        resolve(ModelSpec(path="wide"), tmp_path)


def test_a_file_name_that_is_not_utf_8_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = folder_fingerprint(tmp_path)
    try:
        with open(os.fsencode(tmp_path) + b"/merges-\xff.txt", "w") as file:
            file.write("a")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert folder_fingerprint(tmp_path) != before


@pytest.mark.parametrize("path", ["x" * 5000, "absent"])
def test_a_path_that_cannot_be_is_one_sentence(tmp_path: Path, path: str) -> None:
    with pytest.raises(ModelError, match="is not a Hugging Face model folder") as caught:
        resolve(ModelSpec(path=path, name="m"), tmp_path)
    assert len(str(caught.value)) < 400


def test_a_home_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="~nosuchuser/m has no home folder here"):
        resolve(ModelSpec(path="~nosuchuser/m"), tmp_path)
    with pytest.raises(ModelError, match="cannot load a tokenizer from ~nosuchuser"):
        loading.load_tokenizer("~nosuchuser/m")


def test_a_configuration_class_without_a_pad_token_gets_the_tokenizers(
    nano: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loading.load_classifier(nano, 2)
    expected = loading.load_tokenizer(nano).pad_token_id
    del model.config.pad_token_id
    info = {"missing_keys": set(), "mismatched_keys": set()}
    auto = transformers.AutoModelForSequenceClassification
    monkeypatch.setattr(auto, "from_pretrained", lambda *_, **__: (model, info))
    assert loading.load_classifier(nano, 2).config.pad_token_id == expected
