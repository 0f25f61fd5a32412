"""Every field of the three configurations, against Hugging Face's models or the equations token by token."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from trilemma.errors import ModelError
from trilemma.models import GLAConfig, HGRNBitConfig, TransformerConfig


def spread(model, seed=0):
    """Random weights everywhere: no norm, bias or bound stays at its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            r = torch.randn(p.shape, generator=generator)
            if p.dim() == 1 and "bias" not in name:
                p.copy_(1 + 0.25 * r.clamp(-2, 2))
            else:
                p.copy_(r * (0.3 if "embeddings" in name or "bias" in name else p[0].numel() ** -0.5))
    return model.eval()


def built(config, seed=0):
    return spread(AutoModelForCausalLM.from_config(config), seed)


TINY = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 40}
HF_TINY = {**TINY, "num_attention_heads": 4, "rms_norm_eps": 1e-5, "max_position_embeddings": 64}
RENAMED = {"embed_tokens": "embeddings", "self_attn": "attn", "input_layernorm": "attn_norm"}
RENAMED["post_attention_layernorm"] = "mlp_norm"


def as_hugging_face(model, twin):
    state = twin.state_dict()
    for name in state:
        ours = name
        for theirs, mine in RENAMED.items():
            ours = ours.replace(theirs, mine)
        state[name] = model.state_dict()[ours]
    twin.load_state_dict(state)
    return twin.eval()


THETA = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}


@pytest.mark.parametrize(
    ("fields", "twin", "config", "extra"),
    [
        ({"num_kv_heads": 2}, LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 2}),
        ({"qkv_bias": True, "rope_theta": 500.0}, Qwen2ForCausalLM, Qwen2Config, THETA),
        ({"qk_norm": True}, Qwen3ForCausalLM, Qwen3Config, {"head_dim": 8}),
        ({"window_size": 5}, MistralForCausalLM, MistralConfig, {"head_dim": 8, "sliding_window": 5}),
    ],
    ids=["grouped heads", "bias and theta", "qk norm", "window"],
)
def test_transformer_equals_hugging_face(fields, twin, config, extra):
    model = built(TransformerConfig(**TINY, num_heads=4, norm_eps=1e-5, **fields))
    other = as_hugging_face(model, twin(config(**{"num_key_value_heads": 4, **HF_TINY, **extra})))
    ids = torch.randint(0, 61, (3, 17), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :6] = 0
    with torch.no_grad():
        for given in (None, mask):
            a, b = model(ids, attention_mask=given).logits, other(ids, attention_mask=given).logits
            keep = mask.bool() if given is not None else torch.ones_like(mask, dtype=torch.bool)
            torch.testing.assert_close(a[keep], b[keep], atol=2e-5, rtol=1e-5)
    options = {"max_new_tokens": 12, "do_sample": False, "attention_mask": mask, "pad_token_id": 0}
    assert model.generate(ids, **options).tolist() == other.generate(ids, **options).tolist()


