"""People's verdicts on adversarial examples: sheets for annotators, their votes, and what keeps its label.

AdvGLUE kept only items whose label people confirm (Wang et al. 2021, arXiv 2111.02840, section 3.3):
annotators who fail a check are left out, and an item is kept if the majority gives it the label of its
original. Here the check is hidden: clean originals, whose label is known, are among the adversarial items and
look like them.
"""

import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trilemma import tasks
from trilemma.attacks.annotation.sheets import read_sheet, write_sheet
from trilemma.errors import AttackError, DataError
from trilemma.files import disk_errors, write_text
from trilemma.records import write_table
from trilemma.statistics.intervals import Interval, hierarchical_bootstrap
from trilemma.statistics.sums import Array
from trilemma.tasks.advglue import columns, from_table
from trilemma.tasks.raw_table import decode, parse_json, read_file
from trilemma.tasks.task import AdversarialExamples, Task

UNCLEAR = "unclear"
"""The verdict on a text that has no class: it counts as a separate class, and never as the label."""

KEY = "key.json"
"""Name of the file that says which row is which item; not for annotators."""

LEAST_HIDDEN = 5
"""Least number of clean items hidden in a sheet: with fewer, one mistake would leave an annotator out."""

_SHEET = re.compile(r"[\w .-]{1,100}")
"""Names of sheets, which must not be paths."""


@dataclass(frozen=True)
class CuratedSet:
    """The annotators' verdict on a set.

    Attributes:
        kept: indices of the items whose label holds, in order.
        dropped: the others, with the reason: ``another class``, ``unclear`` or ``no majority``.
        kappa: Fleiss' kappa of the annotators who passed; None where it is not defined.
        interval: its 95% interval, with items of one origin resampled together; None where kappa is.
        control: share of the hidden clean items that each annotator got right; None where there were none.
        left_out: annotators below the bound, whose votes do not count.
        one_class: the class that, answered for everything, would pass the check; "" where none would.
    """

    kept: tuple[int, ...]
    dropped: Mapping[int, str]
    kappa: float | None
    interval: Interval | None
    control: Mapping[str, float | None]
    left_out: tuple[str, ...]
    one_class: str = ""

    @property
    def reasons(self) -> dict[str, int]:
        """Number of dropped items by reason."""
        return dict(sorted(Counter(self.dropped.values()).items()))

    def text(self) -> str:
        """The result in a few lines: annotators, agreement, what is kept and what is dropped."""
        lines = []
        for name, right in self.control.items():
            share = (
                "no clean items were hidden" if right is None else f"{right:.0%} of the hidden items right"
            )
            lines.append(f"{name}: {share}{', left out' if name in self.left_out else ''}")
        if self.one_class:
            lines.append(
                f"caution: {self.one_class} for everything would pass the check, since most hidden items are "
                "of that class; export again with more of the others (`--control`), or raise `--min-control`"
            )
        if self.kappa is None or self.interval is None:
            lines.append("Fleiss' kappa: not defined (one annotator, or all votes for one class)")
        else:
            low, high = self.interval
            lines.append(f"Fleiss' kappa: {self.kappa:.3f} (95% interval {low:.3f} to {high:.3f})")
        lines.append(f"kept: {len(self.kept)}")
        lines += [f"dropped, {reason}: {count}" for reason, count in self.reasons.items()]
        return "\n".join(lines)


def export_sheets(
    examples: AdversarialExamples | Path,
    task: Task | str,
    folder: Path,
    *,
    annotators: int = 3,
    control: float = 0.1,
    seed: int = 0,
) -> list[Path]:
    """Write a sheet for every annotator, each in another order, and the key; returns the sheets.

    Args:
        examples: the set, or a file of it in AdvGLUE's columns (``.parquet``, ``.csv`` or ``.jsonl``).
        task: its task, or the task's name.
        folder: of the sheets and the key; made where it does not exist.
        annotators: number of sheets; the majority of an odd number decides more often.
        control: clean items hidden in each sheet, as a share of the set, but at least
            :data:`LEAST_HIDDEN` where the set has as many originals; 0 for none.
        seed: of the orders and of which clean items are taken.

    Raises:
        AttackError: if the task has no classes, the set no item with a label, or the folder has a key
            already.
        DataError: if the file cannot be read.
    """
    examples, task = _opened(examples, task)
    if task.labels is None:
        raise AttackError(f"{task.name} is a regression; annotators choose among classes")
    if annotators < 1 or not 0 <= control <= 1:
        raise AttackError("expected at least one annotator, and a share of control items from 0 to 1")
    if (folder / KEY).exists():
        raise AttackError(
            f"{folder} contains sheets already, whose verdicts would be lost; choose another folder"
        )
    rng = random.Random(f"{seed} {examples.fingerprint}")
    rows = _rows(examples, control, rng)
    sheets = {f"annotator-{number}": list(rows) for number in range(1, annotators + 1)}
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, order in sheets.items():
        rng.shuffle(order)
        texts = {row: (examples.originals if rows[row]["control"] else examples.texts) for row in order}
        shown = [(row, texts[row][rows[row]["index"]] or ()) for row in order]
        paths.append(folder / f"{name}.csv")
        write_sheet(paths[-1], task, (*task.labels, UNCLEAR), shown)
    key = {
        "task": task.name,
        "set": examples.fingerprint,
        "classes": list(task.labels),
        "annotators": list(sheets),
        "rows": rows,
    }
    write_text(folder / KEY, json.dumps(key, indent=1))
    return paths


