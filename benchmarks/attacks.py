"""Attacks against TextAttack and against the floor: what plain PyTorch needs to score the same texts.

    python benchmarks/attacks.py --work FOLDER [--recipes deepwordbug textbugger pwws] [--blocks 6]
        [--floor-only] [--victims bert transformer-pp gla matmul-free]

Needs GLUE's SST-2 in TRILEMMA_DATA and WordNet (Debian's wordnet-base and wordnet-sense-index). The folder
gets the victims (trained once) and TextAttack's own environment (installed from PyPI once). Victims: a BERT
of about 5 million weights, and the three architectures at `micro`. Everything is on one thread, in float32,
at most 128 tokens a text.

Per block of items, one after the other: TextAttack as it ships (it pads to 128), TextAttack with its
tokenizer patched to pad a batch to its longest text, trilemma, and the floor; a ratio is formed within a
block. Then all items at once by trilemma alone against the floor, for every victim. Items, budget and edits
are the same.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)

from trilemma.hardware.process import prepare

prepare()

import numpy as np
import torch
from benchmarks.attack_victims import victims
from benchmarks.contest import Finding

from trilemma.attacks import AttackRun
from trilemma.attacks.constraints.edits import EditDistance, NoStopWords, UnchangedWords
from trilemma.attacks.resources.wordnet import WordNet
from trilemma.attacks.search.attack import SearchAttack
from trilemma.attacks.search.greedy import GreedyWordImportance, WeightedSaliency
from trilemma.attacks.transformations.characters import (
    DEEPWORDBUG,
    Misspelling,
    delete_inner,
    insert_space,
    swap_inner,
)
from trilemma.attacks.transformations.substitutes import Synonyms
from trilemma.hardware.machine import hardware, versions
from trilemma.inference.classifier import Classifier
from trilemma.profiling.timing import median
from trilemma.statistics.intervals import wilson
from trilemma.tasks import get, open_source
from trilemma.tasks.task import Text

BUDGET = 500
ITEMS = 200
ROUNDS = 6
"""Of all items against the floor: the fewest from which an interval of a median follows."""

WITHOUT_SPACE = "textbugger-without-space"
"""TextBugger without the bug that splits words, after which TextAttack takes one word for another."""

PEER = ("textattack==0.3.11", "flair>=0.15", "transformers<5")


def recipes() -> dict[str, SearchAttack]:
    """The same attacks on both sides; of TextBugger the bugs that TextAttack's package can run."""
    common = (UnchangedWords(), NoStopWords())
    bugs = Misspelling((insert_space, delete_inner, swap_inner))
    return {
        "deepwordbug": SearchAttack(
            "word",
            GreedyWordImportance("unknown"),
            Misspelling(DEEPWORDBUG),
            (*common, EditDistance(30)),
        ),
        "textbugger": SearchAttack("word", GreedyWordImportance("delete"), bugs, common),
        WITHOUT_SPACE: SearchAttack(
            "word", GreedyWordImportance("delete"), Misspelling((delete_inner, swap_inner)), common
        ),
        "pwws": SearchAttack("word", WeightedSaliency(), Synonyms(WordNet().synonyms), common),
    }


