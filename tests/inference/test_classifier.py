"""A model's answers: in order, each text once, the same in any batch."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.stand_ins.tiny_models import (
    POSITIONS,
    WORDS,
    byte_tokenizer,
    save_bert,
    save_llama,
    tiny_bert,
    tiny_llama_classifier,
    word_tokenizer,
)
from trilemma.errors import ModelError
from trilemma.inference.classifier import Classifier
from trilemma.models import sizes
from trilemma.tasks.task import Text


def texts(count: int = 60, pairs: bool = False) -> list[Text]:
    draw = random.Random(0)

    def one() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, 14)))

    return [(one(), one()) if pairs else (one(),) for _ in range(count)]


def own(arch: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = sizes.configuration(arch, "nano", 320, num_labels=3, pad_token_id=0)
    return AutoModelForSequenceClassification.from_config(config).eval(), byte_tokenizer()


ARCHITECTURES = ("transformer-pp", "gla", "matmul-free")

MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": lambda: (tiny_bert(), word_tokenizer()),
    "llama": lambda: (tiny_llama_classifier(), byte_tokenizer()),
    **{arch: lambda arch=arch: own(arch) for arch in ARCHITECTURES},
}


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_answers_do_not_depend_on_batch_size_or_order(name: str, pairs: bool) -> None:
    model, tokenizer = MODELS[name]()
    asked = texts(pairs=pairs)
    alone = Classifier(model, tokenizer, tokens_per_batch=1)
    together = Classifier(model, tokenizer, tokens_per_batch=4096)
    order = list(range(len(asked)))
    random.Random(1).shuffle(order)
    reference = alone.logits(asked)
    shuffled = together.logits([asked[index] for index in order])
    different = np.abs(shuffled - reference[order]).max(axis=1) > 1e-4
    # Activations of matmul-free are rounded to 8 bits; a rounding flip may move one answer in 200.
    assert different.sum() <= (1 if name == "matmul-free" else 0)
    differences = np.abs(together.probabilities(asked) - alone.probabilities(asked)).max(axis=1)
    assert (differences > 1e-5).sum() <= (1 if name == "matmul-free" else 0)


def test_answers_are_the_models_own() -> None:
    model, tokenizer = tiny_bert(outputs=3), word_tokenizer()
    asked = texts(20, pairs=True)
    expected = []
    for first, second in asked:
        with torch.no_grad():
            expected.append(model(**tokenizer(first, second, return_tensors="pt")).logits[0])
    classifier = Classifier(model, tokenizer)
    np.testing.assert_allclose(classifier.logits(asked), torch.stack(expected), atol=1e-5)
    np.testing.assert_allclose(classifier.probabilities(asked), torch.stack(expected).softmax(-1), atol=1e-6)
    assert classifier.probabilities(asked).dtype == np.float32


class Counting(torch.nn.Module):
    """Passes on to a model and counts the rows it was given."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.rows = model, 0
        self.config, self.device = model.config, model.device

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        self.rows += len(input_ids)
        return self.model(input_ids=input_ids, attention_mask=attention_mask)

    def get_input_embeddings(self) -> Any:
        return self.model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return None


def test_identical_texts_are_answered_once() -> None:
    model = Counting(tiny_llama_classifier())
    classifier = Classifier(model, byte_tokenizer())
    model.rows = 0  # without those that were compared when it was loaded
    answers = classifier.logits([("good",), ("bad",), ("good",), ("good",)])
    assert model.rows == 2
    np.testing.assert_array_equal(answers[0], answers[2])
    np.testing.assert_array_equal(answers[0], answers[3])
    assert not np.allclose(answers[0], answers[1])


def test_progress_counts_items_and_ends_at_their_number() -> None:
    reports: list[tuple[float, float, str]] = []
    asked = [*texts(30), *texts(30)]
    classifier = Classifier(tiny_bert(), word_tokenizer(), tokens_per_batch=64)
    classifier.logits(asked, progress=lambda *report: reports.append(report))
    assert reports[-1] == (60, 60, "items")
    assert len(reports) > 3 and [report[0] for report in reports] == sorted(report[0] for report in reports)


def test_a_regression_answers_with_its_raw_value() -> None:
    classifier = Classifier(tiny_bert(outputs=1), word_tokenizer())
    asked = texts(5)
    np.testing.assert_array_equal(classifier.probabilities(asked), classifier.logits(asked))
    assert classifier.logits(asked).shape == (5, 1)


def test_no_texts_give_an_empty_answer_of_the_right_width() -> None:
    assert Classifier(tiny_bert(outputs=3), word_tokenizer()).probabilities([]).shape == (0, 3)


def test_inputs_are_cut_to_what_the_model_can_take() -> None:
    classifier = Classifier(tiny_bert(), word_tokenizer(), max_length=512)
    assert classifier.max_length == POSITIONS
    assert np.isfinite(classifier.logits([("good " * 500,)])).all()


def test_dropout_is_off_and_the_mode_is_left_as_it_was() -> None:
    model = tiny_bert(hidden_dropout_prob=0.5).train()
    classifier = Classifier(model, word_tokenizer())
    np.testing.assert_array_equal(classifier.logits([("good film",)]), classifier.logits([("good film",)]))
    assert model.training


def test_a_saved_classifier_answers_as_before(tmp_path: Path) -> None:
    save_bert(tmp_path, outputs=3)
    asked = texts(5)
    loaded = Classifier.load(tmp_path, device="cpu")
    expected = Classifier(tiny_bert(outputs=3), word_tokenizer()).logits(asked)
    np.testing.assert_allclose(loaded.logits(asked), expected, atol=1e-6)


def test_a_model_without_a_classification_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="without a classification head"):
        Classifier.load(save_llama(tmp_path))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model configuration"):
        Classifier.load(tmp_path)