def _rows(examples: AdversarialExamples, control: float, rng: random.Random) -> dict[str, dict[str, Any]]:
    """Rows by a meaningless number: which item, and whether it is shown clean."""
    labelled = [index for index, label in enumerate(examples.labels) if label is not None]
    if not labelled:
        raise AttackError(f"{examples.split} has no item with a label that could be confirmed")
    first: dict[Any, int] = {}
    for index in labelled:
        original = examples.originals[index] if examples.originals else None
        # An item that is shown as its original cannot be a check: it would be the item itself.
        if original is not None and original not in examples.texts:
            first.setdefault(original, index)
    wanted = max(LEAST_HIDDEN, round(control * len(labelled))) if control else 0
    clean = _balanced([(examples.labels[index], index) for index in first.values()], wanted, rng)
    chosen = [(index, False) for index in labelled] + [(index, True) for index in clean]
    numbers = rng.sample(range(1, len(chosen) + 1), len(chosen))
    rows = {str(number): pair for number, pair in zip(numbers, chosen, strict=True)}
    return {row: {"index": index, "control": is_clean} for row, (index, is_clean) in sorted(rows.items())}


def _balanced(items: Sequence[tuple[float | None, int]], wanted: int, rng: random.Random) -> list[int]:
    """Items drawn in turn from each class: whoever answers one class for everything must fail."""
    by_class: dict[float | None, list[int]] = {}
    for label, index in rng.sample(items, len(items)):
        by_class.setdefault(label, []).append(index)
    turns = itertools.zip_longest(*(by_class[label] for label in sorted(by_class, key=str)))
    return [index for turn in turns for index in turn if index is not None][:wanted]


def import_verdicts(
    examples: AdversarialExamples | Path,
    task: Task | str,
    folder: Path,
    *,
    min_control: float = 0.8,
    out: Path | None = None,
) -> CuratedSet:
    """Read the sheets of a folder back and curate the set.

    Args:
        examples: the set that the sheets were made from, or a file of it in AdvGLUE's columns.
        task: its task, or the task's name.
        folder: with the key and every annotator's sheet.
        min_control: share of the hidden clean items that an annotator must get right to count.
        out: ``.parquet`` file for the items whose label holds; None to write none.

    Raises:
        AttackError: naming file, row and what was expected; or if no annotator passes.
        DataError: if the file of the set cannot be read.
        StoreError: if ``out`` cannot be written.
    """
    examples, task = _opened(examples, task)
    key = _key(folder / KEY, len(examples), task)
    if (key["task"], key["set"]) != (task.name, examples.fingerprint):
        raise AttackError(f"the sheets in {folder} were made from another set; name that one")
    rows: dict[str, dict[str, Any]] = key["rows"]
    choices = (*key["classes"], UNCLEAR)
    votes = {name: read_sheet(folder / f"{name}.csv", rows, choices) for name in key["annotators"]}
    gold = {row: key["classes"][int(examples.labels[place["index"]] or 0)] for row, place in rows.items()}
    hidden = [row for row, place in rows.items() if place["control"]]
    share = {
        name: sum(given[row] == gold[row] for row in hidden) / len(hidden) if hidden else None
        for name, given in votes.items()
    }
    passed = [name for name, right in share.items() if right is None or right >= min_control]
    if not passed:
        raise AttackError(
            f"no annotator got {min_control:.0%} of the hidden clean items right; "
            "have the sheets judged again, or lower the bound (`--min-control`)"
        )
    shown = [row for row, place in rows.items() if not place["control"]]
    dropped = {}
    for row in shown:
        reason = _reason([votes[name][row] for name in passed], gold[row])
        if reason is not None:
            dropped[rows[row]["index"]] = reason
    counts = np.array(
        [[sum(votes[name][row] == choice for name in passed) for choice in choices] for row in shown],
        dtype=float,
    )
    origins = np.array([examples.origins[rows[row]["index"]] for row in shown])
    kappa, interval = fleiss_kappa(counts, origins)
    kept = sorted(rows[row]["index"] for row in shown if rows[row]["index"] not in dropped)
    left_out = tuple(name for name in votes if name not in passed)
    if out is not None:
        write_curated(examples, task, kept, out)
    [(common, times)] = Counter(gold[row] for row in hidden).most_common(1) or [("", 0)]
    one_class = common if hidden and times / len(hidden) >= min_control else ""
    return CuratedSet(tuple(kept), dict(sorted(dropped.items())), kappa, interval, share, left_out, one_class)


