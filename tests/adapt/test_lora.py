"""Low-rank adaptation of ordinary and of ternary layers."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from tests.stand_ins.tiny_adapt import ARCHITECTURES, SENTIMENT, model_folder, sentiment
from trilemma.adapt import AdaptJob, AdaptSettings, adapt
from trilemma.adapt.methods.lora import LatentLora, LowRank
from trilemma.errors import ModelError
from trilemma.inference.classifier import Classifier
from trilemma.models import loading
from trilemma.models.bit_linear import BitLinear


def settings(**lora: object) -> AdaptSettings:
    return AdaptSettings(
        method="lora", lora={"rank": 4, "alpha": 8, **lora}, epochs=4, batch=16, precision="float32"
    )


def prepared(folder: Path, arch: str):
    torch.manual_seed(0)
    model = loading.load_classifier(model_folder(folder, arch), 2, seed=0)
    names = {name for name, _ in model.named_parameters()}
    return LowRank().prepare(model, settings()), names


def shaken(model: nn.Module) -> None:
    """Give every adapter an update large enough to turn ternary weights."""
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_merging_keeps_the_function(arch: str, tmp_path: Path) -> None:
    model, names = prepared(tmp_path / "source", arch)
    ids = torch.randint(4, 300, (4, 7), generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.no_grad():
        untouched = model(input_ids=ids).logits
        shaken(model)
        expected = model(input_ids=ids).logits
        plain = LowRank().finish(model).eval()
        merged = plain(input_ids=ids).logits
    assert (expected - untouched).abs().max() > 1e-3
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-4)
    assert {name for name, _ in plain.named_parameters()} == names


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_linear_layer_of_the_backbone_gets_an_adapter(arch: str, tmp_path: Path) -> None:
    model, _ = prepared(tmp_path / "source", arch)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name or "score" in name for name in trained)
    layers = [m for m in model.base_model.model.model.modules() if isinstance(m, nn.Linear)]
    bare = [m for m in layers if m.weight.requires_grad]
    assert all(m.out_features == 4 or m.in_features == 4 for m in bare)
    if arch == "matmul-free":
        assert sum(isinstance(m, LatentLora) for m in model.modules()) == 6


def test_gradients_pass_through_the_rounding_of_ternary_weights(tmp_path: Path) -> None:
    model, _ = prepared(tmp_path / "source", "matmul-free")
    shaken(model)
    model.train()
    model(input_ids=torch.arange(4, 12).view(2, 4)).logits.square().sum().backward()
    grads = [w.grad for n, w in model.named_parameters() if "lora_" in n and "gate_proj" in n]
    assert len(grads) == 2 and all(grad is not None and grad.abs().sum() > 0 for grad in grads)


@pytest.mark.parametrize("arch", ["transformer-pp", "matmul-free"])
def test_it_learns_and_writes_a_plain_folder(arch: str, tmp_path: Path) -> None:
    source = model_folder(tmp_path / "source", arch)
    (tmp_path / "work").mkdir()
    places = {"out": tmp_path / "out", "work": tmp_path / "work"}
    job = AdaptJob(source, SENTIMENT, settings(), seed=0)
    facts = adapt(job, sentiment(200), learning_rate=2e-2, **places)
    test = sentiment(100, seed=7)
    answers = Classifier.load(tmp_path / "out").logits(test.texts).argmax(axis=1)
    assert (answers == test.labels).mean() > 0.9
    model = loading.load_classifier(tmp_path / "out", 2)
    assert facts.trainable_parameters < model.num_parameters() / 2
    assert not list((tmp_path / "out").glob("adapter*"))
    assert any(isinstance(m, BitLinear) for m in model.modules()) == (arch == "matmul-free")


def test_an_encoder_with_dropout_beside_its_head_is_adapted() -> None:
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
    )
    wrapped = LowRank().prepare(BertForSequenceClassification(config), settings())
    trained = [name for name, weight in wrapped.named_parameters() if weight.requires_grad]
    assert sum("classifier" in name for name in trained) == 2
    assert sum("lora_A" in name for name in trained) == 7  # query, key, value, three dense ones, the pooler
    names = dict(LowRank().finish(wrapped).named_parameters())
    assert names.keys() == dict(BertForSequenceClassification(config).named_parameters()).keys()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = loading.load_classifier(model_folder(tmp_path / "a"), 2, seed=0)
    with pytest.raises(
        ModelError, match=r"names no linear layer of .*; there are down_proj, gate_proj, k_proj"
    ):
        LowRank().prepare(model, settings(target=["query"]))
    ternary = loading.load_classifier(model_folder(tmp_path / "b", "matmul-free"), 2, seed=0)
    with pytest.raises(ModelError, match=r"lora.dropout .* set it to 0"):
        LowRank().prepare(ternary, settings(dropout=0.1))


def test_chosen_layers_only(tmp_path: Path) -> None:
    model = loading.load_classifier(model_folder(tmp_path / "a"), 2, seed=0)
    wrapped = LowRank().prepare(model, settings(target=["q_proj", "v_proj"], dropout=0.1))
    adapted = {name.split(".")[-4] for name, _ in wrapped.named_parameters() if "lora_A" in name}
    assert adapted == {"q_proj", "v_proj"}
