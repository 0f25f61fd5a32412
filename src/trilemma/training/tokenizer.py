"""A byte-level BPE tokenizer trained on a corpus (Sennrich et al. 2016; Radford et al. 2019).

It has four special tokens. ``<|end|>`` ends a document in pretraining, where a recurrent model learns to
forget what came before it; so a classifier's input uses others, without such a meaning:
``a <|class|>`` for a text, ``a <|sep|> b <|class|>`` for a pair, read out at ``<|class|>``.

Special tokens spelt out in data are ordinary text: no input can end a document or fake a pair
(``split_special_tokens``).
"""

from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from trilemma.architectures import DEFAULT_VOCABULARY
from trilemma.errors import DataError
from trilemma.training.corpus import mixed

END, PAD, SEPARATOR, CLASS = "<|end|>", "<|pad|>", "<|sep|>", "<|class|>"
_SPECIAL = [END, PAD, SEPARATOR, CLASS]
_SMALLEST = 256 + len(_SPECIAL)

SAMPLE_BYTES = 64_000_000
"""The merges are learnt from about this much of the corpus; more hardly changes them."""


def train_tokenizer(
    texts: Iterable[str], vocabulary: int = DEFAULT_VOCABULARY, sample_bytes: int = SAMPLE_BYTES
) -> PreTrainedTokenizerFast:
    """Train a tokenizer; the same texts in any order give the same tokenizer.

    Args:
        texts: documents.
        vocabulary: largest number of tokens, special ones included; small corpora give fewer.
        sample_bytes: documents are drawn until they hold this many bytes.

    Raises:
        DataError: when there is no text, or ``vocabulary`` is smaller than all bytes and special tokens.
    """
    if vocabulary < _SMALLEST:
        raise DataError(f"a byte-level vocabulary has at least {_SMALLEST} tokens, not {vocabulary}")
    core = Tokenizer(models.BPE())
    # With a space before it, the first word is the same token as elsewhere in a text.
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_sample(texts, sample_bytes), trainer)
    core.post_processor = processors.TemplateProcessing(
        single=f"$A {CLASS}",
        pair=f"$A {SEPARATOR} $B {CLASS}",
        special_tokens=[(token, core.token_to_id(token)) for token in (SEPARATOR, CLASS)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        sep_token=SEPARATOR,
        cls_token=CLASS,
        padding_side="right",
        truncation_side="right",
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def _sample(texts: Iterable[str], limit: int) -> Iterator[str]:
    read = 0
    for text in mixed(texts):
        if read >= limit:
            return
        read += len(text.encode())
        yield text
    if not read:
        raise DataError("there is no text to train a tokenizer on; give a corpus that holds some")
