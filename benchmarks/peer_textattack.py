"""TextAttack in its own environment: reads jobs from standard input, answers one JSON line each.

Started by ``benchmarks/attacks.py``; a job has ``recipe``, ``padding``, ``budget`` and ``items``, pairs of
text and label. ``padding`` is ``max_length``, as TextAttack ships, or ``longest``: its tokenizer patched to
pad a batch to its longest text.
"""

import json
import os
import random
import sys
import time
import warnings
from functools import partial
from typing import Any

warnings.filterwarnings("ignore")
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the library prints is no answer

import numpy as np
import torch
from textattack import Attack
from textattack.attack_recipes import DeepWordBugGao2018, PWWSRen2019
from textattack.constraints.pre_transformation import RepeatModification, StopwordModification
from textattack.goal_functions import UntargetedClassification
from textattack.models.wrappers import HuggingFaceModelWrapper
from textattack.search_methods import GreedyWordSwapWIR
from textattack.transformations import (
    CompositeTransformation,
    WordSwapNeighboringCharacterSwap,
    WordSwapRandomCharacterDeletion,
    WordSwapRandomCharacterInsertion,
)
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

padding = "max_length"


original_call = PreTrainedTokenizerBase.__call__


def call(self: Any, *texts: Any, **options: Any) -> Any:
    """Encode, padded as the job says."""
    if "padding" in options and padding == "longest":
        options["padding"] = True
    return original_call(self, *texts, **options)


PreTrainedTokenizerBase.__call__ = call


class Wrapper(HuggingFaceModelWrapper):  # type: ignore[misc]
    """Counts what the model is asked."""

    texts = 0

    def __call__(self, texts: list[str]) -> Any:
        """Logits."""
        self.texts += len(texts)
        return super().__call__(texts)


def textbugger(wrapper: Wrapper, space: bool = True) -> Attack:
    """TextBugger's three bugs that need no resource: space, deletion, swap; no similarity constraint."""
    inner = {"random_one": True, "skip_first_char": True, "skip_last_char": True}
    bugs = [WordSwapRandomCharacterInsertion(letters_to_insert=" ", **inner)] if space else []
    bugs += [WordSwapRandomCharacterDeletion(**inner), WordSwapNeighboringCharacterSwap(**inner)]
    constraints = [RepeatModification(), StopwordModification()]
    search = GreedyWordSwapWIR(wir_method="delete")
    return Attack(UntargetedClassification(wrapper), constraints, CompositeTransformation(bugs), search)


def main() -> None:
    """Serve jobs until standard input ends."""
    global padding
    torch.set_num_threads(int(sys.argv[2]))
    model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
    wrapper = Wrapper(model, AutoTokenizer.from_pretrained(sys.argv[1]))
    recipes = {
        "deepwordbug": DeepWordBugGao2018.build,
        "textbugger": textbugger,
        "textbugger-without-space": partial(textbugger, space=False),
        "pwws": PWWSRen2019.build,
    }
    attacks = {name: build(wrapper) for name, build in recipes.items()}
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        padding = job["padding"]
        attack = attacks[job["recipe"]]
        attack.goal_function.query_budget = job["budget"]
        attack.clear_cache()
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        wrapper.texts = 0
        begun = time.perf_counter()
        results = [attack.attack(text, label) for text, label in job["items"]]
        seconds = time.perf_counter() - begun
        outcomes = [type(one).__name__.removesuffix("AttackResult").lower() for one in results]
        answer = {
            "seconds": seconds,
            "outcomes": outcomes,
            "queries": [one.num_queries for one in results],
            "texts": wrapper.texts,
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
