"""Families whose work, inputs and caches differ from the usual are measured, or say why not."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.adapt.test_families import BART, GPT, MIXTRAL, XLNET
from tests.stand_ins.measured import MACHINE, Found
from trilemma.hardware import Unmeasured
from trilemma.models.cache import state_bytes as held_bytes
from trilemma.operating_point import OperatingPoint
from trilemma.profiling import EfficiencyGrid, ModelUnderTest, measure
from trilemma.profiling.measurements.flops import count_flops
from trilemma.profiling.operations import dimensions_of, state_bytes
from trilemma.profiling.session import Session, random_inputs

NO_METER = Unmeasured("no meter")
T5 = {
    **{"vocab_size": 320, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2},
    **{"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
}
MAMBA = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "pad_token_id": 0}
LLAMA = {name: value for name, value in MIXTRAL.items() if name != "num_local_experts"}


def save(folder: Path, kind: str, settings: dict[str, Any], head: Any) -> ModelUnderTest:
    torch.manual_seed(0)
    head.from_config(getattr(transformers, kind)(**settings)).save_pretrained(folder)
    return ModelUnderTest((folder.name,), folder)


def measured(models: list[ModelUnderTest], *names: str, **grid: Any) -> Found:
    chosen: dict[str, Any] = {"batch": [1], "length": [8], "rounds": 6, "seconds": 0.01, "training": None}
    session = Session(
        models, EfficiencyGrid(**(chosen | grid)), device="cpu", machine=MACHINE, meter=NO_METER
    )
    return Found(measure(session, list(names)))


def test_experts_are_counted() -> None:
    model = AutoModelForCausalLM.from_config(transformers.MixtralConfig(**MIXTRAL)).eval()
    counted, unknown = count_flops(
        model, {**random_inputs(model.config, OperatingPoint(1, 40), "cpu"), "logits_to_keep": 1}
    )
    # by token and layer: q, k, v, o; the router; 2 of 4 experts of 3 matrices; scores and values of 40 keys
    layer = 2 * (4 * 32 * 32 + 32 * 4 + 2 * 3 * 32 * 48) + 4 * 40 * 32
    assert counted == 40 * 2 * layer + 2 * 32 * 320
    assert unknown == []


def test_a_family_without_a_closed_form_counts_the_logits_that_it_forms(tmp_path: Path) -> None:
    bloom = {"vocab_size": 8192, "hidden_size": 64, "n_layer": 2, "n_head": 4, "pad_token_id": 1}
    gpt2 = GPT | {"vocab_size": 8192, "n_embd": 64, "n_head": 4}
    models = [
        save(tmp_path / "bloom", "BloomConfig", bloom, AutoModelForCausalLM),
        save(tmp_path / "gpt2", "GPT2Config", gpt2, AutoModelForCausalLM),
    ]
    found = measured(models, "work", length=[40], decode=2)
    flops = {one.model: one.value for one in found.all("flops", "prefill")}
    expected = 40 * (2 * 2 * 12 * 64 * 64 + 2 * 4 * 40 * 64) + 2 * 64 * 8192
    assert flops["gpt2"] == pytest.approx(expected, rel=1e-3)
    assert flops["bloom"] == pytest.approx(expected, rel=1e-3)


def test_disentangled_attention_is_counted_and_not_taken_for_berts() -> None:
    config = transformers.DebertaConfig(
        **{"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"intermediate_size": 48, "max_position_embeddings": 64, "relative_attention": True},
        pos_att_type=["c2p", "p2c"],
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    assert all(weight.requires_grad for weight in model.parameters())
    counted, _ = count_flops(model, random_inputs(config, OperatingPoint(1, 8), "cpu"))
    bert = 8 * (2 * (4 * 32 * 32 + 2 * 32 * 48) + 4 * 8 * 32)
    assert counted > 1.2 * bert
    assert all(weight.requires_grad for weight in model.parameters())
    with pytest.raises(Exception, match="'deberta' are not known"):
        dimensions_of(config)


def test_what_the_counter_does_not_know_is_named() -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(x).real + x @ x[0]

    counted, unknown = count_flops(Odd(), {"x": torch.ones(4, 4)})
    assert counted == 2 * 4 * 4 and unknown == ["aten._fft_r2c"]


@pytest.mark.parametrize("length", [8, 15, 16, 40])
@pytest.mark.parametrize("kind", ["MistralConfig", "Gemma2Config"])
def test_the_state_of_windowed_layers_is_to_the_byte(kind: str, length: int) -> None:
    config = getattr(transformers, kind)(**LLAMA, sliding_window=16, head_dim=16)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        cache = model(torch.ones(2, length, dtype=torch.long), use_cache=True).past_key_values
    assert state_bytes(dimensions_of(config), 2, length, "float32") == held_bytes(cache)


@pytest.mark.parametrize(("kind", "settings"), [("BartConfig", BART), ("T5Config", T5)])
def test_encoder_decoders_are_measured_with_one_end_token(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    model = save(tmp_path / "model", kind, settings, AutoModelForSequenceClassification)
    training = {"batch": [4], "length": [8]}
    found = measured([model], "latency", "flops", "training", batch=[1, 3], decode=4, training=training)
    assert {one.status for one in found.records if one.metric != "latency_p95_ms"} == {"ok"}
    ids = random_inputs(
        transformers.AutoConfig.from_pretrained(tmp_path / "model"), OperatingPoint(9, 60), "cpu"
    )
    ends = ids["input_ids"] == settings["eos_token_id"]
    assert ends.sum(1).tolist() == [1] * 9 and bool(ends[:, -1].all())


def test_models_that_only_generate_are_measured_beside_others(tmp_path: Path) -> None:
    models = [
        save(tmp_path / "mamba", "MambaConfig", MAMBA, AutoModelForCausalLM),
        save(tmp_path / "llama", "LlamaConfig", LLAMA, AutoModelForCausalLM),
    ]
    training = {"batch": [2], "length": [8]}
    found = measured(models, "parameters", "generation", "training", decode=4, training=training)
    for name in ("mamba", "llama"):
        values = {one.metric: one.value for one in found.records if one.model == name}
        assert values["parameters"] and values["ttft_ms"] and values["tpot_ms"]
    untrained = [one for one in found.all("step_ms", "train") if one.model == "mamba"]
    assert [one.reason for one in untrained] == ["transformers has no sequence classifier for the type mamba"]
    assert untrained[0].status == "not measured"


def test_a_model_without_a_cache_says_so(tmp_path: Path) -> None:
    model = save(tmp_path / "xlnet", "XLNetConfig", XLNET, AutoModelForCausalLM)
    [one] = measured([model], "generation", decode=4).all("tpot_ms", "decode")
    assert one.reason == (
        "XLNetLMHeadModel keeps no cache between tokens, so it cannot generate token by token"
    )


def test_a_model_that_cannot_be_loaded_does_not_end_the_others(tmp_path: Path) -> None:
    good = save(tmp_path / "good", "LlamaConfig", LLAMA, AutoModelForCausalLM)
    broken = save(tmp_path / "broken", "LlamaConfig", LLAMA | {"hidden_size": 64}, AutoModelForCausalLM)
    weights = tmp_path / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    found = measured([good, broken], "parameters", "generation", decode=4)
    assert [one.status for one in found.records if one.model == "broken"] == ["failed"]
    [record] = [one for one in found.records if one.model == "broken"]
    assert record.metric == "parameters" and "damaged or incomplete" in record.reason
    assert {one.status for one in found.all("ttft_ms", "prefill")} == {"ok"}
