"""What the candidates were fine-tuned on, and how."""

from collections.abc import Iterator

import pandas as pd

from trilemma.analysis.values import candidates, of_candidate
from trilemma.report.layout import Notes, Sheet


def training_sheet(records: pd.DataFrame) -> Sheet | None:
    """A column a task: rows and epochs of fine-tuning, then the learning rate of each candidate."""
    known = records[records["value"].notna()]
    counted, lasted, rates = (known[known["metric"] == name] for name in _METRICS)
    if counted.empty:
        return None
    notes = Notes()

    def cells(rows: pd.DataFrame) -> Iterator[str]:
        for task in tasks:
            own = rows[rows["task"] == task]
            said = "; ".join(dict.fromkeys(note for note in own["note"] if note))
            shown = " / ".join(dict.fromkeys(f"{value:,g}" for value in own["value"]))
            yield (shown or "–") + notes.mark(said)

    tasks = [str(task) for task in dict.fromkeys(counted["task"])]
    rows = [("rows", *cells(counted)), ("epochs", *cells(lasted))]
    rows += [(one.name, *cells(of_candidate(rates, one))) for one in candidates(records)]
    title = "Fine-tuning: rows, epochs and the learning rate of each candidate"
    return Sheet(title, ("", *tasks), tuple(rows), notes.lines())


_METRICS = ("training_rows", "training_epochs", "learning_rate")