class Asked:
    """A victim that remembers the distinct texts it was asked."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.texts = classifier, dict[Text, None]()

    def __call__(self, texts: Sequence[Text]) -> Any:
        """Class probabilities."""
        self.texts.update(dict.fromkeys(texts))
        return self.classifier.probabilities(texts)


class Peer:
    """TextAttack in a process of its own."""

    def __init__(self, work: Path, model: Path) -> None:
        python = install(work)
        environment = os.environ | {
            "NLTK_DATA": str(nltk_data(work)),
            "TA_CACHE_DIR": str(work / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        script = Path(__file__).with_name("peer_textattack.py")
        self._process = subprocess.Popen(
            [str(python), str(script), str(model), "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(work / "textattack.log").open("w"),
            text=True,
            env=environment,
        )
        assert self._read()["ready"]

    def run(self, recipe: str, padding: str, items: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """Attack items."""
        job = {"recipe": recipe, "padding": padding, "budget": BUDGET, "items": list(items)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("TextAttack ended; its messages are in textattack.log in the work folder")
        answer: dict[str, Any] = json.loads(line)
        return answer


def install(work: Path) -> Path:
    """TextAttack's environment; made once."""
    python = work / "textattack" / "bin" / "python"
    if not (work / "textattack" / "installed").is_file():
        print("installing TextAttack ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(work / "textattack")], check=True)
        quiet = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*quiet, "torch==2.13.0"], check=True)
        subprocess.run([*quiet, "torch==2.13.0", *PEER], check=True)
        (work / "textattack" / "installed").touch()
    return python


def nltk_data(work: Path) -> Path:
    """WordNet and a stop list where NLTK looks for them, from the files that we read too."""
    import shutil

    from trilemma.attacks.words import stop_words

    corpora = work / "nltk_data" / "corpora"
    if not corpora.is_dir():
        (corpora / "omw-1.4").mkdir(parents=True)
        shutil.copytree(WordNet().folder, corpora / "wordnet")
        # The names of WordNet's files of lexicographers; NLTK reads their number alone.
        names = [f"{n:02d}\tfile{n}\t1\n" for n in range(45)]
        (corpora / "wordnet" / "lexnames").write_text("".join(names), "utf-8")
        (corpora / "stopwords").mkdir()
        (corpora / "stopwords" / "english").write_text("\n".join(sorted(stop_words())) + "\n", "utf-8")
    return work / "nltk_data"


