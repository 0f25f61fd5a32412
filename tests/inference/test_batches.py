"""Batches of about one length: every item once, within the budget, hardly any padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.inference.batching import WASTE_FRACTION, length_batches

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=200)


@given(lengths=LENGTHS, budget=st.sampled_from([16, 256, 4096]))
def test_batches_hold_every_item_once_within_budget_and_waste(lengths: list[int], budget: int) -> None:
    array = np.array(lengths)
    batches = list(length_batches(array, budget))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * array[batch].max()
        assert padded <= budget or len(batch) == 1
        assert padded - array[batch].sum() <= budget * WASTE_FRACTION


def test_longest_come_first_so_that_memory_ends_early() -> None:
    array = np.array([3, 50, 7, 50, 9])
    firsts = [array[batch].max() for batch in length_batches(array, 100)]
    assert firsts == sorted(firsts, reverse=True)


def test_equal_lengths_fill_batches() -> None:
    assert [len(batch) for batch in length_batches(np.full(10, 8), 32)] == [4, 4, 2]


def test_padding_stays_small_on_lengths_like_those_of_sentences() -> None:
    lengths = np.random.default_rng(0).lognormal(3, 0.55, 2000).astype(int) + 1
    padded = sum(len(batch) * lengths[batch].max() for batch in length_batches(lengths, 2048))
    assert padded / lengths.sum() == pytest.approx(1.03, abs=0.03)


def test_nothing_to_batch() -> None:
    assert list(length_batches(np.zeros(0, np.int64), 100)) == []
