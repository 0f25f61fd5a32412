"""Held-out slices and row caps."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.stand_ins.tiny_adapt import SCORE, SENTIMENT, scores, sentiment
from trilemma.adapt.slices import capped, labelled, split_off, stratified
from trilemma.errors import DataError


def test_classes_keep_their_proportions() -> None:
    train = sentiment(1000, positive=0.3)
    share = sum(train.labels) / len(train)
    for rows in (10, 99, 500):
        drawn = [train.labels[i] for i in stratified(SENTIMENT, train, rows, seed=0)]
        assert len(drawn) == rows
        assert abs(Counter(drawn)[1.0] - share * rows) < 1


def test_slices_are_disjoint_complete_and_seeded() -> None:
    train = sentiment(200)
    rest, held_out = split_off(SENTIMENT, train, 40, seed=3)
    assert len(held_out) == 40
    assert sorted([*rest.ids, *held_out.ids], key=int) == list(train.ids)
    assert split_off(SENTIMENT, train, 40, seed=3)[1].ids == held_out.ids
    assert split_off(SENTIMENT, train, 40, seed=4)[1].ids != held_out.ids


def test_no_training_row_shares_a_text_with_a_held_out_one() -> None:
    task = replace(SENTIMENT, fields=("premise", "hypothesis"))
    texts = [(f"Premise {i // 3}.", f"instruction {'same' if i % 2 else i}") for i in range(300)]
    train = replace(sentiment(300), texts=texts)
    rest, held_out = split_off(task, train, 30, seed=0)
    premises = {text[0] for text in held_out.texts}
    assert premises.isdisjoint(text[0] for text in rest.texts)
    # the hypothesis that half of all rows have keeps no row away
    assert sorted(rest.ids, key=int) == [
        i for i, text in zip(train.ids, texts, strict=True) if text[0] not in premises
    ]
    spelt = [("A good  film!",), ("a GOOD film",)] + [(f"film {i}",) for i in range(98)]
    for seed in range(20):
        rest, held_out = split_off(SENTIMENT, replace(sentiment(100), texts=spelt), 50, seed)
        assert not {spelt[0], spelt[1]} & set(rest.texts) or not {spelt[0], spelt[1]} & set(held_out.texts)


def test_a_split_of_repetitions_is_refused() -> None:
    with pytest.raises(DataError, match="give more distinct rows"):
        split_off(SENTIMENT, replace(sentiment(40), texts=[("the same",)] * 40), 8, seed=0)


def test_cap_leaves_small_splits_alone_and_regressions_are_drawn_too() -> None:
    train = scores(50)
    assert capped(SCORE, train, None, 0) is train
    assert capped(SCORE, train, 50, 0) is train
    assert len(set(capped(SCORE, train, 20, 0).ids)) == 20


def test_a_split_without_labels_is_refused() -> None:
    train = sentiment(10)
    with pytest.raises(DataError, match="2 of 10 rows have no label"):
        labelled(SENTIMENT, replace(train, labels=[None, None, *train.labels[2:]]))
    with pytest.raises(DataError, match="has 3 rows"):
        labelled(SENTIMENT, sentiment(3))
