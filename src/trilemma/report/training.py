"""What the candidates were fine-tuned on, and how."""

import pandas as pd

from trilemma.report.layout import Notes, Sheet
from trilemma.report.values import candidates, of_candidate

_EPOCHS = "epochs "


def training_sheet(records: pd.DataFrame) -> Sheet | None:
    """A row a task: rows and epochs of fine-tuning, and the learning rate of each candidate."""
    everyone = candidates(records)
    counted = records[records["metric"] == "training_rows"]
    rates = records[records["metric"] == "learning_rate"]
    if counted.empty:
        return None
    notes = Notes()
    rows = []
    for task in dict.fromkeys(counted["task"]):
        own = counted[counted["task"] == task]
        parts = list(dict.fromkeys(part for note in own["note"] for part in note.split("; ")))
        epochs = [part.removeprefix(_EPOCHS) for part in parts if part.startswith(_EPOCHS)]
        said = "; ".join(part for part in parts if not part.startswith(_EPOCHS))
        sizes = " / ".join(f"{int(size):,}" for size in dict.fromkeys(own["value"]))
        cells = []
        for candidate in everyone:
            found = of_candidate(rates[rates["task"] == task], candidate)["value"]
            cells.append(" / ".join(f"{rate:g}" for rate in dict.fromkeys(found)) or "–")
        rows.append((str(task), sizes + notes.mark(said), " / ".join(epochs), *cells))
    header = ("task", "rows", "epochs", *(candidate.name for candidate in everyone))
    return Sheet("Fine-tuning: learning rates", header, tuple(rows), notes.lines(), fixed=3)
