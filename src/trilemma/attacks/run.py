"""Runs an attack on labelled items: what it found for each, and which examples are worth keeping."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.attack import Attack, Attacked, AttackRun, Victim, checked
from trilemma.attacks.journal import AttackJournal
from trilemma.attacks.lockstep import Service
from trilemma.attacks.resources import load
from trilemma.attacks.settings import AttackSettings
from trilemma.attacks.words import few_changed, share_changed, words_changed
from trilemma.errors import AttackError
from trilemma.tasks.task import Level, Task, Text


@dataclass(frozen=True)
class AttackedItems:
    """The results of an attack on labelled items; all columns have one entry per item.

    Attributes:
        level: what was changed.
        originals: the clean inputs.
        shown: the adversarial inputs; the original where the attack failed or the model was wrong already.
        labels: class indices.
        attacked: whether the model was right on the original, so that it was attacked; an item that has the
            target's class already is not attacked.
        queries: distinct texts that the model was asked about for the item.
        by: which attack of an ensemble found it, or "".
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
        """Items whose example is worth keeping, and the number that was dropped, by reason.

        The automatic part of AdvGLUE's curation (Wang et al. 2021, arXiv 2111.02840, section 3.3): examples
        that change more words or differ more in meaning than the settings allow are dropped before people
        look at the rest. Where a similarity is wanted, an example of unknown similarity is dropped.
        """
        kept: list[int] = []
        dropped = Counter({"no success": 0, "the model was wrong already": 0})
        seen: set[Text] = set()
        share, least = settings.words_changed, settings.similarity
        for i, (original, text) in enumerate(zip(self.originals, self.shown, strict=True)):
            near = self.similarity[i]
            if not self.attacked[i]:
                dropped["the model was wrong already"] += 1
            elif not self.success[i]:
                dropped["no success"] += 1
            elif text == original:
                dropped["unchanged"] += 1
            elif text in seen:
                dropped["duplicate"] += 1
            elif share is not None and not all(map(few_changed, original, text, repeat(share))):
                dropped["too many words changed"] += 1
            elif least is not None and (near is None or near < least):
                dropped["too little similar"] += 1
            else:
                kept.append(i)
                seen.add(text)
        return kept, {name: n for name, n in dropped.items() if n}

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


def run_attack(
    attack: Attack,
    victim: Victim,
    texts: Sequence[Text],
    labels: Sequence[int],
    settings: AttackSettings,
    run: AttackRun,
    journal: AttackJournal | None = None,
    classes: int | None = None,
) -> AttackedItems:
    """Attack the items that the victim answers correctly.

    Args:
        attack: what runs.
        victim: the model under attack.
        texts: clean inputs.
        labels: their class indices.
        settings: name the encoder that measures similarity, and the language model for perplexity.
        run: budget, seed and listeners.
        journal: its results are not computed again, and new ones are written to it as they come.
        classes: that the task has; None where the victim is known to have as many.

    Raises:
        AttackError: if the victim does not answer with one distribution per text, of the task's classes.
    """
    answered = checked(victim)
    before = answered(texts)
    if classes is not None and texts and before.shape[1] != classes:
        raise AttackError(
            f"the victim answers with {before.shape[1]} classes, the task has {classes}; attack it on the "
            "task that it was adapted to"
        )
    right = [i for i, p in enumerate(before) if int(p.argmax()) == labels[i] and labels[i] != settings.target]
    results = {} if journal is None else {i: one for i, one in journal.results.items() if i in right}
    left = [i for i in right if i not in results]

    def finished(place: int, result: Attacked) -> None:
        if journal is not None:
            journal.keep(left[place], result)
        run.finished(left[place], result)

    found = attack(
        victim, [texts[i] for i in left], [labels[i] for i in left], replace(run, finished=finished)
    )
    results.update(zip(left, found, strict=True))
    shown = [results[i].text if i in results else text for i, text in enumerate(texts)]
    # By the victim's answer to the text alone, whatever the attack says about it.
    after = answered(shown)
    success = [i in results and int(after[i].argmax()) != labels[i] for i in range(len(texts))]
    similarity, unmeasured = _similarities(settings, texts, shown, success)
    return AttackedItems(
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
    """Cosine of each success and its original; without an encoder also the reason why there is none."""
    if not any(success):
        return [None] * len(texts), ""
    try:
        encoder = load.sentence_encoder(settings.encoder)
    except AttackError as error:
        return [None] * len(texts), str(error)
    return _compared(texts, shown, success, encoder, lambda before, after: float((before * after).sum())), ""


def _perplexity_ratios(
    settings: AttackSettings, texts: Sequence[Text], shown: Sequence[Text], success: Sequence[bool]
) -> list[float | None]:
    """How much less likely each success is than its original, where a language model is named."""
    if settings.language_model is None or not any(success):
        return [None] * len(texts)
    perplexity = load.perplexity(settings.language_model)
    return _compared(texts, shown, success, perplexity, lambda before, after: after / before)


def _compared(
    texts: Sequence[Text],
    shown: Sequence[Text],
    success: Sequence[bool],
    measure: Service,
    compare: Callable[[Any, Any], float],
) -> list[float | None]:
    """What is measured of each success, compared with its original; of each the fields that changed."""
    places = [i for i, succeeded in enumerate(success) if succeeded]
    pairs = [[(a, b) for a, b in zip(texts[i], shown[i], strict=True) if a != b] for i in places]
    sides = [" ".join(pair[side] for pair in some) for side in (0, 1) for some in pairs]
    found = list(measure(sides))
    values: list[float | None] = [None] * len(texts)
    for i, before, after in zip(places, found, found[len(places) :], strict=False):
        values[i] = compare(before, after)
    return values
