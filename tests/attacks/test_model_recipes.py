from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    T5Config,
    T5ForConditionalGeneration,
)

from tests.stand_ins.attacked import HOSTILE, attack, dictionary, proposals, vectors_file
from tests.stand_ins.masked_models import favouring, masked_bert, wordpiece_tokenizer
from tests.stand_ins.tiny_models import byte_tokenizer, save_bert, save_llama
from tests.stand_ins.victims import BagOfWords
from trilemma.attacks import resources
from trilemma.attacks.attack import Attacked
from trilemma.attacks.attempt import Attempt
from trilemma.attacks.goals import ConfidenceDrop
from trilemma.attacks.language_models import MaskedLanguageModel
from trilemma.attacks.recipe import NamedRecipe, Recipe
from trilemma.attacks.recipes_models import (
    BAE_INSERT_RECIPE,
    BAE_RECIPE,
    BERT_ATTACK_RECIPE,
    COMPATTACK_RECIPE,
    MORPHEUS_RECIPE,
    SCPN_RECIPE,
    TEXTFOOLER_RECIPE,
)
from trilemma.attacks.search.greedy import GreedyWordImportance
from trilemma.attacks.search.whole import TryAll
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations.masked import MaskedSubstitutes
from trilemma.attacks.transformations.union import Union
from trilemma.errors import AttackError


@pytest.fixture(scope="module")
def masked_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("masked")
    masked_bert().save_pretrained(folder)
    wordpiece_tokenizer().save_pretrained(folder)
    return str(folder)


def test_missing_resources_are_named(tmp_path: Path) -> None:
    for recipe, name in [
        (TEXTFOOLER_RECIPE, "vectors"),
        (BERT_ATTACK_RECIPE, "masked_model"),
        (BAE_RECIPE, "masked_model"),
        (BAE_INSERT_RECIPE, "masked_model"),
        (SCPN_RECIPE, "paraphraser"),
    ]:
        with pytest.raises(AttackError, match=f"`{name}`"):
            recipe.build()
    own = {"vectors": vectors_file(tmp_path), "part_of_speech": False, "similarity": -1}
    for changed, name in [
        ({"perplexity_ratio": 2}, "language_model"),
        ({"grammar_drop": 0.1}, "acceptability"),
        ({"vectors": "/nowhere"}, "vectors"),
        ({"perplexity_ratio": 2, "language_model": "/nowhere"}, "language_model"),
        ({"perplexity_ratio": 2, "language_model": "package:nowhere"}, "language_model"),
    ]:
        with pytest.raises(AttackError, match=name):
            TEXTFOOLER_RECIPE.build(AttackSettings.model_validate(own | changed))


