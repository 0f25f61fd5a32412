"""Attacks one adapted model and writes the examples as a set that a study can name."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trilemma.attacks.attack import AttackRun, Victim, build, require_misclassification
from trilemma.attacks.journal import AttackJournal
from trilemma.attacks.run import AttackedItems, run_attack
from trilemma.attacks.settings import AttackSettings
from trilemma.errors import AttackError
from trilemma.progress import Progress, silent
from trilemma.records import write_table
from trilemma.tasks import get, open_source
from trilemma.tasks.task import Examples, Task, Text
from trilemma.units import counted


@dataclass(frozen=True)
class AttackResult:
    """What an attack found on one model.

    Attributes:
        task: name of the task whose items were attacked.
        ids: the items' ids in the data.
        examples: their texts before and after, queries and answers, one entry per item.
        kept: indices of the items whose example is kept.
        dropped: the number of other items, by reason.
        path: the file that the kept examples were written to; None for none.
        read: how much of the texts the model reads; "" where that is not known.
    """

    task: str
    ids: Sequence[str]
    examples: AttackedItems
    kept: Sequence[int]
    dropped: Mapping[str, int]
    path: Path | None = None
    read: str = ""

    @property
    def attacked(self) -> int:
        """Items that the model answered correctly, so that they were attacked."""
        return sum(self.examples.attacked)

    @property
    def successes(self) -> int:
        """Attacked items whose example the model answers wrongly."""
        return sum(self.examples.success)

    @property
    def success_rate(self) -> float | None:
        """Successes over attacked items; None where no item was attacked."""
        return self.successes / self.attacked if self.attacked else None

    def text(self) -> str:
        """The result in a few lines."""
        rate = "none" if self.success_rate is None else f"{self.success_rate:.0%}"
        lines = [
            f"{self.attacked} of {len(self.ids)} items were answered correctly and attacked; success rate "
            f"{rate}, {sum(self.examples.queries):,} queries.",
            *(f"  left out, {reason}: {count}" for reason, count in self.dropped.items()),
        ]
        lines += [f"  {self.read}"] if self.read else []
        right = len(self.examples.labels) and self.attacked / len(self.examples.labels)
        classes = len(set(self.examples.labels))
        if classes > 1 and right < 1 / classes:
            lines.append(
                f"  only {right:.0%} were answered correctly, less than by guessing among {classes} classes: "
                "has the model learnt this task, and are its classes in the task's order (id2label)?"
            )
        if self.path is None:
            lines.append(f"{counted(len(self.kept), 'example')} kept")
        elif not self.kept:
            lines.append(f"no example is left to keep; {self.path} is empty")
        else:
            lines.append(f"{counted(len(self.kept), 'example')} in {self.path}; in a study:")
            block = f"name: made-{self.path.stem}, task: {self.task}, file: {self.path.name}"
            lines.append(f"  robustness: {{sets: [{{{block}}}]}}")
        return "\n".join(lines)


def attack(
    model: str | Path | Victim,
    task: str | Task,
    recipe: str,
    out: str | Path | None = None,
    *,
    data: str = "embedded",
    split: str | None = None,
    items: int = 100,
    budget: int = 200,
    seed: int = 0,
    max_length: int | None = None,
    settings: AttackSettings | Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> AttackResult:
    """Attack an adapted model, and write the examples that fool it as an adversarial set.

    Only items that the model answers correctly are attacked. With ``out`` each finished item is written to a
    journal beside it at once: after a kill, or when the model failed, the same call resumes with the items
    that are left. (A victim that is a callable has no name, so its results are not resumed.)

    Args:
        model: an adapted model's folder, the address (``http://`` or ``https://``) of one that answers there,
            or any callable from texts to class probabilities.
        task: the task that it was adapted to: its name, e.g. ``sst2``, or the task itself, for one of your
            files :func:`trilemma.study.asked.find_task`.
        recipe: the attack's name, e.g. ``deepwordbug``.
        out: ``.parquet`` file to write, in AdvGLUE's columns; None to write nothing.
        data: ``embedded``, ``hub`` or ``folder:PATH``, for a task that has no data of its own.
        split: split to attack; default the task's first evaluation split.
        items: number of items of the split, drawn by the seed; all where there are fewer.
        budget: queries allowed per item.
        seed: of the draw and of the attack; the same seed gives the same examples.
        max_length: tokens of a text that a model in a folder reads; by default what its checkpoint says.
        settings: thresholds and resources of the recipe, by name or as :class:`AttackSettings`.
        progress: called with the number of finished items.

    Returns:
        Every attacked item, which examples are kept, and why others are not.

    Raises:
        AttackError: if a resource is missing, a setting or the file name is wrong, the model does not fit the
            task, or the victim does not answer with probabilities.
        DataError: if the data cannot be read.
        ModelError: if the folder does not contain a classifier.
        StoreError: if the file or the journal cannot be written.

    Example:
        >>> import trilemma as tl
        >>> result = tl.attack("runs/demo/model", "sst2", "pwws", settings={"wordnet": "embedded"})
        >>> result.success_rate
        0.62
    """
    path = None if out is None else Path(out)
    if path is not None and (path.suffix != ".parquet" or not path.parent.is_dir()):
        raise AttackError(f"{path} is not a .parquet file in a folder that exists; name another file")
    if items < 1:
        raise AttackError(f"{items} items cannot be attacked; attack at least 1")
    known = get(task) if isinstance(task, str) else task
    chosen = settings if isinstance(settings, AttackSettings) else AttackSettings.checked(settings or {})
    require_misclassification(recipe)
    built = build(recipe, chosen, known)
    clean = (known.data or open_source(data)).load(known, split or known.evaluation_splits[0])
    picked = _picked(clean, known, items, seed)
    victim = find_victim(model, known, max_length)
    if path is not None and path.is_file():
        with suppress(OSError, pa.ArrowException):
            others = {*pq.read_table(path, columns=["method"])["method"].to_pylist()} - {recipe}
            if others:
                raise AttackError(
                    f"{path} holds examples of {', '.join(map(str, others))}; name another file"
                )
    texts = [clean.texts[i] for i in picked]
    journal = None
    if path is not None and isinstance(model, str | Path):
        what = (known.name, clean.fingerprint, picked)
        how = (recipe, budget, seed, max_length, chosen.model_dump(mode="json"))
        # A hash, since an address may hold a secret.
        key = hashlib.sha256(json.dumps((str(model), *what, *how)).encode()).hexdigest()
        journal = AttackJournal(path.with_suffix(".journal"), len(picked), key)
    attacked = run_attack(
        built,
        victim,
        texts,
        [int(clean.labels[i] or 0) for i in picked],
        chosen,
        AttackRun(budget, seed, progress),
        journal,
        known.outputs,
    )
    kept, dropped = attacked.kept(chosen)
    ids = [clean.ids[i] for i in picked]
    if path is not None:
        columns = attacked.as_advglue(known, recipe, kept) | {"idx": [ids[i] for i in kept]}
        write_table(pa.Table.from_pydict(columns), path)
        path.with_suffix(".journal").unlink(missing_ok=True)
    return AttackResult(known.name, ids, attacked, kept, dropped, path, _read(victim, texts))


def _read(victim: Victim, texts: Sequence[Text]) -> str:
    """How much of the texts a local model reads; "" of others, which do not say."""
    from trilemma.inference.classifier import Classifier

    if not isinstance(victim, Classifier):
        return ""
    cut = victim.truncated(texts)
    unread = "; what an attack appends to them is not read" * bool(cut)
    return f"the model reads {victim.max_length} tokens of a text, which cuts {cut:.0%} of the items{unread}"


def find_victim(model: str | Path | Victim, task: Task, max_length: int | None = None) -> Victim:
    """The model in a folder or behind an address, or the callable itself.

    A model that names its classes answers in the task's order of them.

    Args:
        model: as in :func:`attack`.
        task: what it is asked.
        max_length: as in :func:`attack`.

    Raises:
        AttackError: if there is no such folder or address, or a length is given for what is no folder.
        ModelError: if the folder does not contain a classifier, or one whose classes are not the task's.
    """
    if max_length is not None and (
        not isinstance(model, str | Path) or str(model).startswith(("http://", "https://"))
    ):
        raise AttackError("max_length is for a model in a folder; whoever serves another one sets its length")
    if not isinstance(model, str | Path):
        return model
    if "://" in str(model):
        from trilemma.attacks.victims.http import HttpVictim

        return HttpVictim(str(model), classes=task.outputs)
    from trilemma.inference.classifier import Classifier

    if not Path(model).is_dir():
        raise AttackError(
            f"{model} is not a folder; name an adapted model's (those of a finished run are in its "
            "checkpoints.json)"
        )
    return Classifier.load(model, max_length=max_length, labels=task.labels)


def _picked(examples: Examples, task: Task, items: int, seed: int) -> list[int]:
    """Indices of items with a class, drawn by the seed, in order."""
    usable = [i for i, label in enumerate(examples.labels) if label is not None and task.labels is not None]
    if not usable:
        raise AttackError(
            f"{task.name} has no labelled classes in that split, so there is nothing to attack; name another "
            "split or task"
        )
    return sorted(random.Random(seed).sample(usable, min(items, len(usable))))
