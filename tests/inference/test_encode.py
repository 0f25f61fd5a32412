"""How texts and pairs become token ids."""

import pytest

from tests.stand_ins.tiny_models import byte_tokenizer, word_tokenizer
from trilemma.errors import ModelError
from trilemma.inference.batching import encode


def test_a_pair_uses_the_tokenizers_own_template() -> None:
    tokenizer = word_tokenizer()
    rows = encode(tokenizer, [("good film", "bad plot")], 32)
    assert tokenizer.convert_ids_to_tokens(rows["input_ids"][0]) == [
        *("[CLS]", "good", "film", "[SEP]"),
        *("bad", "plot", "[SEP]"),
    ]
    assert rows["token_type_ids"] == [[0, 0, 0, 0, 1, 1, 1]]


def test_a_pair_without_template_is_joined_by_a_line_break() -> None:
    tokenizer = byte_tokenizer()
    rows = encode(tokenizer, [("ab", "cd")], 32)
    assert tokenizer.decode(rows["input_ids"][0]) == "ab\ncd"


def test_pairs_are_cut_at_the_end_of_the_longer_text() -> None:
    tokenizer = byte_tokenizer()
    rows = encode(tokenizer, [("aaaaaaaaaa", "bb"), ("a", "bbbbbbbbbb")], 6)
    assert [tokenizer.decode(row) for row in rows["input_ids"]] == ["aaa\nbb", "a\nbbbb"]


def test_special_tokens_survive_cutting() -> None:
    rows = encode(word_tokenizer(), [("a b c d e f",)], 4)
    assert rows["input_ids"][0][0] == 2 and rows["input_ids"][0][-1] == 3 and len(rows["input_ids"][0]) == 4


def test_an_empty_text_becomes_one_token() -> None:
    tokenizer = byte_tokenizer()
    assert encode(tokenizer, [("",), ("x",)], 8)["input_ids"][0] == [tokenizer.eos_token_id]


def test_no_texts() -> None:
    assert encode(byte_tokenizer(), [], 8) == {"input_ids": []}


@pytest.mark.parametrize("texts", [[("a",), ("a", "b")], [("a", "b", "c")], [()]])
def test_texts_that_are_neither_single_nor_pairs_are_refused(texts: list[tuple[str, ...]]) -> None:
    with pytest.raises(ModelError, match="single texts or text pairs"):
        encode(byte_tokenizer(), texts, 8)
