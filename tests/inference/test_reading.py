"""Answers hang on the text alone in every family; what does not fit is one sentence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification

from tests.stand_ins.tiny_models import WORDS, byte_tokenizer, save_bert, tiny_bert, word_tokenizer
from trilemma.errors import ModelError
from trilemma.inference.batching import encode, pad_id
from trilemma.inference.classifier import Classifier
from trilemma.inference.labels import class_order
from trilemma.models.loading import describe
from trilemma.tasks.task import Text

_ENCODER = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_LLAMA = _ENCODER | {"num_key_value_heads": 2}
_GPT = {"vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
_BART = {
    **{"vocab_size": 320, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48},
    **{"decoder_ffn_dim": 48, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    **{"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 3, "max_position_embeddings": 128},
}
_XLNET = {"vocab_size": 320, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48, "pad_token_id": 0}
_MOBILE = {"embedding_size": 32, "intra_bottleneck_size": 32}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "xlnet": ("XLNetConfig", _XLNET),
    "fnet": ("FNetConfig", _ENCODER),
    "convbert": ("ConvBertConfig", _ENCODER),
    "mobilebert": ("MobileBertConfig", _ENCODER | _MOBILE),
    "yoso": ("YosoConfig", _ENCODER),
    "llama with another pad": ("LlamaConfig", _LLAMA | {"pad_token_id": 5}),
    "llama with pad -1": ("LlamaConfig", _LLAMA | {"pad_token_id": -1}),
    "gpt2 with another pad": ("GPT2Config", _GPT | {"pad_token_id": 7}),
    "phi3 with another pad": ("Phi3Config", _LLAMA | {"pad_token_id": 1}),
    "bart": ("BartConfig", _BART),
    "roberta": ("RobertaConfig", _ENCODER | {"type_vocab_size": 1}),
    "nystromformer": ("NystromformerConfig", _ENCODER),
}


def texts(count: int = 24) -> list[Text]:
    draw = np.random.default_rng(0)
    return [(" ".join(draw.choice(WORDS, draw.integers(1, 20))),) for _ in range(count)]


def family(name: str) -> Any:
    kind, settings = FAMILIES[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**settings, num_labels=2)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def alone(model: Any, tokenizer: Any, asked: Sequence[Text]) -> np.ndarray[Any, Any]:
    """Plain transformers, one text after the other, without any padding."""
    answers = []
    for text in asked:
        ids = torch.tensor(encode(tokenizer, [text], 64)["input_ids"])
        with torch.no_grad():
            answers.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].numpy())
    return np.array(answers)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_is_answered_as_its_texts_alone(name: str) -> None:
    # A tokenizer with segments gives GPT-2 its segment ids, as transformers does too.
    tokenizer, asked = byte_tokenizer() if "gpt2" in name else word_tokenizer(), texts()
    reference = family(name)
    if "llama" in name or "gpt2" in name or "phi3" in name:
        reference.config.pad_token_id = pad_id(tokenizer)
    expected = alone(reference, tokenizer, asked)
    answers = Classifier(family(name), tokenizer, max_length=64).logits(asked)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert expected.std(axis=0).min() > 1e-3


def test_gradients_of_left_padded_texts_are_those_of_their_own_tokens() -> None:
    asked = texts(6)
    classifier = Classifier(family("xlnet"), word_tokenizer(), max_length=64)
    together = classifier.gradients(asked, [0] * 6)
    for text, found in zip(asked, together, strict=True):
        [single] = classifier.gradients([text], [0])
        np.testing.assert_allclose(found.gradients, single.gradients, atol=1e-6)
        np.testing.assert_array_equal(found.ids, single.ids)


def test_texts_with_further_end_tokens_are_answered_beside_others() -> None:
    asked: list[Text] = [("good [SEP] film",), ("bad",), ("slow film",)]
    answers = Classifier(family("bart"), word_tokenizer(), max_length=64).logits(asked)
    np.testing.assert_allclose(answers, alone(family("bart"), word_tokenizer(), asked), atol=1e-5)


def test_a_model_of_one_segment_type_is_given_no_segments() -> None:
    pairs: list[Text] = [("good film", "bad plot"), ("slow", "fast and dull")]
    classifier = Classifier(family("roberta"), word_tokenizer(), max_length=64)
    np.testing.assert_allclose(
        classifier.logits(pairs), alone(family("roberta"), word_tokenizer(), pairs), atol=1e-5
    )


def test_a_model_that_reads_one_length_alone_is_refused() -> None:
    settings = _ENCODER | {"num_landmarks": 8, "segment_means_seq_len": 16}
    config = transformers.NystromformerConfig(**settings)
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(ModelError, match=r"cannot read a text of \d+ tokens .* choose another model"):
        Classifier(model, word_tokenizer())


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused() -> None:
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([f"new{index}" for index in range(64)])
    with pytest.raises(ModelError, match=r"up to id \d+ .* embedding has 64 rows"):
        Classifier(tiny_bert(), tokenizer)


def test_a_special_token_without_an_embedding_is_refused_in_the_text_that_has_it() -> None:
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([f"<image{index}>" for index in range(64)], special_tokens=True)
    classifier = Classifier(tiny_bert(), tokenizer)
    classifier.logits([("good film",)])
    with pytest.raises(ModelError, match="special token of id 90"):
        classifier.logits([("good <image63> film",)])


@pytest.mark.parametrize(
    ("kind", "settings", "limit"),
    [
        ("RobertaConfig", _ENCODER | {"max_position_embeddings": 130, "pad_token_id": 1}, 128),
        ("NystromformerConfig", _ENCODER | {"max_position_embeddings": 126}, 126),
        ("YosoConfig", _ENCODER, 128),
        ("MraConfig", _ENCODER, 128),
        ("IBertConfig", _ENCODER | {"max_position_embeddings": 130, "pad_token_id": 1}, 128),
        ("OpenAIGPTConfig", _GPT, 128),
        ("CTRLConfig", _GPT | {"dff": 48}, 128),
        ("GPTJConfig", _GPT | {"rotary_dim": 8}, 128),
        ("MptConfig", {"vocab_size": 64, "d_model": 32, "n_layers": 1, "n_heads": 2, "max_seq_len": 96}, 96),
        ("OPTConfig", _ENCODER | {"ffn_dim": 48, "word_embed_proj_dim": 32}, 128),
        ("LlamaConfig", _LLAMA, None),
        ("BloomConfig", {"vocab_size": 320, "hidden_size": 32, "n_layer": 1, "n_head": 2}, None),
    ],
)
def test_the_limit_of_positions_is_the_configurations(
    kind: str, settings: dict[str, Any], limit: int | None
) -> None:
    config = getattr(transformers, kind)(**settings, num_labels=2)
    assert describe(AutoModelForSequenceClassification.from_config(config)).max_length == limit


def test_how_much_a_model_reads_is_its_checkpoints(tmp_path: Any) -> None:
    folder = save_bert(tmp_path)
    assert Classifier.load(folder).max_length == 64  # all its positions
    tokenizer = word_tokenizer()
    tokenizer.model_max_length = 9
    tokenizer.save_pretrained(folder)
    classifier = Classifier.load(folder)
    assert classifier.max_length == 9
    assert classifier.truncated([("good film",), (" ".join(["good"] * 20),)]) == 0.5
    assert Classifier.load(folder, max_length=30).max_length == 30


def _named(*names: str) -> Any:
    return tiny_bert(outputs=len(names), id2label=dict(enumerate(names))).config


@pytest.mark.parametrize(
    ("names", "labels", "order"),
    [
        (("POSITIVE", "NEGATIVE"), ("negative", "positive"), [1, 0]),
        (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), ("entailment", "neutral", "contradiction"), [2, 1, 0]),
        (("entailment", "not-entailment"), ("not_entailment", "entailment"), [1, 0]),
        (("neg", "pos"), ("positive", "negative"), [1, 0]),
        (("LABEL_0", "LABEL_1"), ("negative", "positive"), [0, 1]),
    ],
)
def test_classes_are_matched_by_name(names: Any, labels: Any, order: list[int]) -> None:
    assert class_order(_named(*names), labels).tolist() == order


@pytest.mark.parametrize("names", [("1 star", "5 stars"), ("positive", "positive"), ("a", "b", "c")])
def test_classes_without_a_match_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match=r"cannot be matched|answers with 3 classes"):
        class_order(_named(*names), ("negative", "positive"))


def test_answers_and_gradients_are_in_the_tasks_order() -> None:
    names = {0: "POSITIVE", 1: "NEGATIVE"}
    plain = Classifier(tiny_bert(id2label=names), word_tokenizer())
    mapped = Classifier(tiny_bert(id2label=names), word_tokenizer(), labels=("negative", "positive"))
    asked = texts(5)
    np.testing.assert_array_equal(mapped.logits(asked), plain.logits(asked)[:, ::-1])
    [one], [other] = mapped.gradients(asked[:1], [1]), plain.gradients(asked[:1], [0])
    np.testing.assert_array_equal(one.gradients, other.gradients)
