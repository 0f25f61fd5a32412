"""What the candidates were fine-tuned on, and how."""

from collections.abc import Iterable

import pandas as pd

from trilemma.report.layout import Notes, Sheet
from trilemma.report.values import candidates, of_candidate

_EPOCHS = "epochs "


def training_sheet(records: pd.DataFrame) -> Sheet | None:
    """A column a task: rows and epochs of fine-tuning, then the learning rate of each candidate."""
    counted = records[records["metric"] == "training_rows"]
    rates = records[records["metric"] == "learning_rate"]
    if counted.empty:
        return None
    notes = Notes()
    tasks = [str(task) for task in dict.fromkeys(counted["task"])]
    sizes, epochs = [], []
    for task in tasks:
        own = counted[counted["task"] == task]
        parts = list(dict.fromkeys(part for note in own["note"] for part in note.split("; ")))
        said = "; ".join(part for part in parts if not part.startswith(_EPOCHS))
        sizes.append(_each(f"{int(size):,}" for size in own["value"]) + notes.mark(said))
        epochs.append(_each(part.removeprefix(_EPOCHS) for part in parts if part.startswith(_EPOCHS)))
    rows = [("rows", *sizes), ("epochs", *epochs)]
    for candidate in candidates(records):
        own = of_candidate(rates, candidate)
        found = (_each(f"{rate:g}" for rate in own.loc[own["task"] == task, "value"]) for task in tasks)
        rows.append((candidate.name, *found))
    title = "Fine-tuning: rows, epochs and the learning rate of each candidate"
    return Sheet(title, ("", *tasks), tuple(rows), notes.lines())


def _each(shown: Iterable[str]) -> str:
    """The different ones; more than one where candidates, adaptations or seeds differ."""
    return " / ".join(dict.fromkeys(shown)) or "–"
