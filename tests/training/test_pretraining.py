"""Pretraining: the loss, the windows, and whole small runs."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, CohereConfig, CohereForCausalLM

from tests.stand_ins.tiny_adapt import ARCHITECTURES
from trilemma.architectures import NewModel
from trilemma.errors import DataError, ModelError
from trilemma.models.loading import load_language_model
from trilemma.models.sizes import configuration
from trilemma.training import next_token, pretraining
from trilemma.training.corpus import mixed, read_texts
from trilemma.training.next_token import IGNORED, next_token_forward, next_token_loss
from trilemma.training.pretrain_settings import PretrainSettings
from trilemma.training.token_windows import Windows, pack
from trilemma.training.tokenizer import train_tokenizer


class KilledError(Exception):
    """Stands for a kill."""


def tiny(arch: str, vocabulary: int = 320):
    torch.manual_seed(0)
    fields = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 48, "num_heads": 1}
    return AutoModelForCausalLM.from_config(configuration(arch, "nano", vocabulary, **fields))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    words = ["the", "cat", "dog", "sat", "saw", "ran", "on", "mat", "house", "and", "then"]
    path = tmp_path / "corpus.jsonl"
    texts = [" ".join(rng.choice(words, rng.integers(20, 60))) for _ in range(120)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*texts, *texts[:10]]))
    return path


@pytest.fixture
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pretraining,
        "create",
        lambda arch, size, tokenizer, seed: tiny(arch if arch in ARCHITECTURES else "gla"),
    )


def run(corpus: Path, tmp: Path, arch: str = "transformer-pp", name: str = "a", progress=None, **fields):
    settings = PretrainSettings(
        **{"tokens": 2500, "length": 16, "batch": 8, "precision": "float32", **fields}
    )
    tokenizer = tmp / "tokenizer"
    if not tokenizer.exists():
        train_tokenizer(read_texts([corpus]), 270).save_pretrained(tokenizer)
    listener = {"progress": progress} if progress else {}
    job = pretraining.PretrainJob(NewModel(arch, "nano"), [corpus], settings, tokenizer)
    return pretraining.run(job, out=tmp / f"out-{name}", work=tmp / f"work-{name}", **listener)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_the_whole_logits(arch: str) -> None:
    model = tiny(arch)
    ids = torch.randint(0, 320, (3, 13), generator=torch.Generator().manual_seed(0))
    targets = ids[:, 1:].clone()
    targets[1, 4:] = IGNORED
    loss, count = next_token_loss(model, ids[:, :-1], targets, logits_at_once=320 * 7)  # 7 of 36 tokens
    (loss / count).backward()
    learnt = {name: weight for name, weight in model.named_parameters() if weight.grad is not None}
    ours = {name: weight.grad.clone() for name, weight in learnt.items()}
    model.zero_grad()
    logits = model(input_ids=ids[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED
    )
    expected.backward()
    assert int(count) == 28 and any(name.startswith("lm_head") for name in learnt)
    torch.testing.assert_close(loss / count, expected, atol=1e-5, rtol=1e-5)
    for name, weight in learnt.items():
        torch.testing.assert_close(ours[name], weight.grad, atol=1e-5, rtol=1e-3, msg=name)


def test_loss_without_gradients_and_the_forward_given_back() -> None:
    model = tiny("transformer-pp")
    ids = torch.arange(10).view(1, 10)
    with torch.no_grad():
        plain = next_token_loss(model, ids[:, :-1], ids[:, 1:])[0] / 9
        with next_token_forward(model):
            assert model(input_ids=ids[:, :-1], labels=ids[:, 1:])["loss"] == plain
        assert model(input_ids=ids).logits.shape == (1, 10, 320)


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 99, 100, 101, 250, 317])
def test_windows_predict_exactly_the_tokens_asked_for(tokens: int) -> None:
    ids = np.arange(1, 102)  # 100 predictions an epoch
    windows = Windows(ids, 16, tokens, seed=0)
    batch = windows.__getitems__(list(range(len(windows))))
    predicted = batch["labels"][batch["labels"] != IGNORED]
    assert len(predicted) == tokens
    assert torch.equal(predicted, batch["input_ids"][batch["labels"] != IGNORED] + 1)
    times = np.bincount(predicted.numpy(), minlength=102)[2:]
    assert times.max() - times.min() <= 1


def test_one_unshuffled_pass_predicts_everything_once() -> None:
    windows = Windows(np.arange(50), 16)
    batch = windows.__getitems__(range(len(windows)))
    assert batch["labels"][batch["labels"] != IGNORED].tolist() == list(range(1, 50))


def test_packing_ends_documents_and_is_reused(tmp_path: Path) -> None:
    texts = ["the cat sat", "a dog <|end|> ran"]
    tokenizer = train_tokenizer(texts, 280)
    ids = pack(texts, tokenizer, 1000, tmp_path)
    assert (np.asarray(ids) == tokenizer.eos_token_id).sum() == 2 and ids[-1] == tokenizer.eos_token_id
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert np.array_equal(pack(texts, tokenizer, 1000, tmp_path), ids)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert len(pack(texts, tokenizer, 5, tmp_path)) == 6


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_model_learns_the_corpus_and_becomes_a_folder(
    arch: str, corpus: Path, small_models, tmp_path: Path
) -> None:
    seen: list[tuple[float, float, str]] = []
    facts = run(corpus, tmp_path, arch, tokens=16001, learning_rate=1e-2, progress=lambda *r: seen.append(r))
    assert facts.held_out_perplexity < 30 < math.exp(facts.loss_curve[0][1])
    assert (facts.tokens, facts.arch, facts.vocabulary) == (16001, arch, 270)
    assert facts.epochs == pytest.approx(16001 / facts.unique_tokens) and facts.epochs > 1
    assert seen[-1] == (pytest.approx(16001), pytest.approx(16001), "tokens")
    assert json.loads(json.dumps(dataclasses.asdict(facts)))["steps"] == facts.steps
    model = load_language_model(tmp_path / "out-a")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out-a")
    assert tokenizer("the cat")["input_ids"][-1] == tokenizer.cls_token_id
    assert model.config.use_cache
    words = math.log(facts.held_out_word_perplexity) / math.log(facts.held_out_perplexity)
    assert 1 <= words == pytest.approx(facts.held_out_tokens / words_held_out(corpus, facts), rel=1e-6)


def words_held_out(corpus: Path, facts: pretraining.PretrainFacts) -> int:
    kept, held_out = pretraining.hold_out(mixed(read_texts([corpus])))
    assert len(held_out) == facts.held_out_documents and not set(kept) & set(held_out)
    assert len(kept) + len(held_out) == 120  # the ten copies are gone
    return sum(len(text.split()) for text in held_out)


def test_a_killed_run_ends_as_an_undisturbed_one(corpus: Path, small_models, tmp_path: Path) -> None:
    def killed(done: float, total: float, unit: str) -> None:
        if done > total / 2:
            raise KilledError

    whole = run(corpus, tmp_path, checkpoint_steps=4)
    with pytest.raises(KilledError):
        run(corpus, tmp_path, name="b", progress=killed, checkpoint_steps=4)
    resumed = run(corpus, tmp_path, name="b", checkpoint_steps=4)
    a, b = (load_file(tmp_path / f"out-{name}" / "model.safetensors") for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert resumed.held_out_perplexity == whole.held_out_perplexity


def test_architectures_see_the_same_tokens(corpus: Path, small_models, tmp_path: Path, monkeypatch) -> None:
    seen: dict[str, list[torch.Tensor]] = {"transformer-pp": [], "gla": []}
    for arch in seen:

        def listening(model, input_ids, targets, arch=arch):
            if model.training:
                seen[arch].append(input_ids.clone())
            return next_token_loss(model, input_ids, targets)

        monkeypatch.setattr(next_token, "next_token_loss", listening)
        run(corpus, tmp_path, arch, name=arch, tokens=500)
    first, second = seen.values()
    assert len(first) == len(second) == 4
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_model_that_scales_its_logits_is_trained_on_its_own() -> None:
    config = CohereConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    model = CohereForCausalLM(config)
    ids = torch.arange(10).view(1, 10)
    with next_token_forward(model):
        loss = model(input_ids=ids[:, :-1], labels=ids[:, 1:])["loss"]
    expected = torch.nn.functional.cross_entropy(model(input_ids=ids[:, :-1]).logits[0], ids[0, 1:])
    torch.testing.assert_close(loss, expected)


def test_an_architecture_without_a_usual_rate_needs_one(corpus: Path, small_models, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no usual pretraining rate for mine; set learning_rate"):
        run(corpus, tmp_path, "mine")


def test_a_corpus_of_one_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one document\nin two lines\n\none document\nin two lines\n")
    with pytest.raises(DataError, match="one document; at least two"):
        run(tmp_path / "a.txt", tmp_path)


def test_accumulated_parts_weigh_by_the_tokens_that_they_predict(
    corpus: Path, small_models, tmp_path: Path
) -> None:
    # 28 of 32 tokens of the last window are not predicted, and it is in a part of its own
    weights = []
    for parts in (1, 4):
        run(corpus, tmp_path, name=str(parts), tokens=100, length=32, batch=4, gradient_accumulation=parts)
        weights.append(load_file(tmp_path / f"out-{parts}" / "model.safetensors"))
    for name, whole in weights[0].items():
        torch.testing.assert_close(weights[1][name], whole, atol=1e-5, rtol=0, msg=name)
