"""The three models against the numbers of their original implementations (tests/golden)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import trilemma.models  # noqa: F401  registers the architectures

pytestmark = pytest.mark.usefixtures("kernels")

GOLDEN = Path(__file__).parent.parent / "golden"
TOLERANCE = {"transformer": 1e-4, "gla": 2e-4, "mmfree": 5e-5}
MODELS = sorted(path.name for kind in TOLERANCE for path in GOLDEN.glob(f"{kind}-*"))
CLASSIFIERS = sorted(path.name for path in GOLDEN.glob("cls-*"))


def opened(name, auto=AutoModelForCausalLM):
    model, info = auto.from_pretrained(GOLDEN / name, output_loading_info=True)
    assert not any(info.values()), info
    return model, load_file(GOLDEN / name / "io.safetensors"), TOLERANCE.get(name.split("-")[0], 1e-4)


def near(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_forward(name):
    model, io, tolerance = opened(name)
    seen = {}
    for index, block in enumerate(model.model.layers):
        block.register_forward_hook(lambda m, a, out, i=index: seen.update({f"hidden.{i + 1}": out}))
        block.attn.register_forward_hook(lambda m, a, out, i=index: seen.update({f"attn_out.{i}": out}))
    with torch.no_grad():
        out = model(io["input_ids"], output_hidden_states=True)
    near(out.logits, io["logits"], tolerance)
    near(out.hidden_states[-1], io["final_norm"], tolerance)
    assert len(out.hidden_states) == model.config.num_hidden_layers + 1
    for key, value in seen.items():
        near(value, io[key], tolerance)
    for index, state in enumerate(out.past_key_values.layers):
        if f"state.{index}" in io:
            near(state.recurrent, io[f"state.{index}"], tolerance)
        for part in "qkv":
            if (key := f"conv_state.{index}.{part}") in io:
                near(getattr(state, part), io[key], tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_left_padding_and_long_input(name):
    model, io, tolerance = opened(name)
    mask = io["padded_attention_mask"]
    with torch.no_grad():
        logits = model(io["padded_input_ids"], attention_mask=mask).logits
        near(logits * mask.unsqueeze(-1), io["padded_logits"], tolerance)
        if "long_logits" in io:
            near(model(io["long_input_ids"], logits_to_keep=24).logits, io["long_logits"], tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_continuation(name):
    model, io, _ = opened(name)
    tokens = model.generate(
        io["gen_prompt"],
        attention_mask=torch.ones_like(io["gen_prompt"]),
        max_length=io["gen_tokens"].shape[1],
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert tokens.tolist() == io["gen_tokens"].tolist()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients(name, training):
    model, io, _ = opened(name)
    with safe_open(GOLDEN / name / "io.safetensors", "pt") as file:
        order = json.loads(file.metadata()["grad_norms_order"])
    model.train(training)
    loss = model(io["input_ids"], labels=io["input_ids"]).loss
    near(loss.detach().reshape(1), io["loss"], 1e-5)
    loss.backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    assert sorted(gradients) == order
    norms = torch.stack([gradients[key].norm() for key in order])
    torch.testing.assert_close(norms, io["grad_norms"], rtol=1e-3, atol=1e-6)
    for key, value in io.items():
        if key.startswith("grad."):
            near(gradients[key[5:]], value, 1e-3 * value.abs().max().item())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier(name):
    model, io, tolerance = opened(name, AutoModelForSequenceClassification)
    for side in ("left", "right"):
        ids, mask = io[f"{side}_input_ids"], io[f"{side}_attention_mask"]
        with torch.no_grad():
            near(model(ids, attention_mask=mask).logits, io[f"{side}_logits"], tolerance)
    with torch.no_grad():  # no mask: the rightmost token that is not the pad token
        near(model(io["right_input_ids"]).logits, io["right_logits"], tolerance)
    out = model(io["right_input_ids"], attention_mask=io["right_attention_mask"], labels=io["labels"])
    near(out.loss.detach().reshape(1), io["loss"], 1e-5)
    out.loss.backward()
    gradient = io["grad.score.weight"]
    near(model.score.weight.grad, gradient, 1e-3 * gradient.abs().max().item())