def _opened(examples: AdversarialExamples | Path, task: Task | str) -> tuple[AdversarialExamples, Task]:
    known = tasks.get(task) if isinstance(task, str) else task
    if isinstance(examples, Path):
        examples = from_table(known, examples.stem, read_file(examples, *columns(known)), None)
    return examples, known


def _reason(verdicts: Sequence[str], gold: str) -> str | None:
    """Why votes do not confirm a label; None if more than half of them do."""
    [(first, votes)] = Counter(verdicts).most_common(1)
    if 2 * votes <= len(verdicts):
        return "no majority"
    if first == gold:
        return None
    return UNCLEAR if first == UNCLEAR else "another class"


def fleiss_kappa(counts: Array, clusters: "np.ndarray[Any, Any]") -> tuple[float | None, Interval | None]:
    """Agreement beyond chance (Fleiss 1971, Psychological Bulletin 76(5), eq. 1 to 7), with a 95% interval.

    With n votes per item, n_ij of them for class j of item i: P_i = (sum_j n_ij^2 - n) / (n (n - 1)), P its
    mean; p_j the share of all votes for class j, P_e = sum_j p_j^2; kappa = (P - P_e) / (1 - P_e).

    Args:
        counts: n_ij, [items, classes], rows of equal sum.
        clusters: [items]; those of one origin are resampled together.

    Returns:
        Kappa and its bootstrap interval; None for both with fewer than two votes per item, and where all
        votes name one class, on which chance alone would agree.
    """
    n = int(counts[0].sum()) if len(counts) else 0
    if n < 2 or (counts.sum(0) > 0).sum() < 2:
        return None, None
    agreement = ((counts**2).sum(1) - n) / (n * (n - 1))
    contributions = np.column_stack([agreement, counts, np.ones(len(counts))])

    def kappa(sums: Array) -> Array:
        items = sums[..., -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            chance = ((sums[..., 1:-1] / (n * items[..., None])) ** 2).sum(-1)
            result: Array = (sums[..., 0] / items - chance) / (1 - chance)
        return result

    value = float(kappa(contributions.sum(0)))
    return value, hierarchical_bootstrap(contributions[:, None], clusters, kappa, kind="correlation")


def write_curated(examples: AdversarialExamples, task: Task, kept: Sequence[int], path: Path) -> None:
    """Write the items that are kept, in AdvGLUE's columns, as Parquet.

    Raises:
        StoreError: when the disk is full or the folder cannot be written.
    """
    rows = []
    for index in kept:
        shown, original = examples.texts[index], examples.originals[index] or examples.texts[index]
        row: dict[str, Any] = {"idx": examples.ids[index], "label": int(examples.labels[index] or 0)}
        for name, now, then in zip(task.fields, shown, original, strict=True):
            row |= {name: now, f"original_{name}": None if now == then else then}
        rows.append(row | {"data_construction": examples.levels[index], "method": examples.methods[index]})
    texts = [column for name in task.fields for column in (name, f"original_{name}")]
    types = {"idx": pa.string(), "label": pa.int64()} | dict.fromkeys(
        (*texts, "data_construction", "method"), pa.string()
    )
    write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(types.items()))), path)


def _key(path: Path, items: int, task: Task) -> dict[str, Any]:
    """The key of a task's set with so many items; it may come from a stranger."""
    try:
        key = parse_json(decode(path.read_bytes(), str(path)), str(path))
        rows, names = key["rows"], [key["task"], key["set"], *key["classes"], *key["annotators"]]
        places = [(row["index"], row["control"]) for row in rows.values()]
    except (OSError, DataError, KeyError, TypeError, AttributeError) as error:
        raise AttackError(f"{path} cannot be read; expected the key that the export wrote") from error
    good = (
        all(isinstance(name, str) for name in names)
        and (key["task"] != task.name or tuple(key["classes"]) == task.labels)
        and all(_SHEET.fullmatch(name) for name in key["annotators"])
        and all(row.isascii() and row.isdecimal() and len(row) <= 9 for row in rows)
        and all(type(index) is int and 0 <= index < items for index, _ in places)
        and all(isinstance(control, bool) for _, control in places)
        and len(set(places)) == len(places)
    )
    if not good:
        raise AttackError(f"{path} is not the key of this set's sheets; restore it or export again")
    return dict(key)
