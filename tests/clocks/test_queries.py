"""The frequencies for queries by their length."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.clocks.choose import Setting
from trilemma.clocks.queries import length_classes, read_queries, sentences, words_and_marks
from trilemma.errors import DeployError

MEASURED = {
    # The long input is bound by compute, so it runs best at the high clock.
    16: {"prefill": [Setting(800, 0.10, 1), Setting(1600, 0.10, 2)]},
    256: {"prefill": [Setting(800, 2.0, 30), Setting(1600, 1.0, 32)]},
}


def test_each_query_runs_as_the_nearest_measured_length_does_best() -> None:
    short, long = length_classes(["word " * n for n in (1, 16, 63, 64, 500)], MEASURED)
    assert (short.measured, short.low, short.high, short.count) == (16, 0, 64, 3)
    assert (long.measured, long.low, long.high, long.count) == (256, 64, math.inf, 2)
    assert short.choice.settings["prefill"].mhz == 800
    assert long.choice.settings["prefill"].mhz == 1600
    assert list(sentences([short, long])) == [
        "from 0 to below 64 tokens (3 of 5 queries, as measured at 16): prefill at 800 MHz; saves 50%",
        "from 64 tokens (2 of 5 queries, as measured at 256): prefill at 1600 MHz; saves 0%",
        "over all 5 queries this saves 4% of the energy",
    ]


def test_one_measured_length_stands_for_all() -> None:
    lines = list(sentences(length_classes(["a b", "c"], {16: MEASURED[16]})))
    assert lines[0].startswith("of any length (2 of 2 queries, as measured at 16): prefill at 800 MHz")


@given(st.lists(st.integers(0, 2000), max_size=20), st.sets(st.integers(1, 1000), min_size=1, max_size=4))
def test_every_query_is_of_one_class(counts: list[int], lengths: set[int]) -> None:
    queries = ["word " * count for count in counts]
    classes = length_classes(queries, dict.fromkeys(lengths, MEASURED[16]))
    assert sum(one.count for one in classes) == len(queries)
    assert [one.measured for one in classes] == sorted(lengths)
    assert len(list(sentences(classes))) == len(classes) + bool(queries)


def test_a_tokenizer_counts_where_there_is_one() -> None:
    assert words_and_marks("It's 3.5, isn't it?") == ["It's", "3", ".", "5", ",", "isn't", "it", "?"]
    short, long = length_classes(["a" * 100], MEASURED, tokenize=list)
    assert (short.count, long.count) == (0, 1)


def test_queries_are_the_lines_that_are_not_empty(tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    with pytest.raises(DeployError, match="is not a file"):
        read_queries(file)
    file.write_text("\ufeffa\u2028b\nc\n\nd\n", "utf-8")
    assert read_queries(file) == ["a\u2028b", "c", "d"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"one\0\ntwo", b"", b"\n  \n"])
def test_a_file_that_holds_no_queries_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "queries.txt"
    file.write_bytes(content)
    with pytest.raises(DeployError, match=r"give a text file of one query|is not a text file"):
        read_queries(file)
