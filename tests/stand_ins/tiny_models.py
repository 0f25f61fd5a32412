"""Models of a few thousand weights, and a tokenizer for them, made on the spot."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

WORDS = ("good bad film plot slow fast dull bright a the is was not very " + " ".join("abcdefghij")).split()
POSITIONS = 64


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, no pair template, no pad token of its own."""
    symbols = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, with BERT's template for single texts and pairs."""
    symbols = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(
        models.WordLevel({symbol: i for i, symbol in enumerate(symbols)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def tiny_bert(outputs: int = 2, **config: Any) -> BertForSequenceClassification:
    torch.manual_seed(0)
    settings = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings |= {"intermediate_size": 48, "max_position_embeddings": POSITIONS, "num_labels": outputs}
    return BertForSequenceClassification(BertConfig(**(settings | config))).eval()


def llama_config(**config: Any) -> LlamaConfig:
    settings = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings |= {"intermediate_size": 48, "max_position_embeddings": 256, "pad_token_id": 0}
    return LlamaConfig(**(settings | config))


def tiny_llama_classifier(outputs: int = 3) -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    return LlamaForSequenceClassification(llama_config(num_labels=outputs)).eval()


def save_bert(folder: Path, **config: Any) -> Path:
    tiny_bert(**config).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def save_llama(folder: Path, **config: Any) -> Path:
    torch.manual_seed(0)
    LlamaForCausalLM(llama_config(**config)).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
