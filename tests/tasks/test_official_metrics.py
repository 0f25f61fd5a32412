import math
import warnings

import pytest

from trilemma.tasks.official_metrics import compute, refused


def test_values_worked_out_by_hand():
    gold, answer = [1, 1, 0, 0, 1], [1, 0, 0, 1, 1]
    assert compute("accuracy", gold, answer) == pytest.approx(3 / 5)
    # precision 2/3, recall 2/3
    assert compute("f1", gold, answer) == pytest.approx(2 / 3)
    # (tp tn - fp fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn)) = (2*1 - 1*1) / sqrt(3*3*2*2)
    assert compute("matthews", gold, answer) == pytest.approx(1 / 6)


def test_correlations():
    gold, answer = [0.0, 1.0, 2.0, 5.0], [1.0, 2.0, 4.0, 3.0]
    assert compute("spearman", gold, answer) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert compute("pearson", gold, [2 * x - 1 for x in gold]) == pytest.approx(1.0)
    assert compute("pearson", gold, [-x for x in gold]) == pytest.approx(-1.0)


@pytest.mark.parametrize("constant", [0, 1])
def test_constant_answers_are_zero_or_undefined_without_warnings(constant):
    gold = [0, 1, 0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compute("matthews", gold, [constant] * 4) == 0.0
        assert compute("f1", gold, [0] * 4) == 0.0
        assert compute("f1", [0] * 4, [0] * 4) == 0.0
        assert math.isnan(compute("pearson", gold, [constant] * 4))
        assert math.isnan(compute("spearman", [2.5] * 4, gold))
        assert math.isnan(compute("accuracy", [], []))


def test_matthews_of_three_classes():
    assert compute("matthews", [0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2]) == pytest.approx(1.0)


def test_macro_f1_is_the_mean_over_the_classes_that_occur():
    # F1 of class 0: 2 * 1 / (2 + 1), of 1: 2 * 1 / (1 + 2), of 2: 0, and class 3 does not occur.
    assert compute("macro_f1", [0, 0, 1, 2], [0, 1, 1, 1]) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_a_metric_of_other_tasks_is_refused_with_those_that_fit():
    assert refused("macro_f1", 4) == refused("f1", 2) == refused("spearman", 0) == ""
    assert refused("f1", 4).endswith("there are 4 classes; expected accuracy, macro_f1, matthews")
    assert refused("macro_f1", 0).endswith("expected pearson, spearman")


def test_unknown_name_and_unequal_columns_are_refused():
    with pytest.raises(ValueError, match="unknown metric 'bleu'"):
        compute("bleu", [1], [1])
    with pytest.raises(ValueError, match="2 gold labels but 1 answers"):
        compute("accuracy", [1, 0], [1])
