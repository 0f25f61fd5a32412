"""Victims of the attack benchmark, trained once: a small BERT, and the three architectures at `micro`."""

import json
import os
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from trilemma.inference.classifier import Classifier
from trilemma.models.loading import create, load_classifier, save
from trilemma.tasks import get, open_source

STEPS, BATCH = 500, 32


def victims(work: Path) -> dict[str, Classifier]:
    """The classifiers by name; those that are not in the folder are trained on SST-2's training split."""
    found = {}
    for name in ("bert", "transformer-pp", "gla", "matmul-free"):
        if not (work / name / "config.json").is_file():
            print(f"training {name} ...", flush=True)
            _train(name, work / name)
        found[name] = Classifier.load(work / name, device="cpu")
    return found


def _train(name: str, folder: Path) -> None:
    examples = open_source(f"folder:{os.environ['TRILEMMA_DATA']}").load(get("sst2"), "train")
    rows = [(text[0], int(label or 0)) for text, label in zip(examples.texts, examples.labels, strict=True)]
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    tokenizer = _tokenizer([text for text, _ in rows])
    if name == "bert":
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=1024,
            max_position_embeddings=128,
        )
        model = BertForSequenceClassification(config)
    else:
        blank = folder.parent / f"{name}-untrained"
        save(create(name, "micro", tokenizer, 0), tokenizer, blank)
        model = load_classifier(blank, 2, dtype=torch.float32, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4 if name == "bert" else 1e-3)
    model.train()
    for _ in range(STEPS):
        texts, labels = zip(*random.sample(rows, BATCH), strict=True)
        inputs = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=128)
        inputs.pop("token_type_ids", None)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**inputs, labels=torch.tensor(labels)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(1)
    save(model, tokenizer, folder)
    # Under the name by which older versions of Transformers, which TextAttack needs, know it too.
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}), "utf-8")


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=8000, special_tokens=special))
    start, end = pieces.token_to_id("[CLS]"), pieces.token_to_id("[SEP]")
    pieces.post_processor = processors.BertProcessing(("[SEP]", end), ("[CLS]", start))
    names = dict(
        zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces, model_max_length=128, eos_token="[SEP]", bos_token="[CLS]", **names
    )
