"""Every recipe by its name: documented, built, and run on hostile input."""

from pathlib import Path

import pytest

from tests.stand_ins.victims import BagOfWords
from trilemma.attacks import ATTACKS, AttackRun, AttackSettings, build, fingerprint
from trilemma.attacks.recipes.recipe import AttackRecipe
from trilemma.errors import AttackError
from trilemma.tasks import get
from trilemma.testing import check_attack

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "attacks.md"
NEED_A_MODEL = {"textfooler", "bert-attack", "bae", "bae-insert", "pso", "scpn", "custom-templates"}
WHITE_BOX = {"hotflip", "universal-trigger"}
HOSTILE = [
    "",
    " \t\n",
    "good",
    "🎬🎬🎬",
    "שלום עולם טוב good",
    "नमस्ते दुनिया good",
    "the of and to a in",
    "\u200bgood\u200b\u202e film",
    "good " * 100,
    "A good, well-made film; isn't it? It's GOOD!",
    "e\u0301\u0301\u0301 good \ufffd \x00 end",
]


def names() -> list[str]:
    return [name for name in ATTACKS.names() if name not in ATTACKS.plugins()]


def settings_of(name: str) -> AttackSettings:
    if name in {"pwws", "genetic", "compattack", "advglue"}:
        return AttackSettings(wordnet="embedded")
    return AttackSettings()


@pytest.mark.parametrize("name", names())
def test_a_recipe_says_where_it_comes_from_and_is_in_the_document(name: str) -> None:
    recipe = ATTACKS.get(name)
    assert isinstance(recipe, AttackRecipe)
    assert "20" in recipe.source or name == "custom-templates"
    assert f"`{name}`" in DOCUMENT.read_text("utf-8")
    assert recipe.level in ("word", "sentence", "human", "unknown")


@pytest.mark.parametrize("name", sorted(NEED_A_MODEL))
def test_a_recipe_without_its_resource_says_what_is_missing(name: str) -> None:
    with pytest.raises(AttackError, match=r"needs|name|pip install|set"):
        build(name, AttackSettings(), get("sst2"))


@pytest.mark.parametrize(
    "name", [one for one in names() if one not in NEED_A_MODEL | WHITE_BOX | {"morpheus"}]
)
def test_a_recipe_survives_hostile_texts_within_its_budget(name: str) -> None:
    attack = build(name, settings_of(name), get("sst2"))
    victim = BagOfWords({"good": 2.0, "goodness": 1.0}, bias=0.1)
    texts = [(text,) for text in HOSTILE]
    results = attack(victim, texts, [1] * len(texts), AttackRun(25))
    assert len(results) == len(texts)
    for text, result in zip(texts, results, strict=True):
        assert result.queries <= 25
        assert len(result.text) == 1
        if result.success and name != "input-reduction":
            assert victim([result.text])[0].argmax() == 0 and result.text != text
    again = attack(victim, texts, [1] * len(texts), AttackRun(25))
    assert [one.text for one in again] == [one.text for one in results]


@pytest.mark.parametrize("name", sorted(WHITE_BOX))
def test_a_white_box_recipe_refuses_a_victim_without_gradients(name: str) -> None:
    attack = build(name, AttackSettings(), get("sst2"))
    with pytest.raises(AttackError, match="probabilities alone"):
        attack(BagOfWords({"good": 2.0}), [("a good film",), ("good fun",)], [1, 1], AttackRun(50))


@pytest.mark.parametrize("name", ["deepwordbug", "checklist", "stresstest", "advfever", "hotflip"])
def test_a_recipe_without_resources_is_a_plain_attack(name: str) -> None:
    check_attack(ATTACKS.get(name))


def test_the_decisive_word_is_found_by_word_level_recipes() -> None:
    for name in ("deepwordbug", "textbugger", "pwws", "genetic", "compattack"):
        attack = build(name, settings_of(name).model_copy(update={"similarity": 0.3}), get("sst2"))
        victim = BagOfWords({"splendid": 3.0}, bias=-1.0)
        [result] = attack(victim, [("this splendid story is told by a friend",)], [1], AttackRun(300))
        assert result.success and "splendid" not in result.text[0].split(), name


def test_a_changed_resource_changes_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "sememes.json").write_text('{"good": ["fine"]}')
    settings = AttackSettings(sememes=str(tmp_path / "sememes.json"))
    first = fingerprint("pso", settings)
    (tmp_path / "sememes.json").write_text('{"good": ["great"]}')
    assert first["sememes"] != fingerprint("pso", settings)["sememes"]
    assert fingerprint("deepwordbug", AttackSettings()) == {}
    assert "encoder" in fingerprint("deepwordbug", AttackSettings(similarity=0.5))


@pytest.mark.parametrize("search", ["greedy", "beam", "genetic", "particle-swarm", "random", "exhaustive"])
def test_another_search_can_be_set(search: str) -> None:
    attack = build("deepwordbug", AttackSettings.model_validate({"search": search}), None)
    victim = BagOfWords({"splendid": 3.0}, bias=-1.0)
    [result] = attack(victim, [("this splendid story",)], [1], AttackRun(200))
    assert result.success and "splendid" not in result.text[0].split()
    with pytest.raises(AttackError, match="leave out `search`"):
        build("checklist", AttackSettings.model_validate({"search": search}), None)
