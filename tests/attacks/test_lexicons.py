import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stand_ins.attacked import VECTORS, dictionary, proposals, vectors_file
from tests.stand_ins.tiny_models import save_bert, word_tokenizer
from trilemma.attacks.resources import load
from trilemma.attacks.resources.inflections import Inflections, with_ending, with_s
from trilemma.attacks.resources.language_models import whole_words
from trilemma.attacks.resources.sememes import sememe_synonyms
from trilemma.attacks.resources.vectors import WordVectors, read_vectors
from trilemma.attacks.transformations.substitutes import Neighbours
from trilemma.errors import AttackError


def test_neighbours_are_the_nearest_in_order_and_no_further_than_the_least_cosine(tmp_path: Path) -> None:
    vectors = WordVectors(*read_vectors(vectors_file(tmp_path)), most=2, least=0.5)
    assert vectors(["good", "GOOD", "film", "nothing", "unknown", "fine"]) == [
        ("great", "Fine"),
        ("great", "Fine"),  # looked up in lower case
        ("movie",),
        (),
        (),
        (),  # the file has it with a capital only
    ]
    assert WordVectors(*read_vectors(vectors_file(tmp_path)), most=1, least=-1)(["good"]) == [("great",)]
    assert proposals(Neighbours(vectors), "Good FILM") == [["Great", "Fine"], ["MOVIE"]]


@pytest.mark.parametrize("head", ["", "7 3\n"])
def test_vectors_are_read_with_a_header_or_without(tmp_path: Path, head: str) -> None:
    words, matrix = read_vectors(vectors_file(tmp_path, head + VECTORS + "\n. . . 1 2 3\r\n"))
    assert words == ["good", "great", "Fine", "bad", "film", "movie", "nothing", ". . ."]
    assert matrix.dtype == np.float32
    assert matrix[-1].tolist() == [1, 2, 3]


def test_of_equal_words_the_first_counts(tmp_path: Path) -> None:
    text = "good 1 0\ngood 0 1\nfine 1 0.1\nbad 0 1\nGood 1 0\n"
    assert WordVectors(*read_vectors(vectors_file(tmp_path, text)))(["good"]) == [("fine",)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "contains no word vectors"),
        ("good 1 2 3\nbad 1 2\n", "line 2"),
        ("good 1 2 3\nbad 1 2 3 4\n", "line 2"),
        ("2 3\ngood 1 2 3 4\n", "line 2"),
        ("good 1 2 3\nbad 1 nan 3\n", "line 2: a number that is not finite"),
        ("good 1 2 3\nbad 1 inf 3\n", "line 2: a number that is not finite"),
        ("good 1 2 x\n", "line 1"),
        ("good\n", "line 1"),
        ("3 999999999999\ngood 1 2 3\n", "line 1|line 2"),
        ("good " + "1 " * 20_000, "line 1"),
    ],
)
def test_damaged_vectors_are_refused_by_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(AttackError, match=line):
        read_vectors(vectors_file(tmp_path, text))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_vectors_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(data)
    try:
        words, matrix = read_vectors(path)
    except AttackError:
        return
    assert len(words) == len(matrix) > 0
    WordVectors(words, matrix)(words)


def test_neighbours_do_not_depend_on_what_is_asked_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilemma.attacks.resources.vectors.BLOCK_ROWS", 64)
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((500, 8)).astype(np.float32)
    words = [f"w{i}" for i in range(500)]
    together = WordVectors(words, matrix.copy(), most=7, least=0.0)(words)
    unit = matrix.astype(np.float64) / np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    for i in range(0, 500, 37):
        assert WordVectors(words, matrix.copy(), most=7, least=0.0)([words[i]]) == [together[i]]
        order = [j for j in np.argsort(-(unit @ unit[i])) if j != i][:7]
        assert together[i] == tuple(words[j] for j in order)


def test_a_models_own_embeddings_are_vectors(tmp_path: Path) -> None:
    save_bert(tmp_path)
    vectors = load.word_vectors(str(tmp_path), 3, -1.0)
    assert set(vectors.words) == set(whole_words(word_tokenizer()).values())
    [near] = vectors(["good"])
    assert len(near) == 3 and "good" not in near


def lexicon(folder: Path, content: object) -> str:
    path = folder / f"{random.Random(str(content)).random()}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(path)


def test_words_with_the_same_sememes_stand_for_each_other(tmp_path: Path) -> None:
    path = lexicon(
        tmp_path,
        {
            "Good": ["fine", "quality"],
            "great": [["quality", "fine"], ["big"]],
            "large": ["big"],
            "fine": ["quality"],
            "empty": [],
        },
    )
    synonyms = sememe_synonyms(path)
    assert synonyms("good") == ("great",)
    assert synonyms("great") == ("good", "large")
    assert [*synonyms("fine"), *synonyms("empty"), *synonyms("unknown")] == []


@pytest.mark.parametrize(
    "content", ["", "[1]", "{}", '{"a": 1}', '{"a": [1]}', '{"a": [["b"], "c"]}', "[" * 9999]
)
def test_a_damaged_lexicon_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(AttackError, match="sememes"):
        sememe_synonyms(lexicon(tmp_path, content))
    with pytest.raises(AttackError, match="sememes"):
        sememe_synonyms(str(tmp_path))


def test_inflections(tmp_path: Path) -> None:
    of = Inflections(dictionary(tmp_path)).of
    assert of("children") == ("child",)
    assert of("film") == ("films", "filmed", "filming")
    assert of("films") == ("film", "filmed", "filming")
    assert of("went") == ("go", "goes", "gone", "going")
    assert of("stopped") == ("stop", "stops", "stopping")
    assert of("tries") == ("try", "tried", "trying")
    assert of("making") == ("make", "makes", "made")
    assert of("lying") == ("lie", "lies", "lied")
    assert of("seeing") == ("see", "sees", "saw", "seen")
    assert of("cities") == ("city",)
    assert of("good") == ("better", "best")
    assert of("happier") == ("happy", "happiest")
    assert [*of("beautiful"), *of("well"), *of("unknown"), *of("s"), *of("")] == []


def test_regular_endings() -> None:
    assert [with_s(word) for word in ("film", "boy", "fly", "church", "box")] == [
        "films", "boys", "flies", "churches", "boxes",
    ]  # fmt: skip
    pairs = [("agree", "ing"), ("die", "ing"), ("be", "ing"), ("bake", "ed"), ("play", "ed")]
    assert [with_ending(*pair) for pair in pairs] == [
        "agreeing", "dying", "being", "baked", "played",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def inflections(tmp_path_factory: pytest.TempPathFactory) -> Inflections:
    return Inflections(dictionary(tmp_path_factory.mktemp("dictionary")))


@given(word=st.text(max_size=10))
def test_any_word_has_inflections_or_none(inflections: Inflections, word: str) -> None:
    assert word not in inflections.of(word)
