"""A task that a tiny model learns in a few steps, and such models as folders."""

import random
from pathlib import Path

from transformers import AutoModelForCausalLM

from trilemma.models import loading
from trilemma.models.sizes import configuration
from trilemma.tasks.task import Examples, Task
from trilemma.training.tokenizer import train_tokenizer

ARCHITECTURES = ("transformer-pp", "gla", "matmul-free")

SENTIMENT = Task("sentiment", ("sentence",), ("negative", "positive"), ("accuracy",))
SAME = Task("same", ("first", "second"), ("different", "same"), ("accuracy",))
SCORE = Task("score", ("sentence",), None, ("pearson",))

_GOOD, _BAD, _PLAIN = (
    ("good", "fine", "great"),
    ("bad", "poor", "awful"),
    ("film", "plot", "cast", "scene", "end"),
)


def sentiment(rows: int, seed: int = 0, positive: float = 0.5) -> Examples:
    """Sentences with one telling word; its kind is the label."""
    rng = random.Random(seed)
    texts, labels = [], []
    for _ in range(rows):
        label = int(rng.random() < positive)
        words = [rng.choice(_PLAIN) for _ in range(rng.randint(2, 9))]
        words.insert(rng.randrange(len(words)), rng.choice(_GOOD if label else _BAD))
        texts.append((" ".join(words),))
        labels.append(float(label))
    return Examples("sentiment", "train", [str(i) for i in range(rows)], texts, labels, "made up")


def scores(rows: int) -> Examples:
    """Sentences whose score is 4 with a good word and 1 with a bad one."""
    base = sentiment(rows)
    labels = [4.0 if label else 1.0 for label in base.labels]
    return Examples("score", "train", base.ids, base.texts, labels, "made up")


def tokenizer(vocabulary: int = 300):
    return train_tokenizer((text for pair in sentiment(200).texts for text in pair), vocabulary)


def model_folder(folder: Path, arch: str = "transformer-pp", **overrides: object) -> Path:
    """A one-layer language model with its tokenizer."""
    tok = tokenizer()
    fields = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 48, "num_heads": 1, **overrides}
    config = configuration(
        arch,
        "nano",
        320,
        bos_token_id=tok.bos_token_id,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
        **fields,
    )
    import torch

    torch.manual_seed(0)
    loading.save(AutoModelForCausalLM.from_config(config), tok, folder)
    return folder
