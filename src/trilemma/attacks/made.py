"""An attack run on labelled items: what it made of each, and the set of examples worth keeping."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.attack import Attack, Attacked, Victim
from trilemma.attacks.curation import curated
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.victims import checked
from trilemma.attacks.words import share_changed, words_changed
from trilemma.errors import AttackError
from trilemma.progress import Progress, silent
from trilemma.tasks.task import Level, Task, Text


@dataclass(frozen=True)
class MadeExamples:
    """What an attack made of labelled items; all columns have one entry an item.

    Attributes:
        level: of what was changed.
        originals: the clean inputs.
        shown: what was made of them; the original where the attack failed or the model was wrong already.
        labels: class indices.
        attacked: whether the model was right on the original, so that it was attacked; an item that has the
            target's class already is not.
        queries: distinct texts asked for the item.
        by: which of an ensemble's attacks made it, or "".
        success: whether the model is wrong on what is shown and was right before, by its answers.
        similarity: cosine of a success and its original by the encoder, None where not measured.
        perplexity_ratio: a success's perplexity over its original's, None where not measured.
        before: class probabilities of the originals [n, classes].
        after: class probabilities of what is shown.
        unmeasured: why similarity was not measured, or "".
    """

    level: Level
    originals: Sequence[Text]
    shown: Sequence[Text]
    labels: Sequence[int]
    attacked: Sequence[bool]
    queries: Sequence[int]
    by: Sequence[str]
    success: Sequence[bool]
    similarity: Sequence[float | None]
    perplexity_ratio: Sequence[float | None]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    unmeasured: str

    def kept(self, settings: AttackSettings) -> tuple[list[int], dict[str, int]]:
        """Items whose example is worth keeping, and how many were dropped by reason."""
        won = [i for i, success in enumerate(self.success) if success]
        kept, dropped = curated(
            [(self.originals[i], self.shown[i]) for i in won],
            words_changed=settings.words_changed,
            similarity=settings.similarity,
            similarities=[self.similarity[i] for i in won],
        )
        failed = sum(self.attacked) - len(won)
        reasons = {"no success": failed, "the model was wrong already": len(self.labels) - sum(self.attacked)}
        return [won[i] for i in kept], {name: n for name, n in {**reasons, **dropped}.items() if n}

    def columns(self) -> dict[str, list[Any]]:
        """The items as columns of a table; ``changed`` says what changed as ``old -> new``."""
        pairs = list(zip(self.originals, self.shown, strict=True))
        return {
            "level": [self.level] * len(pairs),
            "gold": list(self.labels),
            "original": [list(text) for text in self.originals],
            "adversarial": [list(text) for text in self.shown],
            "changed": [
                [one for a, b in zip(*pair, strict=True) for one in words_changed(a, b)] for pair in pairs
            ],
            "words_changed": [max(share_changed(a, b) for a, b in zip(*pair, strict=True)) for pair in pairs],
            "queries": list(self.queries),
            "by": list(self.by),
            "success": list(self.success),
            "attacked": list(self.attacked),
            "similarity": list(self.similarity),
            "perplexity_ratio": list(self.perplexity_ratio),
            "original_probabilities": self.before.tolist(),
            "probabilities": self.after.tolist(),
        }

    def as_advglue(self, task: Task, method: str, chosen: Sequence[int]) -> dict[str, list[Any]]:
        """Chosen items in AdvGLUE's columns: texts, label, idx, data_construction, method, original_*."""
        changed = [[a != b for a, b in zip(self.originals[i], self.shown[i], strict=True)] for i in chosen]
        columns: dict[str, list[Any]] = {
            name: [self.shown[i][field] for i in chosen] for field, name in enumerate(task.fields)
        }
        columns |= {
            "label": [self.labels[i] for i in chosen],
            "idx": list(chosen),
            "data_construction": [self.level] * len(chosen),
            "method": [method] * len(chosen),
        }
        for field, name in enumerate(task.fields):
            columns[f"original_{name}"] = [
                self.originals[i][field] if fields[field] else None
                for i, fields in zip(chosen, changed, strict=True)
            ]
        return columns


