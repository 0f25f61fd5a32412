"""The deployed form of a MatMul-Free model: same answers, a fraction of the memory, whole on disk."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import trilemma.models  # noqa: F401  registers the architectures
from trilemma.errors import ModelError
from trilemma.models.loading import describe
from trilemma.models.matmul_free import HGRNBitConfig, HGRNBitForCausalLM
from trilemma.models.packed_ternary import PackedBitLinear

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("mmfree-*"))

pytestmark = pytest.mark.usefixtures("kernels")


def opened(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def test_a_packed_model_answers_bit_for_bit():
    for folder in GOLDEN:
        model = opened(folder)
        ids = torch.randint(5, model.config.vocab_size, (3, 19), generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = model(ids).logits
            assert torch.equal(model.pack()(ids).logits, expected)


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_greedy_continuations_are_those_of_the_original(folder):
    from safetensors.torch import load_file

    io = load_file(folder / "io.safetensors")
    tokens = (
        opened(folder)
        .pack()
        .generate(
            io["gen_prompt"],
            attention_mask=torch.ones_like(io["gen_prompt"]),
            max_length=io["gen_tokens"].shape[1],
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    )
    assert tokens.tolist() == io["gen_tokens"].tolist()


@pytest.mark.parametrize("batch", [1, 3])
def test_a_step_equals_the_whole(batch):
    for folder in GOLDEN:
        model = opened(folder).pack()
        ids = torch.randint(5, model.config.vocab_size, (batch, 12))
        with torch.inference_mode():
            whole = model(ids).logits
            cache = model(ids[:, :7], use_cache=True).past_key_values
            for at in range(7, 12):
                out = model(ids[:, at : at + 1], past_key_values=cache, use_cache=True)
                torch.testing.assert_close(out.logits[:, 0], whole[:, at], atol=2e-4, rtol=1e-4)
            assert cache.get_seq_length() == 12


def test_left_pads_leave_the_state_alone():
    model = opened(GOLDEN[0]).pack()
    ids = torch.randint(5, model.config.vocab_size, (2, 6))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[:, :3] = 0
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), ids], dim=1)
    with torch.inference_mode():
        options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        alone = model.generate(ids, attention_mask=mask[:, 3:], **options)
        beside = model.generate(padded, attention_mask=mask, **options)
    assert torch.equal(alone[:, 6:], beside[:, 9:])


def wide_model():
    torch.manual_seed(0)
    config = HGRNBitConfig(
        vocab_size=512, hidden_size=256, num_hidden_layers=2, intermediate_size=512, hidden_ratio=None
    )
    return HGRNBitForCausalLM(config).eval()


def test_on_disk_it_is_packed_and_whole(tmp_path):
    latent = wide_model()
    plain = describe(latent)
    model = latent.pack()
    description = describe(model)
    assert description.parameters == plain.parameters
    assert description.non_embedding_parameters == plain.non_embedding_parameters
    layers = [module for module in model.modules() if isinstance(module, PackedBitLinear)]
    bfloat16 = 2 * sum(layer.weights for layer in layers)
    assert sum(layer.packed.nbytes for layer in layers) * 7 <= bfloat16
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < plain.weight_bytes / 3
    ids = torch.randint(0, 512, (2, 9))
    for dtype in (torch.float32, torch.bfloat16):
        again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
        assert again.config.packed
        assert torch.equal(again.lm_head.scale, model.lm_head.scale)
        with torch.inference_mode():
            expected = (model if dtype == torch.float32 else model.to(dtype))(ids).logits
            assert torch.equal(again(ids).logits, expected)


def test_a_classifier_packs_all_but_its_dense_head(tmp_path):
    wide_model().save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3, pad_token_id=0).eval()
    ids = torch.randint(1, 512, (2, 9))
    with torch.inference_mode():
        expected = model(ids).logits
        assert torch.equal(model.pack()(ids).logits, expected)
    assert isinstance(model.score, torch.nn.Linear)


def test_training_a_packed_model_is_refused():
    model = wide_model().pack()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    embedded = torch.randn(1, 4, 256, requires_grad=True)
    with pytest.raises(ModelError, match="train the model that it was packed from"):
        model(inputs_embeds=embedded)


def test_new_weights_are_noticed():
    """The compiled step holds addresses and copies: after a cast or a load it must hold new ones."""
    model, other = wide_model().pack(), wide_model()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    other.pack()
    ids = torch.randint(0, 512, (1, 6))

    def last(model):
        with torch.inference_mode():
            cache = model(ids[:, :5], use_cache=True).past_key_values
            return model(ids[:, 5:], past_key_values=cache).logits

    before = last(model)
    assert torch.equal(last(model.double().float()), before)
    model.load_state_dict(other.state_dict())
    assert torch.equal(last(model), last(other))
    assert not torch.equal(last(model), before)
