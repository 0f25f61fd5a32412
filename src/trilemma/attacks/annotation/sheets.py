"""Annotators' sheets: CSV files that any spreadsheet program opens, without cells that it would execute."""

import csv
import io
from collections.abc import Collection, Sequence
from importlib.resources import files
from pathlib import Path

import yaml

from trilemma.errors import AttackError, DataError
from trilemma.files import write_text
from trilemma.tasks.raw_table import decode
from trilemma.tasks.task import Task, Text
from trilemma.terminal import harmless_cell

VERDICT = "verdict"
LARGEST = 256 << 20
"""Largest size of a sheet in bytes."""


def write_sheet(path: Path, task: Task, choices: Sequence[str], rows: Sequence[tuple[str, Text]]) -> None:
    """Write one annotator's sheet, with an empty column for the verdicts.

    Args:
        path: of the sheet.
        task: what is asked.
        choices: verdicts to choose from.
        rows: row numbers and texts, in the order of the sheet.

    Raises:
        StoreError: when the disk is full or the folder cannot be written.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(["row", "task", "question", *task.fields, "choices", VERDICT])
    questions = yaml.safe_load((files("trilemma.attacks.annotation") / "questions.yaml").read_text("utf-8"))
    question = questions.get(task.name, f"Which of the classes of {task.name} is this?")
    for row, text in rows:
        cells = [row, task.name, question, *text, " / ".join(choices)]
        writer.writerow([*map(harmless_cell, cells), ""])
    # With this mark Excel, too, reads the file as UTF-8.
    write_text(path, "\ufeff" + written.getvalue())


def read_sheet(path: Path, rows: Collection[str], choices: Sequence[str]) -> dict[str, str]:
    """Verdicts by row number.

    Args:
        path: the sheet, with commas, semicolons or tabs between its cells.
        rows: row numbers that the sheet must contain, each once.
        choices: verdicts to choose from, in upper or lower case.

    Raises:
        AttackError: naming file, line and what was expected.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise AttackError(
                f"{path} has {size:,} bytes; expected a sheet that `trilemma annotate export` wrote"
            )
        text = decode(path.read_bytes(), str(path))
    except OSError as error:
        raise AttackError(f"{path} cannot be read; put every annotator's sheet beside the key") from error
    except DataError as error:
        raise AttackError(str(error)) from error
    head = text.partition("\n")[0]
    csv.field_size_limit(LARGEST)  # a text may be longer than Python's default for a cell
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    known = {choice.casefold(): choice for choice in choices}
    found: dict[str, str] = {}
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise AttackError(
            f"{path}, line {reader.line_num}: not valid CSV ({error}); restore the texts from the export"
        ) from error
    header = [cell.strip().lower() for cell in lines.pop(0)[1]] if lines else []
    if "row" not in header or VERDICT not in header:
        raise AttackError(
            f"{path} lacks the column `row` or `{VERDICT}` in its first line; restore it from the export"
        )
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path}, line {line}"
        cells += [""] * (len(header) - len(cells))
        row = cells[header.index("row")].strip().lstrip("'")
        given = cells[header.index(VERDICT)].strip().lstrip("'").casefold()
        if row not in rows:
            raise AttackError(f"{where}: row {row[:40]!r} is not one of this sheet's; restore its number")
        if row in found:
            raise AttackError(f"{where}: row {row} is there twice; delete one of them")
        if given not in known:
            wrong = f"the verdict {given[:40]!r} on row {row}" if given else f"row {row} has no verdict"
            raise AttackError(f"{where}: {wrong}; expected one of {', '.join(choices)}")
        found[row] = known[given]
    missing = sorted(set(rows) - set(found), key=int)
    if missing:
        few = ", ".join(missing[:5]) + (" and others" if len(missing) > 5 else "")
        raise AttackError(f"{path} lacks the rows {few}; restore them from the exported sheet")
    return found
