import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from trilemma import tasks
from trilemma.errors import DataError
from trilemma.tasks.embedded import ADVERSARIAL_ROWS, TRAIN_ROWS, VALIDATION_ROWS, perturb, word_lists

NAMES = ("sst2", "qqp", "qnli", "rte", "mnli")
SOURCE = tasks.open_source("embedded")
METHODS = {
    ("word", "typo"),
    ("word", "synonym"),
    ("sentence", "distraction"),
    ("sentence", "rewrite"),
    ("human", "template"),
}
SETS = [(name, one) for name in NAMES for one in SOURCE.adversarial(tasks.get(name), "advglue")]

each_task = pytest.mark.parametrize("name", NAMES)
each_set = pytest.mark.parametrize(("name", "one"), SETS, ids=[one.split for _, one in SETS])


def splits(name):
    task = tasks.get(name)
    return {split: SOURCE.load(task, split) for split in ("train", *task.evaluation_splits)}


def words(text):
    return re.findall(r"[a-z-]+", " ".join(text).lower())


def test_it_says_that_it_is_not_glue():
    assert SOURCE.description == "embedded suite (generated; not GLUE)"


@each_task
def test_sizes_balance_and_no_official_rows(name):
    for split, examples in splits(name).items():
        assert len(examples) == (TRAIN_ROWS if split == "train" else VALIDATION_ROWS)
        counts = Counter(examples.labels)
        assert len(counts) == tasks.get(name).outputs and max(counts.values()) - min(counts.values()) <= 1
        assert examples.official_rows is None and not examples.partial
        assert len(set(examples.ids)) == len(examples)
        assert {len(text) for text in examples.texts} == {len(tasks.get(name).fields)}


@each_task
def test_no_item_is_in_two_splits_or_twice_in_one(name):
    texts = [text for examples in splits(name).values() for text in examples.texts]
    assert len({tuple(part.lower() for part in text) for text in texts}) == len(texts)


def test_another_process_draws_the_same_items():
    code = f"""
import json
from trilemma import tasks
source, found = tasks.open_source("embedded"), []
for name in {NAMES}:
    task = tasks.get(name)
    found.append(source.load(task, "train").fingerprint)
    found += [one.fingerprint for one in source.adversarial(task, "advglue")]
print(json.dumps(found))
"""
    environment = {**os.environ, "PYTHONHASHSEED": "4242"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    here = []
    for name in NAMES:
        here += [splits(name)["train"].fingerprint] + [one.fingerprint for task, one in SETS if task == name]
    assert json.loads(done.stdout) == here and len(set(here)) == len(here)


@each_task
def test_single_words_do_not_decide_but_their_combination_does(name):
    """Logistic regression on words alone stays well below one on pairs of words, within or across texts."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    def single(text):
        return [f"{field} {word}" for field, part in enumerate(text) for word in words((part,))]

    def crossed(text):
        first, last = words(text[:1]), words(text[-1:])
        if len(text) == 1:
            return [f"{a} {b}" for a, b in itertools.pairwise(first)] + first
        return [f"{a} {b}" for a in set(first) for b in set(last)]

    train, validation = list(splits(name).values())[:2]
    scores = []
    for features in (single, crossed):
        counts = CountVectorizer(analyzer=features, binary=True)
        model = LogisticRegression(max_iter=300, C=10).fit(counts.fit_transform(train.texts), train.labels)
        scores.append(model.score(counts.transform(validation.texts), validation.labels))
    assert scores[0] < 0.83 and scores[1] > max(0.83, scores[0] + 0.1), scores


@each_task
def test_no_word_alone_tells_the_label(name):
    train = splits(name)["train"]
    labels, seen = np.array(train.labels), [set(words(text)) for text in train.texts]
    for word, n in Counter(word for one in seen for word in one).items():
        if n > 100:
            has = np.array([word in one for one in seen])
            shares = [(labels[has] == label).mean() for label in set(train.labels)]
            assert max(shares) < 0.95 or n < 0.15 * len(train), word


@each_set
def test_levels_methods_and_rows(name, one):
    assert one.task == name and one.split.startswith(f"adv_{name}") and one.official_rows is None
    counts = Counter(zip(one.levels, one.methods, strict=True))
    assert set(counts) == METHODS
    assert Counter(one.levels) == dict.fromkeys(("word", "sentence", "human"), ADVERSARIAL_ROWS)
    assert len(set(one.ids)) == len(one) == 3 * ADVERSARIAL_ROWS


@each_set
def test_originals_are_validation_items_with_the_same_label_and_share_a_cluster(name, one):
    label = {
        text: label
        for split, examples in splits(name).items()
        if split != "train"
        for text, label in zip(examples.texts, examples.labels, strict=True)
    }
    assert all(text != original for text, original in zip(one.texts, one.originals, strict=True))
    assert [label[original] for original in one.originals] == list(one.labels)
    assert len(set(one.origins)) == len(set(one.originals)) == ADVERSARIAL_ROWS
    assert set(Counter(one.origins).values()) == {3}


@each_set
def test_perturbations_are_what_their_names_say(name, one):
    known = {word for examples in splits(name).values() for text in examples.texts for word in words(text)}
    for text, original, method in zip(one.texts, one.originals, one.methods, strict=True):
        changed = [(a, b) for a, b in zip(text, original, strict=True) if a != b]
        assert len(changed) == 1
        after, before = changed[0]
        if method == "typo":
            assert abs(len(after) - len(before)) <= 2 and set(words((after,))) - known
        elif method == "synonym":
            pairs = zip(words((after,)), words((before,)), strict=True)
            swaps = [(new, old) for new, old in pairs if new != old]
            assert 1 <= len(swaps) <= 2 and all(new in word_lists.synonyms(old) for new, old in swaps)
        elif method == "distraction":
            assert before.rstrip(".?") in after
            assert re.search(r"and (true is true|false is not true)|https://t\.co/\w{6}|@\w{6}", after)


def test_the_lexicon_is_used_and_its_rare_words_are_left_to_attacks():
    used = {
        word for name in NAMES for one in splits(name).values() for text in one.texts for word in words(text)
    }
    every = [word for one in word_lists.SYNONYM_SETS for word in (*one.words, *one.rare)]
    assert len(every) == len(set(every)) and all(word == word.lower() for word in every)
    assert {word for one in word_lists.SYNONYM_SETS for word in one.words} <= used
    assert not {word for one in word_lists.SYNONYM_SETS for word in one.rare} & used
    assert (
        word_lists.synonyms("boring") == ("humdrum", "dull", "tedious") and word_lists.synonyms("xyz") == ()
    )


def test_misspellings_spare_the_words_on_which_a_label_hangs():
    for seed in range(200):
        assert "hardly" in perturb.typo(random.Random(f"{seed}"), "It was hardly splendid.", set())


def test_what_the_suite_lacks_is_refused():
    with pytest.raises(DataError, match="no task 'cola'; it has sst2, qqp, qnli, rte, mnli"):
        SOURCE.load(tasks.get("cola"), "train")
    with pytest.raises(DataError, match="no 'test' of sst2; it has train, validation"):
        SOURCE.load(tasks.get("sst2"), "test")
    with pytest.raises(DataError, match="no adversarial set 'anli'; it has advglue"):
        SOURCE.adversarial(tasks.get("mnli"), "anli")
