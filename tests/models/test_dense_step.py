"""One call a token for models with dense weights: what it stands for is what the modules compute."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

import trilemma.models  # noqa: F401  registers the architectures
from trilemma import _native
from trilemma.errors import ModelError
from trilemma.models.gla import GLAConfig
from trilemma.models.transformer_pp import TransformerConfig
from trilemma.ops.decoding import dense_step

pytestmark = pytest.mark.usefixtures("kernels")

SHAPE = {"vocab_size": 64, "hidden_size": 72, "num_hidden_layers": 3, "intermediate_size": 50}
CONFIGS = {
    "transformer": TransformerConfig(num_heads=6, num_kv_heads=2, **SHAPE),
    "gla": GLAConfig(num_heads=2, **SHAPE),
}
PROMPT = 7


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request):
    return request.param


@pytest.fixture(params=CONFIGS)
def model(request, dtype):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[request.param], dtype=dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (parameter.ndim == 1))
    return model


@pytest.fixture
def calls(monkeypatch):
    """How often the compiled step ran to its end."""
    ran = []
    for name in ("transformer_step", "gla_model_step"):
        original = getattr(dense_step, name)

        def counted(*args, original=original):
            out = original(*args)
            ran.append(out is not None)
            return out

        monkeypatch.setattr(dense_step, name, counted)
    return ran


def decode(model, ids, mask=None, together=0):
    """Logits of the tokens after the prompt, one at a time but for the first ``together``."""
    with torch.no_grad():
        seen = None if mask is None else mask[:, :PROMPT]
        cache = model(ids[:, :PROMPT], attention_mask=seen).past_key_values
        first = PROMPT + together
        logits = [model(ids[:, PROMPT:first], past_key_values=cache).logits] if together else []
        for at in range(first, ids.shape[1]):
            seen = None if mask is None else mask[:, : at + 1]
            logits.append(model(ids[:, at : at + 1], attention_mask=seen, past_key_values=cache).logits)
    return torch.cat(logits, dim=1), cache


def by_modules(model, *args, **options):
    hook = model.model.layers[-1].register_forward_hook(lambda *_: None)
    try:
        return decode(model, *args, **options)
    finally:
        hook.remove()


def assert_same(model, one, other):
    if model.dtype == torch.bfloat16 and model.config.model_type == "transformer":
        assert torch.equal(one, other)
    else:
        tolerance = 1e-4 if model.dtype == torch.float32 else 0.1  # a gate's last bit moves a rounding
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_it_computes_what_the_modules_do(model, batch, calls):
    ids = torch.randint(0, 64, (batch, 12), generator=torch.Generator().manual_seed(batch))
    logits, cache = decode(model, ids)
    assert calls == ([True] * 5 if _native.available() and batch <= 4 else [])
    expected, modules_cache = by_modules(model, ids)
    assert cache.get_seq_length() == modules_cache.get_seq_length() == 12
    assert_same(model, logits, expected)
    with torch.no_grad():
        whole = model(ids).logits[:, PROMPT:]
    torch.testing.assert_close(logits, whole, atol=1e-3 if model.dtype == torch.float32 else 1.0, rtol=0.05)


def test_left_pads_stay_unseen(model, calls):
    ids = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(9))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    logits, _ = decode(model, ids, mask)
    assert_same(model, logits, by_modules(model, ids, mask)[0])
    alone, _ = decode(model, ids[1:])
    assert_same(model, logits[1:], alone)
    assert all(calls)


def test_beams_and_their_order(model, calls):
    options = {"max_new_tokens": 9, "num_beams": 3, "do_sample": False}
    options |= {"eos_token_id": None, "pad_token_id": 0}
    ids = torch.randint(0, 64, (1, PROMPT), generator=torch.Generator().manual_seed(4))
    found = model.generate(ids, **options)
    assert bool(calls) == _native.available()
    with _native.using(_native.TORCH):
        expected = model.generate(ids, **options)
    if model.dtype == torch.float32:
        assert torch.equal(found, expected)


def test_a_cache_grows_beyond_its_room(model):
    ids = torch.randint(0, 64, (1, PROMPT + 260), generator=torch.Generator().manual_seed(5))
    logits, _ = decode(model, ids, together=240)
    assert_same(model, logits[:, -20:], by_modules(model, ids, together=240)[0][:, -20:])


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_changes_are_noticed(model, calls):
    """Replaced layers, hooks and new values, made after the step first ran."""
    ids = torch.randint(0, 64, (1, 10), generator=torch.Generator().manual_seed(6))
    before, _ = decode(model, ids)
    calls.clear()
    mixer = model.model.layers[1].attn
    seen = []
    hook = mixer.o_proj.register_forward_hook(lambda *_: seen.append(1))
    decode(model, ids)
    hook.remove()
    assert len(seen) == 4 and not calls
    plain = mixer.o_proj
    mixer.o_proj = Doubled(plain.in_features, plain.out_features, bias=False, dtype=model.dtype)
    mixer.o_proj.weight = plain.weight
    changed, _ = decode(model, ids)
    assert not calls and not torch.equal(changed, before)
    mixer.o_proj = plain
    plain.weight.data.mul_(2)
    again, _ = decode(model, ids)
    assert_same(model, again, changed)
    plain.weight.data.div_(2)
    model.to(torch.float64).to(before.dtype)
    assert_same(model, decode(model, ids)[0], before)


def test_gradients_and_autocast_go_through_the_modules(model, calls):
    ids = torch.randint(0, 64, (1, 8))
    cache = model(ids[:, :7]).past_key_values
    model(ids[:, 7:], past_key_values=cache).logits.sum().backward()
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None
    with torch.autocast("cpu", torch.bfloat16):
        decode(model, ids)
    assert not calls


@pytest.mark.parametrize(
    "config",
    [
        TransformerConfig(num_heads=6, qk_norm=True, **SHAPE),
        TransformerConfig(num_heads=6, qkv_bias=True, **SHAPE),
        TransformerConfig(num_heads=6, window_size=5, **SHAPE),
        GLAConfig(num_heads=2, use_short_conv=True, **SHAPE),
        GLAConfig(num_heads=2, feature_map="relu", **SHAPE),
        GLAConfig(num_heads=2, clamp_min=-0.01, **SHAPE),
        GLAConfig(num_heads=2, num_kv_heads=1, **SHAPE),
        GLAConfig(num_heads=2, use_output_gate=False, **SHAPE),
    ],
    ids=["qk_norm", "qkv_bias", "window", "short_conv", "feature_map", "clamp", "kv_heads", "no_gate"],
)
def test_options_go_through_the_modules(config, calls):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(0, 64, (1, 10))
    with torch.no_grad():
        torch.testing.assert_close(decode(model, ids)[0], model(ids).logits[:, PROMPT:], atol=1e-4, rtol=1e-4)
    assert not calls


def test_log_sigmoid_of_extreme_gates(dtype):
    """Gates of -320 (a log decay of -20) and of 100 through a whole step."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS["gla"], dtype=dtype).eval()
    ids = torch.randint(0, 64, (1, 10))
    with torch.no_grad():
        for block, bias in zip(model.model.layers, (-320.0, 100.0, -3.0), strict=True):
            block.attn.gk_proj[1].bias.fill_(bias)
    assert_same(model, decode(model, ids)[0], by_modules(model, ids)[0])


