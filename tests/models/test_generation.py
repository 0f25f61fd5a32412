"""Caches: prefill and step equal the full forward, in every way a text can be continued."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.models.test_surface import TINY, built
from trilemma.errors import ModelError
from trilemma.models import GLAConfig, HGRNBitConfig, TransformerConfig
from trilemma.models.cache import RecurrentCache, state_bytes

CONFIGS = {
    "transformer": TransformerConfig(**TINY, num_heads=4, num_kv_heads=2),
    "window": TransformerConfig(**TINY, num_heads=4, window_size=6),
    "window of one": TransformerConfig(**TINY, num_heads=4, window_size=1),
    "gla": GLAConfig(**TINY, num_heads=4),
    "gla with convolution": GLAConfig(**TINY, num_heads=4, num_kv_heads=2, use_short_conv=True, conv_size=3),
    "matmul-free": HGRNBitConfig(**TINY),
}
RECURRENT = ("gla", "gla with convolution", "matmul-free")


@pytest.fixture(params=CONFIGS)
def model(request):
    # float64, in which no activation of the ternary model comes near enough to a rounding to flip
    return built(CONFIGS[request.param], seed=7).double()


def near(a, b):
    torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-7)


def ids(rows=3, length=20, seed=1):
    return torch.randint(3, 61, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("pieces", [(19, 1), (1, 1, 18), (7, 6, 7), (12, 1, 1, 1, 5)])
def test_pieces_equal_the_whole(model, pieces):
    tokens, past, logits = ids(), None, []
    for piece in tokens.split(list(pieces), dim=1):
        out = model(piece, past_key_values=past, use_cache=True)
        past = out.past_key_values
        logits.append(out.logits)
    near(torch.cat(logits, 1), model(tokens).logits)
    assert past.get_seq_length() == 20


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right", "interior"])
def test_padded_prefill_then_steps(model, side):
    """A row with pads, continued by single tokens and by several, equals the row without pads."""
    tokens, pads = ids(2, 14), torch.tensor([5, 0])
    mask = torch.ones(2, 14, dtype=torch.long)
    place = {"left": slice(0, 5), "right": slice(9, 14), "interior": slice(4, 9)}[side]
    mask[0, place] = 0
    if getattr(model.config, "window_size", None) and side != "left":
        past = model(tokens, attention_mask=mask, use_cache=True).past_key_values if side == "right" else None
        with pytest.raises(ModelError, match="window"):
            model(
                tokens[:, :1] if past else tokens,
                attention_mask=torch.cat([mask, mask[:, :1]], 1) if past else mask,
                past_key_values=past,
            )
        return
    more = ids(2, 6, seed=2)
    past = model(tokens, attention_mask=mask, use_cache=True).past_key_values
    parts = []
    for piece in more.split([1, 1, 4], dim=1):
        mask = torch.cat([mask, torch.ones_like(piece)], dim=1)
        out = model(piece, attention_mask=mask, past_key_values=past, use_cache=True)
        parts.append(out.logits)
    actual = torch.cat(parts, 1)
    for row in range(2):
        real = tokens[row][mask[row, :14].bool()]
        assert real.numel() == 14 - pads[row]
        alone = model(torch.cat([real, more[row]])[None]).logits[0, -6:]
        near(actual[row], alone)


@torch.no_grad()
def test_mask_with_pads_inside_a_continuation(model):
    tokens, more = ids(2, 9), ids(2, 5, seed=2)
    past = model(tokens, use_cache=True).past_key_values
    mask = torch.ones(2, 14, dtype=torch.long)
    mask[1, 9:11] = 0
    if getattr(model.config, "window_size", None):
        with pytest.raises(ModelError, match="window"):
            model(more, attention_mask=mask, past_key_values=past)
        return
    out = model(more, attention_mask=mask, past_key_values=past, use_cache=True).logits
    near(out[1, 2:], model(torch.cat([tokens[1], more[1, 2:]])[None]).logits[0, -3:])
    near(out[0], model(torch.cat([tokens[0], more[0]])[None]).logits[0, -5:])


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 5}], ids=str)
def test_generate_with_cache_equals_without(model, options):
    tokens, mask = ids(2, 8), torch.ones(2, 8, dtype=torch.long)
    mask[0, :3] = 0
    texts = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        texts.append(
            model.generate(
                tokens, attention_mask=mask, max_new_tokens=10, pad_token_id=0, use_cache=use_cache, **options
            )
        )
    assert texts[0].tolist() == texts[1].tolist()


def test_generate_continues_from_a_given_cache(model):
    tokens = ids(1, 9)
    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None, "return_dict_in_generate": True}
    first = model.generate(tokens, max_new_tokens=4, **options)
    options["attention_mask"] = torch.ones_like(first.sequences)
    second = model.generate(
        first.sequences, past_key_values=first.past_key_values, max_new_tokens=4, **options
    )
    options["attention_mask"] = torch.ones_like(tokens)
    assert second.sequences.tolist() == model.generate(tokens, max_new_tokens=8, **options).sequences.tolist()


@torch.no_grad()
def test_state_bytes_grow_with_attention_only():
    for name, config in CONFIGS.items():
        model = built(config)
        short, long = (
            state_bytes(model(ids(1, length), use_cache=True).past_key_values) for length in (16, 32)
        )
        assert long == (2 * short if name == "transformer" else short) > 0, name
    out = built(CONFIGS["gla"])(ids(1, 5), use_cache=True)
    assert state_bytes(out.past_key_values) == 2 * 16 * 8 * 4  # layers, keys, values a head; 4 heads of 4


def test_recurrent_cache_is_not_rolled_back():
    model = built(CONFIGS["gla"])
    cache = model(ids(2, 5), use_cache=True).past_key_values
    with pytest.raises(ModelError, match="rolled back"):
        cache.crop(-1)
    cache.batch_repeat_interleave(2)
    assert cache.batch_size == 4
    cache.batch_select_indices(torch.tensor([True, False, False, True]))
    assert cache.batch_size == 2
    cache.reset()
    assert cache.get_seq_length() == 0
    with pytest.raises(ValueError, match="stateful"):
        model.generate(ids(1, 4), assistant_model=model, max_new_tokens=2, pad_token_id=0)


@torch.no_grad()
def test_inputs(model):
    tokens = ids(2, 6)
    whole = model(tokens).logits
    near(model(inputs_embeds=model.get_input_embeddings()(tokens)).logits, whole)
    near(model(tokens, logits_to_keep=2).logits, whole[:, -2:])
    near(model(tokens, logits_to_keep=torch.tensor([0, 3])).logits, whole[:, [0, 3]])
    near(model(tokens, return_dict=False)[0], whole)
    near(model(tokens, token_type_ids=torch.zeros_like(tokens)).logits, whole)
    for wrong in ({}, {"input_ids": tokens, "inputs_embeds": whole}):
        with pytest.raises(ModelError, match="either input_ids or inputs_embeds"):
            model(**wrong)
    with pytest.raises(ModelError, match="attention mask has shape"):
        model(tokens, attention_mask=torch.ones(2, 5))
    with pytest.raises(ModelError, match="output_attentions"):
        model(tokens, output_attentions=True)


def test_gradient_checkpointing_gives_the_same_gradients(model):
    tokens, gradients = ids(2, 9), []
    model.train()
    for checkpointing in (False, True):
        model.zero_grad()
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable()
        model(tokens, labels=tokens).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        near(a, b)


def test_recurrent_models_make_their_own_cache():
    for name in RECURRENT:
        model = AutoModelForCausalLM.from_config(CONFIGS[name])
        assert isinstance(model.model.new_cache(), RecurrentCache)
