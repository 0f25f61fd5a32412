"""Adapting families whose layers, outputs and heads differ from the usual."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from tests.stand_ins.tiny_adapt import SENTIMENT, sentiment
from tests.stand_ins.tiny_models import byte_tokenizer, tiny_bert, word_tokenizer
from trilemma.adapt import AdaptFacts, AdaptJob, AdaptSettings, adapt
from trilemma.inference.classifier import Classifier

_SMALL = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
GPT = {**_SMALL, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
MIXTRAL = {
    **{**_SMALL, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"num_key_value_heads": 2, "intermediate_size": 48, "num_local_experts": 4},
}
BART = {
    **{**_SMALL, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48},
    **{"decoder_ffn_dim": 48, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "eos_token_id": 3},
    **{"decoder_start_token_id": 3, "max_position_embeddings": 128},
}
XLNET = {"vocab_size": 320, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48, "pad_token_id": 0}


def write(folder: Path, kind: str, settings: dict[str, Any], tokenizer: Any) -> Path:
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**settings)
    AutoModelForSequenceClassification.from_config(config).base_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(source: Path, tmp: Path, rows: int = 32, **fields: Any) -> AdaptFacts:
    chosen = {"epochs": 1, "batch": 16, "precision": "float32", "max_length": 40, **fields}
    (tmp / "work").mkdir()
    return adapt(
        AdaptJob(source, SENTIMENT, AdaptSettings(**chosen), seed=0),
        sentiment(rows),
        learning_rate=5e-3,
        out=tmp / "out",
        work=tmp / "work",
    )


@pytest.mark.parametrize(("kind", "settings"), [("GPT2Config", GPT), ("OpenAIGPTConfig", GPT)])
@pytest.mark.parametrize("target", ["all-linear", ("c_attn",)])
def test_lora_adapts_conv1d(tmp_path: Path, kind: str, settings: dict[str, Any], target: Any) -> None:
    source = write(tmp_path / "model", kind, settings, byte_tokenizer())
    facts = run(source, tmp_path, method="lora", lora={"rank": 4, "target": target})
    before = AutoModelForSequenceClassification.from_pretrained(source).base_model.state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").base_model.state_dict()
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == ({"c_attn"} if target != "all-linear" else {"c_attn", "c_proj", "c_fc"})
    assert bool(facts.notes) == (target != "all-linear")


def test_lora_names_the_experts_that_it_leaves_frozen(tmp_path: Path) -> None:
    source = write(tmp_path / "model", "MixtralConfig", MIXTRAL, byte_tokenizer())
    [note] = run(source, tmp_path, method="lora").notes
    # by layer: 4 experts of 3 x 32 x 48, a router of 4 x 32; with an adapter: q, k, v, o of 32 x 32
    assert f"{2 * (4 * 3 * 32 * 48 + 4 * 32):,} of {2 * (4 * 3 * 32 * 48 + 4 * 32 + 4 * 32 * 32):,}" in note
    assert "experts.gate_up_proj" in note and "gate.weight" in note


@pytest.mark.parametrize(("kind", "settings"), [("BartConfig", BART), ("XLNetConfig", XLNET)])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_early_stopping_reads_logits_alone(
    tmp_path: Path, kind: str, settings: dict[str, Any], method: str
) -> None:
    source = write(tmp_path / "model", kind, settings, word_tokenizer())
    facts = run(source, tmp_path, rows=60, method=method, early_stopping={})
    assert facts.held_out_value is not None and facts.held_out_rows == 12


def bert(folder: Path, model: PreTrainedModel) -> Path:
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def test_a_random_pooler_is_said(tmp_path: Path) -> None:
    config = tiny_bert().config
    source = bert(tmp_path / "model", transformers.BertForMaskedLM(config))
    notes = run(source, tmp_path, method="linear-probe").notes
    assert "no pooler" in notes[0] and "depend on that one random layer" in notes[1]


def test_a_published_head_is_kept_in_the_tasks_order_and_said(tmp_path: Path) -> None:
    model = tiny_bert(id2label={0: "POSITIVE", 1: "NEGATIVE"})
    source = bert(tmp_path / "model", model)
    facts = run(source, tmp_path, method="linear-probe", epochs=0.01, rows=32)
    assert facts.notes == (
        "training starts from the checkpoint's own head for the classes POSITIVE, NEGATIVE",
    )
    trained = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert trained.config.id2label == {0: "negative", 1: "positive"}
    # one step at 5e-3 moves no weight by more than that
    assert (trained.classifier.weight - model.classifier.weight.flip(0)).abs().max() < 6e-3


def test_a_checkpoint_remembers_how_much_it_reads(tmp_path: Path) -> None:
    source = bert(tmp_path / "model", tiny_bert())
    run(source, tmp_path, max_length=17)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 17
    assert Classifier.load(tmp_path / "out").max_length == 17