def errors_of(model, ids, cache):
    """What is raised by a step, or None."""
    try:
        with torch.no_grad():
            model(ids, past_key_values=cache)
    except (ModelError, RuntimeError, IndexError) as error:
        return type(error)
    return None


def prefilled(model, batch=1):
    with torch.no_grad():
        return model(torch.zeros(batch, PROMPT, dtype=torch.long)).past_key_values


def test_a_cache_of_another_batch_or_model_is_refused(model, calls):
    one, token = torch.zeros(1, 1, dtype=torch.long), torch.zeros(3, 1, dtype=torch.long)
    assert errors_of(model, token, prefilled(model)) is not None
    config = type(model.config)(**{**model.config.to_dict(), "num_heads": 12, "num_kv_heads": 12})
    other = AutoModelForCausalLM.from_config(config, dtype=model.dtype).eval()
    assert errors_of(model, one, prefilled(other)) is not None
    assert not any(calls)


@pytest.mark.parametrize("model", ["gla"], indirect=True)  # a key-value cache grows by the layers it lacks
def test_a_cache_of_fewer_layers_is_not_answered_by_fewer_blocks(model, calls):
    config = type(model.config)(**{**model.config.to_dict(), "num_hidden_layers": 2})
    other = AutoModelForCausalLM.from_config(config, dtype=model.dtype).eval()
    assert errors_of(model, torch.zeros(1, 1, dtype=torch.long), prefilled(other)) is not None
    assert not any(calls)


@pytest.mark.parametrize(
    "change",
    ["forward", "eps", "order", "bias", "attribute", "narrow", "negative"],
)
def test_changed_models_are_left_to_their_modules(model, change, calls):
    block = model.model.layers[1]
    if change == "forward":
        plain = block.mlp.forward
        block.mlp.forward = lambda x: 2 * plain(x)
    elif change == "eps":
        block.mlp_norm.eps = 1.0
    elif change == "order":
        model.model.layers = nn.ModuleList(reversed(model.model.layers))
    elif change == "bias":
        block.attn.o_proj.bias = nn.Parameter(torch.ones(72, dtype=model.dtype))
    elif change == "attribute":
        weight = block.mlp.up_proj.weight
        del block.mlp.up_proj.weight
        block.mlp.up_proj.weight = weight.detach()
    elif change == "narrow":
        for name in ("gate_proj", "up_proj"):
            layer = getattr(block.mlp, name)
            layer.weight = nn.Parameter(layer.weight[:20])
        block.mlp.down_proj.weight = nn.Parameter(block.mlp.down_proj.weight[:, :20])
    else:
        block.mlp.up_proj.weight = nn.Parameter(torch._neg_view(block.mlp.up_proj.weight.detach()))
    ids = torch.randint(0, 64, (1, 10), generator=torch.Generator().manual_seed(3))
    logits, _ = decode(model, ids)
    assert not any(calls)
    with torch.no_grad():
        whole = model(ids).logits[:, PROMPT:]
    torch.testing.assert_close(logits, whole, atol=1e-3 if model.dtype == torch.float32 else 1.0, rtol=0.05)


def test_a_cache_made_in_inference_mode_can_be_used_outside(model):
    ids = torch.randint(0, 64, (1, 10), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        cache = model(ids[:, :PROMPT]).past_key_values
    with torch.no_grad():
        found = model(ids[:, PROMPT:], past_key_values=cache).logits
        expected = model(ids).logits[:, PROMPT:]
    torch.testing.assert_close(found, expected, atol=1e-3 if model.dtype == torch.float32 else 1.0, rtol=0.05)


def test_only_what_decodes_in_one_call_says_so(model):
    says = "decoding" in model.kernel
    assert says == _native.available()
    assert "decoding" not in model.model.kernel
    assert "decoding" not in model.to(torch.float64).kernel
    config = TransformerConfig(num_heads=6, qk_norm=True, **SHAPE)
    assert "decoding" not in AutoModelForCausalLM.from_config(config).kernel