def rms(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def mlp(block, x):
    return block.mlp.down_proj(F.silu(block.mlp.gate_proj(x)) * block.mlp.up_proj(x))


def convolved(x, weight):
    c = weight.shape[-1]
    padded = F.pad(x, (0, 0, c - 1, 0))
    return F.silu(sum(padded[:, i : i + x.shape[1]] * weight[:, 0, i] for i in range(c)))


def gla_by_equations(model, ids):
    """ARCHITECTURES' section 2, a token at a time, in float64."""
    c, model = model.config, model.double()
    x = model.model.embeddings(ids)
    H, G = c.num_heads, c.num_heads // (c.num_kv_heads or c.num_heads)
    for block in model.model.layers:
        a, h = block.attn, rms(x, block.attn_norm.weight, c.norm_eps)
        q, k, v = a.q_proj(h), a.k_proj(h), a.v_proj(h)
        if c.use_short_conv:
            q, k, v = (convolved(t, m.weight) for t, m in ((q, a.q_conv1d), (k, a.k_conv1d), (v, a.v_conv1d)))
        g = F.logsigmoid(a.gk_proj(h)) / 16
        if c.clamp_min is not None:
            g = g.clamp(min=c.clamp_min)
        q = q.unflatten(-1, (H, -1))
        k, v, g = (t.unflatten(-1, (H // G, -1)).repeat_interleave(G, 2) for t in (k, v, g))
        if c.feature_map is not None:
            maps = {"elu": F.elu, "sigmoid": torch.sigmoid, "silu": F.silu, "relu": F.relu, "swish": F.silu}
            q, k = maps[c.feature_map](q), maps[c.feature_map](k)
        S, out = q.new_zeros(ids.shape[0], H, q.shape[-1], v.shape[-1]), []
        for t in range(ids.shape[1]):
            S = g[:, t].exp()[..., None] * S + k[:, t][..., None] * v[:, t][..., None, :]
            out.append(torch.einsum("bhk,bhkv->bhv", q[:, t] * q.shape[-1] ** -0.5, S))
        o = torch.stack(out, 1)
        norm = a.g_norm_swish_gate if c.use_output_gate and c.fuse_norm else a.g_norm
        o = rms(o, norm.weight, c.norm_eps).flatten(2)
        x = x + a.o_proj(o * F.silu(a.g_proj(h)) if c.use_output_gate else o)
        x = x + mlp(block, rms(x, block.mlp_norm.weight, c.norm_eps))
    return model.lm_head(rms(x, model.model.norm.weight, c.norm_eps))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_kv_heads": 1, "expand_k": 1.0, "expand_v": 2.0, "clamp_min": -0.05},
        {"use_short_conv": True, "conv_size": 3, "num_kv_heads": 2},
        {"use_output_gate": False, "feature_map": "sigmoid"},
        {"fuse_norm": False, "feature_map": "silu", "tie_word_embeddings": True},
        {"feature_map": "elu", "expand_v": 0.5},
    ],
)
def test_gla_equals_its_equations(fields):
    model = built(GLAConfig(**TINY, num_heads=4, **fields), seed=3)
    ids = torch.randint(0, 61, (2, 83), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(ids).logits
        torch.testing.assert_close(logits.double(), gla_by_equations(model, ids), atol=3e-4, rtol=1e-4)


def bit_linear_by_equations(layer, x):
    y = rms(x, layer.norm.weight, 1e-6)
    s = 127 / y.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    a = layer.weight.abs().mean().clamp(min=1e-5)
    return ((y * s).round().clamp(-128, 127) / s) @ ((layer.weight / a).round().clamp(-1, 1) * a).T


def matmul_free_by_equations(model, ids):
    """ARCHITECTURES' section 3, a token at a time, in float64; returns the output of every block."""
    c, model = model.config, model.double()
    x, out = model.model.embeddings(ids), []
    for index, block in enumerate(model.model.layers):
        a, n = block.attn, rms(x, block.attn_norm.weight, c.rms_norm_eps)
        f = bit_linear_by_equations(a.f_proj, n).sigmoid()
        if c.use_lower_bound and index > 0:
            P = model.model.lower_bounds.softmax(0)
            bound = P[1 : index + 1].sum(0)
            f = bound + (1 - bound) * f
        i = F.silu(bit_linear_by_equations(a.i_proj, n)) * (1 - f)
        h, states = torch.zeros_like(i[:, 0]), []
        for t in range(ids.shape[1]):
            h = f[:, t] * h + i[:, t]
            states.append(h)
        h = torch.stack(states, 1)
        g = rms(bit_linear_by_equations(a.g_proj, n), a.g_norm.weight, c.rms_norm_eps)
        x = x + bit_linear_by_equations(a.o_proj, g * h * h.sigmoid())
        n = rms(x, block.mlp_norm.weight, c.rms_norm_eps)
        gate, up = bit_linear_by_equations(block.mlp.gate_proj, n).chunk(2, -1)
        x = x + bit_linear_by_equations(block.mlp.down_proj, F.silu(gate) * up)
        out.append(x)
    return out, bit_linear_by_equations(model.lm_head, rms(x, model.model.norm.weight, c.rms_norm_eps))


@pytest.mark.parametrize(
    "fields", [{}, {"use_lower_bound": False, "num_heads": 4, "tie_word_embeddings": True}]
)
def test_matmul_free_equals_its_equations(fields):
    model = built(HGRNBitConfig(**TINY, **fields), seed=5).double()  # float64: roundings fall alike
    ids = torch.randint(0, 61, (2, 23), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        actual, expected = model(ids).logits, matmul_free_by_equations(model, ids)[1]
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "fields", "name"),
    [
        (GLAConfig, {"use_gk": False}, "use_gk"),
        (GLAConfig, {"use_gv": True}, "use_gv"),
        (GLAConfig, {"attn": {"layers": [0]}}, "attn"),
        (GLAConfig, {"feature_map": "dpfp"}, "feature_map"),
        (GLAConfig, {"expand_k": 0.3}, "expand_k"),
        (GLAConfig, {"clamp_min": 1.0}, "clamp_min"),
        (GLAConfig, {"clamp_min": "low"}, "clamp_min"),
        (GLAConfig, {"feature_map": ["relu"]}, "feature_map"),
        (GLAConfig, {"use_short_conv": "false"}, "use_short_conv"),
        (GLAConfig, {"gate_logit_normalizer": 8}, "gate_logit_normalizer"),
        (GLAConfig, {"gate_low_rank_dim": 8}, "gate_low_rank_dim"),
        (GLAConfig, {"conv_bias": True}, "conv_bias"),
        (GLAConfig, {"hidden_act": "gelu"}, "hidden_act"),
        (GLAConfig, {"elementwise_affine": False}, "elementwise_affine"),
        (TransformerConfig, {"attention_bias": True}, "attention_bias"),
        (TransformerConfig, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling"),
        (TransformerConfig, {"num_heads": 5}, "num_heads"),
        (TransformerConfig, {"num_kv_heads": 3}, "num_kv_heads"),
        (TransformerConfig, {"window_size": 0}, "window_size"),
        (TransformerConfig, {"norm_eps": 0}, "norm_eps"),
        (TransformerConfig, {"hidden_size": 1 << 40}, "hidden_size"),
        (TransformerConfig, {"num_hidden_layers": -1}, "num_hidden_layers"),
        (TransformerConfig, {"vocab_size": "many"}, "vocab_size"),
        (HGRNBitConfig, {"use_short_conv": True}, "use_short_conv"),
        (HGRNBitConfig, {"expand_ratio": 2}, "expand_ratio"),
        (HGRNBitConfig, {"hidden_ratio": float("nan")}, "hidden_ratio"),
    ],
)
def test_unsupported_fields_are_refused_by_name(config, fields, name):
    with pytest.raises(ModelError, match=rf"\b{name} = "):
        config(**fields)


def test_unsupported_field_set_later_is_refused_too():
    config = GLAConfig(**TINY, num_heads=4)
    config.use_gv = True
    with pytest.raises(ModelError, match="use_gv"):
        AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    "published",
    [
        {
            "model_type": "gla",
            "rms_norm_eps": 1e-5,
            "attn_mode": "fused_chunk",
            "clamp_min": None,
            "use_gk": True,
            "use_gv": False,
            "share_conv_kernel": True,
            "attn": None,
            "fuse_norm": True,
            "expand_v": 1,
            "torch_dtype": "bfloat16",
            "hidden_size": 64,
            "_name_or_path": "x",
        },
        {
            "model_type": "transformer",
            "norm_eps": 1e-5,
            "rms_norm_eps": 1e-5,
            "attention_bias": False,
            "rope_theta": 10000.0,
            "clamp_min": None,
            "hidden_size": 64,
            "num_heads": 4,
            "fuse_swiglu": True,
        },
        {
            "model_type": "hgrn_bit",
            "rms_norm_eps": 1e-5,
            "share_conv_kernel": True,
            "use_short_conv": False,
            "expand_ratio": 1,
            "attn_mode": "fused_recurrent",
            "hidden_size": 64,
            "fuse_cross_entropy": True,
        },
    ],
    ids=lambda fields: fields["model_type"],
)
def test_published_fields_round_trip(published, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(published))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.norm_eps == config.rms_norm_eps == 1e-5
    assert config.mlp_width() == 256
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    for field, value in published.items():
        if field not in ("rms_norm_eps", "norm_eps", "torch_dtype", "_name_or_path"):
            assert saved[field] == value, field
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_default_widths_are_the_published_ones():
    for hidden, width in ((1024, 2816), (2048, 5632), (2560, 6912), (64, 256)):
        assert TransformerConfig(hidden_size=hidden, num_heads=4).mlp_width() == width


def test_initialisation():
    torch.manual_seed(0)
    fields = {"vocab_size": 4000, "hidden_size": 256, "num_hidden_layers": 4}
    model = AutoModelForCausalLM.from_config(HGRNBitConfig(**fields))
    block = model.model.layers[2]
    for part in "ifgo":
        std = getattr(block.attn, f"{part}_proj").weight.std().item()
        assert std == pytest.approx(2**-2.5 / 16, rel=0.02)
    assert block.mlp.gate_proj.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.mlp.down_proj.weight.std().item() == pytest.approx(0.02 / 8**0.5, rel=0.02)
    assert model.lm_head.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not model.model.lower_bounds.any()
    for config in (GLAConfig(**fields), TransformerConfig(**fields, num_heads=4, qkv_bias=True)):
        for name, p in AutoModelForCausalLM.from_config(config).named_parameters():
            if p.dim() > 1:
                assert p.std().item() == pytest.approx(0.02, rel=0.05), name
            else:
                assert torch.equal(p, torch.zeros_like(p) if name.endswith("bias") else torch.ones_like(p)), (
                    name
                )


def test_resized_vocabulary_keeps_the_ternary_head():
    model = built(HGRNBitConfig(**TINY))
    ids = torch.tensor([[3, 5, 7]])
    model.resize_token_embeddings(61, mean_resizing=False)
    before = model(ids).logits
    model.resize_token_embeddings(64, mean_resizing=False)
    assert type(model.lm_head) is not nn.Linear
    assert "lm_head.norm.weight" in model.state_dict()
    assert model(ids).logits.shape[-1] == 64
    assert before.shape[-1] == 61