def floor(classifier: Classifier, texts: Sequence[Text]) -> float:
    """Seconds that plain PyTorch takes for texts: tokenised in one call, sorted by length, full batches."""
    tokenizer = classifier.tokenizer
    begun = time.perf_counter()
    encoded = tokenizer([text[0] for text in texts], truncation=True, max_length=128)["input_ids"]
    encoded.sort(key=len)
    tokenising = time.perf_counter() - begun
    model = classifier.model
    if model not in batch_sizes:
        part = encoded[:: max(1, len(encoded) // 500)]
        seconds = {size: _forward(model, part, size, tokenizer.pad_token_id) for size in (8, 16, 32, 64)}
        batch_sizes[model] = min(seconds, key=lambda size: seconds[size])
    return tokenising + _forward(model, encoded, batch_sizes[model], tokenizer.pad_token_id)


batch_sizes: dict[Any, int] = {}
"""The fastest batch by model."""


def _forward(model: Any, encoded: list[list[int]], size: int, pad: int) -> float:
    begun = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(encoded), size):
            rows = encoded[start : start + size]
            longest = max(map(len, rows))
            ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
            model(input_ids=ids, attention_mask=mask).logits.softmax(-1).tolist()
    return time.perf_counter() - begun


def ours(classifier: Classifier, recipe: SearchAttack, items: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Attack items."""
    asked = Asked(classifier)
    begun = time.perf_counter()
    results = recipe(asked, [(text,) for text, _ in items], [label for _, label in items], AttackRun(BUDGET))
    seconds = time.perf_counter() - begun
    skipped = [one.queries == 1 and not one.success for one in results]
    outcomes = [
        "skipped" if left else "successful" if one.success else "failed"
        for one, left in zip(results, skipped, strict=True)
    ]
    return {
        "seconds": seconds,
        "outcomes": outcomes,
        "queries": [one.queries for one in results],
        "texts": len(asked.texts),
        "floor": floor(classifier, list(asked.texts)),
    }


def main() -> int:
    """Run the contest and print its tables."""
    parser = argparse.ArgumentParser(description="attacks against TextAttack and the floor")
    parser.add_argument("--work", type=Path, required=True, help="folder of victims and the peer")
    parser.add_argument(
        "--recipes", nargs="+", default=["deepwordbug", "textbugger", "pwws"], choices=list(recipes())
    )
    parser.add_argument("--blocks", type=int, default=6, help="at least 6 for an interval")
    parser.add_argument("--victims", nargs="+", help="against the floor; default all")
    parser.add_argument("--floor-only", action="store_true", help="leave TextAttack out")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    known = victims(options.work)
    examples = open_source(f"folder:{os.environ['TRILEMMA_DATA']}").load(get("sst2"), "validation")
    drawn = np.random.default_rng(0).permutation(len(examples))[:ITEMS]
    items = [(examples.texts[i][0], int(examples.labels[i] or 0)) for i in drawn]
    print(f"{hardware()}, one thread\n{versions()}\n{', '.join(PEER)}")
    findings: list[Finding] = []
    if not options.floor_only:
        peer = Peer(options.work, options.work / "bert")
        for name in options.recipes:
            findings += against_peer(name, peer, known["bert"], items, options.blocks)
    chosen = {name: known[name] for name in options.victims or known}
    findings += against_floor(options.recipes, chosen, items)
    print("\n## Findings\n")
    for finding in findings:
        print(f"- {finding}")
    return 0


def against_peer(
    name: str, peer: Peer, classifier: Classifier, items: list[tuple[str, int]], blocks: int
) -> list[Finding]:
    recipe = recipes()[name]
    shipped, patched, own = [], [], []
    for block in np.array_split(np.arange(len(items)), blocks):
        part = [items[i] for i in block]
        shipped.append(peer.run(name, "max_length", part))
        patched.append(peer.run(name, "longest", part))
        own.append(ours(classifier, recipe, part))
        print(f"  {name}: {sum(len(one['queries']) for one in own)} of {len(items)} items", flush=True)
    rivals = {"TextAttack, as shipped": shipped, "TextAttack, padding by batch": patched, "trilemma": own}
    print(f"\n### {name}, {len(items)} items of SST-2, BERT of 5 million weights\n")
    print("| | items/s | texts/s | success rate | 95% interval | queries an item |")
    print("| --- | --- | --- | --- | --- | --- |")
    for rival, runs in rivals.items():
        seconds = sum(one["seconds"] for one in runs)
        outcomes = [outcome for one in runs for outcome in one["outcomes"]]
        won, attacked = outcomes.count("successful"), len(outcomes) - outcomes.count("skipped")
        low, high = wilson(won, attacked)
        texts = sum(one["texts"] for one in runs) / seconds
        queries = sum(sum(one["queries"]) for one in runs) / len(items)
        print(
            f"| {rival} | {len(items) / seconds:.2f} | {texts:.0f} | {won / attacked:.3f} | "
            f"{low:.3f} to {high:.3f} | {queries:.1f} |"
        )

    def speed(runs: list[dict[str, Any]]) -> Any:
        return median([a["seconds"] / b["seconds"] for a, b in zip(runs, own, strict=True)])

    return [
        Finding(f"{name}: speed over TextAttack as shipped", speed(shipped), 3.0),
        Finding(f"{name}: speed over TextAttack padding by batch", speed(patched), 1.1),
        Finding(f"{name}: floor over time, blocks of {len(items) // blocks}", _share(own), None),
    ]


def against_floor(
    names: Sequence[str], known: dict[str, Classifier], items: list[tuple[str, int]]
) -> list[Finding]:
    findings = []
    for name, classifier in known.items():
        for recipe in names:
            runs = [ours(classifier, recipes()[recipe], items) for _ in range(ROUNDS)]
            findings.append(Finding(f"{recipe} on {name}: floor over time", _share(runs), 1 / 1.15))
            print(f"- {findings[-1]}", flush=True)
    return findings


def _share(runs: list[dict[str, Any]]) -> Any:
    return median([one["floor"] / one["seconds"] for one in runs])


if __name__ == "__main__":
    raise SystemExit(main())
