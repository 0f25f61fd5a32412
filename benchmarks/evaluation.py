"""How fast a model answers texts, against plain PyTorch loops over the same texts.

    python benchmarks/evaluation.py [--arch transformer-pp] [--size micro] [--texts 256] [--rounds 7]

Compared, in interleaved rounds of rotating order, so that drift hits all alike:

- ``trilemma``: :class:`trilemma.inference.classifier.Classifier`, from strings to probabilities,
  tokenising included;
- ``same batches, from text``: a plain loop over the very batches that it chose, which tokenises and pads
  them as it goes: the same work, so **the target (at least 0.9 of its rate) is held against this one**;
- ``same batches``: the same loop, spared tokenising and padding: both were done beforehand;
- ``sorted, 32``: a plain loop over batches of 32 sorted by length, spared the same;
- ``given order, 32``: batches of 32 in the given order, padded to their longest text, spared the same;
- ``pad to maximum, 32``: the same, every text padded to the maximum length;
- ``tokenising alone``: the part of trilemma's work that a loop may be spared, without a model.

The texts are all different, so nothing is gained from answering identical texts once. Their lengths follow
those of sentence classification (log-normal, median 20 tokens) or, with ``--pairs``, of sentence pairs.
The rate of a loop is the median over rounds; the ratio is formed within each round and its 95% interval is
that of a median (order statistics).
"""

import argparse
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from trilemma.architectures import ARCHITECTURES
from trilemma.hardware.machine import hardware, versions
from trilemma.inference.batching import encode, length_batches, pad_id
from trilemma.inference.classifier import Classifier, fixed_arguments
from trilemma.models import sizes
from trilemma.models.sizes import rounded_vocabulary
from trilemma.profiling.timing import interleave, median
from trilemma.tasks.task import Text

MAX_LENGTH = 128
BATCH = 32

Batch = dict[str, torch.Tensor]


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(hardware())
    print(versions())
    texts = make_texts(options.texts, pairs=options.pairs, seed=options.seed)
    tokenizer = train_tokenizer(texts)
    for arch in options.arch:
        compare(arch, options.size, texts, tokenizer, options.rounds, options.seed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="rate of evaluation against plain PyTorch loops")
    parser.add_argument("--arch", nargs="+", choices=ARCHITECTURES.names(), default=["transformer-pp"])
    parser.add_argument("--size", choices=list(sizes.SIZE_SPECS), default="micro")
    parser.add_argument("--texts", type=int, default=256, help="different texts to answer")
    parser.add_argument("--pairs", action="store_true", help="text pairs instead of single texts")
    parser.add_argument("--rounds", type=int, default=7, help="repetitions; at least 6 for an interval")
    parser.add_argument("--threads", type=int, help="of torch; by default as it chooses")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def make_texts(count: int, *, pairs: bool, seed: int) -> list[Text]:
    """Different texts of random words, about as long as those of GLUE."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 8))) for _ in range(2000)]

    def one() -> str:
        return " ".join(draw.choices(words, k=max(2, min(100, round(draw.lognormvariate(3.0, 0.55))))))

    return [(one(), one()) if pairs else (one(),) for _ in range(count)]


def train_tokenizer(texts: list[Text]) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which nearly every word of the texts is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(vocab_size=8000, special_tokens=["<eos>"], show_progress=False)
    tokenizer.train_from_iterator((part for text in texts for part in text), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")


def compare(
    arch: str, size: str, texts: list[Text], tokenizer: PreTrainedTokenizerFast, rounds: int, seed: int
) -> None:
    """Time the loops of one model and print the table."""
    torch.manual_seed(seed)
    config = sizes.configuration(
        arch, size, rounded_vocabulary(len(tokenizer)), pad_token_id=tokenizer.pad_token_id, num_labels=2
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    classifier = Classifier(model, tokenizer, max_length=MAX_LENGTH)
    rows = encode(tokenizer, texts, MAX_LENGTH)["input_ids"]
    lengths = np.array([len(row) for row in rows])
    own = list(length_batches(lengths, classifier.tokens_per_batch))
    by_length = np.argsort(-lengths, kind="stable")
    given = np.arange(len(texts))
    loops: dict[str, Callable[[], Any]] = {
        "trilemma": lambda: classifier.probabilities(texts),
        "same batches, from text": _loop_from_text(model, tokenizer, texts, own),
        "same batches": _loop(model, [_pad(rows, batch, tokenizer) for batch in own]),
        "sorted, 32": _loop(model, [_pad(rows, batch, tokenizer) for batch in _slices(by_length)]),
        "given order, 32": _loop(model, [_pad(rows, batch, tokenizer) for batch in _slices(given)]),
        "pad to maximum, 32": _loop(
            model, [_pad(rows, batch, tokenizer, MAX_LENGTH) for batch in _slices(given)]
        ),
    }
    loops["tokenising alone"] = lambda: encode(tokenizer, texts, MAX_LENGTH)
    for loop in loops.values():
        loop()
    samples = interleave({name: _timed(loop) for name, loop in loops.items()}, most=rounds)
    seconds = {name: np.array([sample["all"] for sample in taken]) for name, taken in samples.items()}
    _print_table(
        f"{arch} {size}, {len(texts)} texts, {lengths.mean():.1f} tokens a text", seconds, len(texts)
    )


def _slices(order: np.ndarray) -> list[np.ndarray]:
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def _pad(
    rows: list[list[int]], batch: np.ndarray, tokenizer: PreTrainedTokenizerFast, to: int | None = None
) -> Batch:
    width = to or max(len(rows[index]) for index in batch)
    ids = torch.full((len(batch), width), pad_id(tokenizer))
    mask = torch.zeros_like(ids)
    for place, index in enumerate(batch):
        ids[place, : len(rows[index])] = torch.tensor(rows[index])
        mask[place, : len(rows[index])] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _loop(model: Any, batches: list[Batch]) -> Callable[[], torch.Tensor]:
    arguments = fixed_arguments(model)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([model(**batch, **arguments).logits for batch in batches]).softmax(-1)

    return run


def _loop_from_text(
    model: Any, tokenizer: PreTrainedTokenizerFast, texts: list[Text], batches: list[np.ndarray]
) -> Callable[[], torch.Tensor]:
    arguments = fixed_arguments(model)

    def run() -> torch.Tensor:
        answers = []
        with torch.inference_mode():
            for batch in batches:
                rows = encode(tokenizer, [texts[index] for index in batch], MAX_LENGTH)["input_ids"]
                inputs = _pad(rows, np.arange(len(rows)), tokenizer)
                answers.append(model(**inputs, **arguments).logits)
        return torch.cat(answers).softmax(-1)

    return run


def _timed(work: Callable[[], Any]) -> Callable[[], Mapping[str, float]]:
    def run() -> Mapping[str, float]:
        start = time.perf_counter()
        work()
        return {"all": time.perf_counter() - start}

    return run


def _print_table(title: str, seconds: Mapping[str, np.ndarray], texts: int) -> None:
    print(f"\n{title}\n{'':24}{'texts/s':>10}   trilemma's rate over it, 95% interval")
    for name, taken in seconds.items():
        rate = texts / median(list(taken)).value
        ratio = median(list(taken / seconds["trilemma"]))
        interval = f"{ratio.low:.3f} to {ratio.high:.3f}" if ratio.low is not None else "too few rounds"
        print(
            f"{name:24}{rate:>10.1f}" + ("" if name == "trilemma" else f"   {ratio.value:.3f}  ({interval})")
        )


if __name__ == "__main__":
    main()