class Written:
    """A rewriting that is written down."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def rewrite(self, attempt: Attempt):  # type: ignore[no-untyped-def]
        yield from ()
        return self.texts


def test_all_rewritings_are_tried_until_one_succeeds() -> None:
    victim = BagOfWords({"good": 1.0, "bad": -1.0, "awful": -3.0})
    texts = [*(f"good number {i}" for i in range(10)), "awful", "", *(f"good {i}" for i in range(9))]
    [result] = attack(Recipe("sentence", TryAll(Written(texts))), victim, ["good"])
    assert result.success and result.text == ("awful",)
    assert 11 < result.queries < len(texts)
    every = Recipe("sentence", TryAll(Written([*texts, "bad"])), goal=ConfidenceDrop())
    [result] = attack(every, victim, ["good"])
    assert result == Attacked(("awful",), 1 + len(texts) + 1, True)
    [result] = attack(Recipe("sentence", TryAll(Written([]))), victim, ["good"])
    assert not result.success


@pytest.fixture(scope="module")
def paraphraser_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("paraphraser")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=320, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def test_a_model_paraphrases(paraphraser_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilemma.attacks.language_models.PARAPHRASE_TOKENS", 6)
    model = resources.paraphraser(paraphraser_folder, "paraphrase: ")
    texts = ["a good film", "", "🎬", "good " * 300]
    written = model(texts)
    assert [len(one) for one in written] == [len(set(one)) for one in written]
    assert all(one.strip() and one != text for text, some in zip(texts, written, strict=True) for one in some)
    assert written[0] and written[:1] == model(texts[:1])
    assert model(["a good film"]) != resources.paraphraser(paraphraser_folder, "")(["a good film"])
    victim = BagOfWords({"good": 3.0}, bias=-1.0)
    recipe = SCPN_RECIPE.build(AttackSettings(paraphraser=paraphraser_folder, similarity=-1))
    good, *_ = results = attack(recipe, victim, ["a good film", *HOSTILE[:6]])
    assert good.success and good.text[0] in resources.paraphraser(paraphraser_folder, "")(["a good film"])[0]
    assert len(results) == 7


@pytest.fixture(scope="module")
def wordnet_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("wordnet")
    dictionary(folder)
    for part in ("noun", "verb", "adj", "adv"):
        (folder / f"index.{part}").write_text("good n 1 0 1 1 00000000\n")
        (folder / f"data.{part}").write_text("00000000 03 n 02 good 0 fine 0 000 | gloss\n")
    return str(folder)


@pytest.fixture(scope="module")
def chosen(
    masked_folder: str, wordnet_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> AttackSettings:
    """Settings under which every word-level recipe can run: its constraints are tested apart."""
    return AttackSettings(
        vectors=vectors_file(tmp_path_factory.mktemp("vectors")),
        masked_model=masked_folder,
        wordnet=wordnet_folder,
        similarity=-1,
        part_of_speech=False,
        words_changed=1,
    )


@pytest.fixture(autouse=True)
def _plain_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "sentence_encoder", lambda name: plain_encoder)


def plain_encoder(texts: list[str]) -> np.ndarray:
    return np.ones((len(texts), 1), np.float32)


WORD_RECIPES = {
    "textfooler": TEXTFOOLER_RECIPE,
    "bert-attack": BERT_ATTACK_RECIPE,
    "bae": BAE_RECIPE,
    "bae-insert": BAE_INSERT_RECIPE,
    "compattack": COMPATTACK_RECIPE,
}


@pytest.mark.parametrize("name", [name for name in WORD_RECIPES if name != "bae-insert"])
def test_the_decisive_word_is_found(name: str, chosen: AttackSettings) -> None:
    victim = BagOfWords({"good": 3.0}, bias=-1.0)
    [result] = attack(WORD_RECIPES[name].build(chosen), victim, ["This Good film tells a story"])
    assert result.success
    assert result.text[0].startswith("This ") and result.text[0].endswith(" film tells a story")


def test_words_are_inserted() -> None:
    victim = BagOfWords({"good": 1.0, "bad": -3.0})
    model = MaskedLanguageModel(favouring("bad"), wordpiece_tokenizer(), 3)
    recipe = Recipe("word", GreedyWordImportance(), MaskedSubstitutes(model, model.mask, ("right", "left")))
    [result] = attack(recipe, victim, ["a good film"])
    assert result.text == ("a good bad film",)


def test_the_inflection_that_decides_is_found(tmp_path: Path) -> None:
    dictionary(tmp_path)
    victim = BagOfWords({"children": 3.0}, bias=-1.0)
    [result] = attack(
        MORPHEUS_RECIPE.build(AttackSettings(wordnet=str(tmp_path))), victim, ["Two children film"]
    )
    assert result.text == ("Two child film",)


def test_the_composition_tells_its_parts(chosen: AttackSettings) -> None:
    def parts(**without: None) -> list[str]:
        recipe = COMPATTACK_RECIPE.build(chosen.model_copy(update=without))
        assert isinstance(recipe, Recipe) and isinstance(recipe.transformation, Union)
        return list(recipe.transformation.parts)

    assert parts() == ["typo", "knowledge", "embedding", "context"]
    assert parts(vectors=None) == ["typo", "knowledge", "context"]
    assert parts(masked_model=None, vectors=None) == ["typo", "knowledge"]
    with pytest.raises(AttackError, match="wordnet"):
        COMPATTACK_RECIPE.build(chosen.model_copy(update={"wordnet": "/nowhere"}))
    recipe = COMPATTACK_RECIPE.build(chosen.model_copy(update={"masked_model": None}))
    [proposed] = proposals(recipe.transformation, "Good")  # type: ignore[attr-defined]
    assert {"Fine", "Great"} < set(proposed)
    assert len(proposed) == len(set(proposed))


@pytest.mark.parametrize("name", WORD_RECIPES)
def test_hostile_texts_pass_through(name: str, chosen: AttackSettings) -> None:
    recipe = WORD_RECIPES[name].build(chosen)
    results = attack(recipe, BagOfWords({"good": 0.5}, bias=0.4), HOSTILE, budget=25)
    assert [result.queries <= 25 for result in results] == [True] * len(HOSTILE)
    assert results == attack(recipe, BagOfWords({"good": 0.5}, bias=0.4), HOSTILE, budget=25)
    for text, result in zip(HOSTILE, results, strict=True):
        assert result.success or result.text == (text,)


def test_the_settings_constraints_hold_in_a_recipe(chosen: AttackSettings, tmp_path: Path) -> None:
    strict = chosen.model_copy(
        update={
            "perplexity_ratio": 1.05,
            "language_model": str(save_llama(tmp_path / "llama")),
            "grammar_drop": 0.0,
            "acceptability": str(save_bert(tmp_path / "bert")),
        }
    )
    recipe = COMPATTACK_RECIPE.build(strict)
    assert isinstance(recipe, Recipe)
    assert {"perplexity ratio", "grammar drop"} <= {one.name for one in recipe.constraints}
    perplexity, acceptable = (
        resources.perplexity(strict.language_model),
        resources.acceptability(strict.acceptability),
    )
    texts = ["a good film with a good plot", "good", "not a bad film, good and bright"]
    results = attack(recipe, BagOfWords({"good": 3.0}, bias=-1.0), texts)
    assert any(result.success for result in results)
    for text, result in zip(texts, results, strict=True):
        before, after = perplexity([text, result.text[0]])
        assert after <= 1.05 * before * (1 + 1e-5)
        before, after = acceptable([text, result.text[0]])
        assert before - after <= 1e-5


def test_recipes_name_their_source() -> None:
    for recipe in (*WORD_RECIPES.values(), MORPHEUS_RECIPE, SCPN_RECIPE):
        assert isinstance(recipe, NamedRecipe)
        assert "20" in (recipe.__doc__ or "")
