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
from trilemma.attacks.attack import Attacked
from trilemma.attacks.constraints.language import GrammarDrop, PerplexityRatio
from trilemma.attacks.goals import ConfidenceDrop
from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Steps
from trilemma.attacks.recipes.sentences import scpn
from trilemma.attacks.recipes.words import bae, bae_insert, bert_attack, compattack, morpheus, textfooler
from trilemma.attacks.resources import load
from trilemma.attacks.resources.language_models import MaskedLanguageModel
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.greedy import GreedyWordImportance
from trilemma.attacks.search.whole import TryAll
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.transformations import Rewriting
from trilemma.attacks.transformations.masked import MaskedSubstitutes
from trilemma.attacks.transformations.substitutes import Union
from trilemma.errors import AttackError


@pytest.fixture(scope="module")
def masked_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("masked")
    masked_bert().save_pretrained(folder)
    wordpiece_tokenizer().save_pretrained(folder)
    return str(folder)


def test_missing_resources_are_named(tmp_path: Path) -> None:
    for recipe, name in [
        (textfooler, "vectors"),
        (bert_attack, "masked_model"),
        (bae, "masked_model"),
        (bae_insert, "masked_model"),
        (scpn, "paraphraser"),
    ]:
        with pytest.raises(AttackError, match=f"`{name}`"):
            recipe.configured(AttackSettings())
    own = {"vectors": vectors_file(tmp_path), "part_of_speech": False, "similarity": -1}
    for changed, name in [
        ({"perplexity_ratio": 2}, "language_model"),
        ({"grammar_drop": 0.1}, "acceptability"),
        ({"vectors": "/nowhere"}, "vectors"),
        ({"perplexity_ratio": 2, "language_model": "/nowhere"}, "language_model"),
        ({"perplexity_ratio": 2, "language_model": "package:nowhere"}, "language_model"),
    ]:
        with pytest.raises(AttackError, match=name):
            textfooler.configured(AttackSettings.model_validate(own | changed))


def written(texts: list[str]) -> Rewriting:
    """A rewriting that is written down."""

    def rewriting(item: Item) -> Steps[list[str]]:
        yield from ()
        return texts

    return rewriting


def test_all_rewritings_are_tried_until_one_succeeds() -> None:
    victim = BagOfWords({"good": 1.0, "bad": -1.0, "awful": -3.0})
    texts = [*(f"good number {i}" for i in range(10)), "awful", "", *(f"good {i}" for i in range(9))]
    [result] = attack(SearchAttack("sentence", TryAll(written(texts))), victim, ["good"])
    assert result.success and result.text == ("awful",)
    assert 11 < result.queries < len(texts)
    every = SearchAttack("sentence", TryAll(written([*texts, "bad"])), goal=ConfidenceDrop())
    [result] = attack(every, victim, ["good"])
    assert result == Attacked(("awful",), 1 + len(texts) + 1, True)
    [result] = attack(SearchAttack("sentence", TryAll(written([]))), victim, ["good"])
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
    monkeypatch.setattr("trilemma.attacks.resources.language_models.PARAPHRASE_TOKENS", 6)
    model = load.paraphraser(paraphraser_folder, "paraphrase: ")
    texts = ["a good film", "", "🎬", "good " * 300]
    written = model(texts)
    assert [len(one) for one in written] == [len(set(one)) for one in written]
    assert all(one.strip() and one != text for text, some in zip(texts, written, strict=True) for one in some)
    assert written[0] and written[:1] == model(texts[:1])
    assert model(["a good film"]) != load.paraphraser(paraphraser_folder, "")(["a good film"])
    victim = BagOfWords({"good": 3.0}, bias=-1.0)
    recipe = scpn.configured(AttackSettings(paraphraser=paraphraser_folder, similarity=-1))
    good, *_ = results = attack(recipe, victim, ["a good film", *HOSTILE[:6]])
    assert good.success and good.text[0] in load.paraphraser(paraphraser_folder, "")(["a good film"])[0]
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
    monkeypatch.setattr(load, "sentence_encoder", lambda name: PlainEncoder())


class PlainEncoder:
    """An encoder to which all texts are the same."""

    rough = None

    def __call__(self, texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 1), np.float32)


WORD_RECIPES = {
    "textfooler": textfooler,
    "bert-attack": bert_attack,
    "bae": bae,
    "bae-insert": bae_insert,
    "compattack": compattack,
}


@pytest.mark.parametrize("name", [name for name in WORD_RECIPES if name != "bae-insert"])
def test_the_decisive_word_is_found(name: str, chosen: AttackSettings) -> None:
    victim = BagOfWords({"good": 3.0}, bias=-1.0)
    [result] = attack(WORD_RECIPES[name].configured(chosen), victim, ["This Good film tells a story"])
    assert result.success
    assert result.text[0].startswith("This ") and result.text[0].endswith(" film tells a story")


def test_words_are_inserted() -> None:
    victim = BagOfWords({"good": 1.0, "bad": -3.0})
    model = MaskedLanguageModel(favouring("bad"), wordpiece_tokenizer(), 3)
    recipe = SearchAttack(
        "word", GreedyWordImportance(), MaskedSubstitutes(model, model.mask, ("right", "left"))
    )
    [result] = attack(recipe, victim, ["a good film"])
    assert result.text == ("a good bad film",)


def test_the_inflection_that_decides_is_found(tmp_path: Path) -> None:
    dictionary(tmp_path)
    victim = BagOfWords({"children": 3.0}, bias=-1.0)
    [result] = attack(
        morpheus.configured(AttackSettings(wordnet=str(tmp_path))), victim, ["Two children film"]
    )
    assert result.text == ("Two child film",)


def test_the_composition_tells_its_parts(chosen: AttackSettings) -> None:
    def parts(**without: None) -> list[str]:
        recipe = compattack.configured(chosen.model_copy(update=without))
        assert isinstance(recipe, SearchAttack) and isinstance(recipe.transformation, Union)
        return list(recipe.transformation.parts)

    assert parts() == ["typo", "knowledge", "embedding", "context"]
    assert parts(vectors=None) == ["typo", "knowledge", "context"]
    assert parts(masked_model=None, vectors=None) == ["typo", "knowledge"]
    with pytest.raises(AttackError, match="wordnet"):
        compattack.configured(chosen.model_copy(update={"wordnet": "/nowhere"}))
    recipe = compattack.configured(chosen.model_copy(update={"masked_model": None}))
    [proposed] = proposals(recipe.transformation, "Good")  # type: ignore[attr-defined]
    assert {"Fine", "Great"} < set(proposed)
    assert len(proposed) == len(set(proposed))


@pytest.mark.parametrize("name", WORD_RECIPES)
def test_hostile_texts_pass_through(name: str, chosen: AttackSettings) -> None:
    recipe = WORD_RECIPES[name].configured(chosen)
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
    recipe = compattack.configured(strict)
    assert isinstance(recipe, SearchAttack)
    assert {PerplexityRatio, GrammarDrop} <= set(map(type, recipe.constraints))
    perplexity, acceptable = (
        load.perplexity(strict.language_model),
        load.acceptability(strict.acceptability),
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
    for recipe in (*WORD_RECIPES.values(), morpheus, scpn):
        assert "20" in recipe.source
