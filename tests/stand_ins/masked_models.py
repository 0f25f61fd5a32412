"""A masked language model of a few thousand weights, and its tokenizer."""

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
)

from tests.stand_ins.tiny_models import POSITIONS


def wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-case WordPiece: some words are one token, others several."""
    symbols = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "the", "a", "is", "play",
               "##ing", "##ed", "##s", "work", "42", ".", "x", "##x", "great"]  # fmt: skip
    tokenizer = Tokenizer(models.WordPiece({one: i for i, one in enumerate(symbols)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def masked_bert(**config: int) -> BertForMaskedLM:
    torch.manual_seed(0)
    fields = {"vocab_size": 24, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    fields |= {"intermediate_size": 48, "max_position_embeddings": POSITIONS}
    return BertForMaskedLM(BertConfig(**(fields | config))).eval()


def favouring(*words: str) -> BertForMaskedLM:
    """A masked language model that finds these the most probable everywhere, in this order."""
    model = masked_bert()
    vocabulary = wordpiece_tokenizer().get_vocab()
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_()
        model.cls.predictions.decoder.bias.zero_()
        for i, word in enumerate(words):
            model.cls.predictions.decoder.bias[vocabulary[word]] = 20.0 - i
    return model
