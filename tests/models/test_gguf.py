"""GGUF files: the weights that they hold, as a model folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trilemma.errors import ModelError
from trilemma.inference.classifier import Classifier
from trilemma.models import gguf as module
from trilemma.models.loading import load_classifier, load_tokenizer
from trilemma.models.source import find

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "trilemma" / "gguf"


def written(path: Path, layers: int = 1) -> LlamaForCausalLM:
    """Write a tiny llama; the model that it holds."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
    )
    model = LlamaForCausalLM(config)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(64)
    writer.add_tokenizer_model("gpt2")
    letters = [*(chr(code) for code in range(65, 65 + 61)), "ab"]
    writer.add_token_list(["<s>", "</s>", *letters])
    writer.add_token_types([3, 3, *[1] * 62])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # the order that llama.cpp rotates in
            values = values.reshape(2, 2, 8, 32).swapaxes(1, 2).reshape(32, 32)
        stem, _, end = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{end}", np.ascontiguousarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_a_file_is_the_model_that_it_holds(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "tiny.gguf"
    model = written(path)
    folder = Path(find(path, weights=True, allow_pickle=False).name)
    assert folder.parent == cache and [one.name for one in cache.iterdir()] == [folder.name]
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    found = LlamaForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([[2, 5, 9, 40]])
    with torch.inference_mode():
        assert torch.allclose(found(ids).logits, model.eval()(ids).logits, atol=1e-5)
    classifier = Classifier(load_classifier(folder, 2), load_tokenizer(folder))
    assert classifier.probabilities([("ab",), ("xyz",)]).shape == (2, 2)


def test_a_file_is_unpacked_once_and_a_changed_one_again(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "tiny.gguf"
    written(path)
    first = module.unpacked(path)
    (first / "seen").write_text("")
    assert module.unpacked(path) == first and (first / "seen").exists()
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    assert module.unpacked(path) != first and len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model", b"GGUF\x03\0\0\0" + b"\xff" * 64])
def test_what_is_no_model_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, cache: Path, content: bytes
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.gguf holds no language model that transformers can unpack"):
        module.unpacked(path)
    assert list(cache.iterdir()) == []


def test_absurd_sizes_are_refused_before_they_are_built(tmp_path: Path) -> None:
    written(tmp_path / "deep.gguf", layers=100_000_000)
    with pytest.raises(ModelError, match=r"num_hidden_layers 100,000,000"):
        module.unpacked(tmp_path / "deep.gguf")


def test_missing_weights_are_not_made_up(tmp_path: Path) -> None:
    written(tmp_path / "short.gguf", layers=2)
    with pytest.raises(ModelError, match="do not hold the weights"):
        module.unpacked(tmp_path / "short.gguf")