def make(
    attack: Attack,
    victim: Victim,
    texts: Sequence[Text],
    labels: Sequence[int],
    settings: AttackSettings,
    *,
    budget: int,
    seed: int,
    progress: Progress = silent,
    done: Mapping[int, Attacked] | None = None,
    finished: Callable[[int, Attacked], None] | None = None,
) -> MadeExamples:
    """Attack the items that the victim answers correctly.

    Args:
        attack: what runs.
        victim: the model under attack.
        texts: clean inputs.
        labels: their class indices.
        settings: names the encoder by which similarity is measured.
        budget: queries allowed an item.
        seed: of everything random.
        progress: told of items done.
        done: results of items that need not be attacked again, by index.
        finished: told of each result as it comes, where the attack tells.
    """
    answered = checked(victim)
    before = answered(texts)
    right = [i for i, p in enumerate(before) if int(p.argmax()) == labels[i] and labels[i] != settings.target]
    results = {i: one for i, one in (done or {}).items() if i in right}
    left = [i for i in right if i not in results]
    telling: dict[str, Any] = {}
    if finished is not None and "finished" in inspect.signature(type(attack).__call__).parameters:
        telling["finished"] = lambda index, one: finished(left[index], one)
    made = attack(
        victim,
        [texts[i] for i in left],
        [labels[i] for i in left],
        budget=budget,
        seed=seed,
        progress=progress,
        **telling,
    )
    results.update(zip(left, made, strict=True))
    shown = [results[i].text if i in results else text for i, text in enumerate(texts)]
    # From its text alone, whatever the attack says of it.
    after = answered(shown)
    success = [i in results and int(after[i].argmax()) != labels[i] for i in range(len(texts))]
    similarity, unmeasured = _similarities(settings, texts, shown, success)
    return MadeExamples(
        level=attack.level,
        originals=texts,
        shown=shown,
        labels=labels,
        attacked=[i in results for i in range(len(texts))],
        queries=[results[i].queries if i in results else 0 for i in range(len(texts))],
        by=[results[i].by if i in results else "" for i in range(len(texts))],
        success=success,
        similarity=similarity,
        perplexity_ratio=_perplexity_ratios(settings, texts, shown, success),
        before=before,
        after=after,
        unmeasured=unmeasured,
    )


def _similarities(
    settings: AttackSettings, texts: Sequence[Text], shown: Sequence[Text], success: Sequence[bool]
) -> tuple[list[float | None], str]:
    """Cosine of each success and its original, and for want of an encoder the reason."""
    from trilemma.attacks.resources import sentence_encoder

    similarity: list[float | None] = [None] * len(texts)
    places = [i for i, succeeded in enumerate(success) if succeeded]
    if not places:
        return similarity, ""
    try:
        encoder = sentence_encoder(settings.encoder)
    except AttackError as error:
        return similarity, str(error)
    vectors = encoder(_changed_fields(texts, shown, places))
    cosines = (vectors[: len(places)] * vectors[len(places) :]).sum(axis=1)
    for place, cosine in zip(places, cosines, strict=True):
        similarity[place] = float(cosine)
    return similarity, ""


def _perplexity_ratios(
    settings: AttackSettings, texts: Sequence[Text], shown: Sequence[Text], success: Sequence[bool]
) -> list[float | None]:
    """How much less likely each success is than its original, where a language model is named."""
    from trilemma.attacks.resources import perplexity

    ratios: list[float | None] = [None] * len(texts)
    places = [i for i, succeeded in enumerate(success) if succeeded]
    if not places or settings.language_model is None:
        return ratios
    found = perplexity(settings.language_model)(_changed_fields(texts, shown, places))
    for place, before, after in zip(places, found, list(found)[len(places) :], strict=False):
        ratios[place] = after / before
    return ratios


def _changed_fields(texts: Sequence[Text], shown: Sequence[Text], places: Sequence[int]) -> list[str]:
    """The originals and then what was made of them, of each item the fields that changed."""
    sides: tuple[list[str], list[str]] = ([], [])
    for place in places:
        pairs = [(a, b) for a, b in zip(texts[place], shown[place], strict=True) if a != b]
        for side, parts in zip(sides, zip(*pairs, strict=True), strict=True):
            side.append(" ".join(parts))
    return [*sides[0], *sides[1]]
