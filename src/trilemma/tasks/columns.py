"""Checks raw columns against a task and turns them into examples."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, get_args

from trilemma.errors import DataError, one_line
from trilemma.tasks.raw_table import RawTable
from trilemma.tasks.task import AdversarialExamples, Examples, Level, Task, Text

LONGEST_TEXT = 200_000
"""Characters of a text; a longer one is a file read wrongly, e.g. from an open quote to the end."""

HIDDEN = -1
"""The value of an unpublished label in Hugging Face data sets."""

LEVELS: tuple[Level, ...] = get_args(Level)


def examples(
    task: Task, split: str, table: RawTable, label: str = "label", identifier: str | None = "idx"
) -> Examples:
    """Examples of one split.

    Args:
        task: what fields and labels are expected.
        split: split name.
        table: columns as read.
        label: name of the label column.
        identifier: name of the id column; None to number the rows.

    Raises:
        DataError: naming file, row and expectation.
    """
    ids = item_ids(table, identifier)
    texts = item_texts(table, task.fields)
    labels = item_labels(table, label, task, hidden=task.hidden_labels or split.startswith("test"))
    return Examples(
        task=task.name,
        split=split,
        ids=ids,
        texts=texts,
        labels=labels,
        fingerprint=fingerprint(task.name, split, task.labels, ids, texts, labels),
        official_rows=task.official_rows.get(split),
    )


def adversarial(
    task: Task,
    split: str,
    table: RawTable,
    *,
    label: str = "label",
    identifier: str | None,
    level: str | None,
    method: str | None,
    originals: Mapping[str, str],
    origin: str | None = None,
    official_rows: int | None = None,
) -> AdversarialExamples:
    """An adversarial set.

    Args:
        task: what fields and labels are expected.
        split: the set's name.
        table: columns as read; but for texts and labels, one that is named and absent counts as not named.
        label: name of the label column.
        identifier: name of the id column; None to number the rows.
        level: name of the column of levels; None for unknown ones.
        method: name of the column of attacks; None for unknown ones.
        originals: field to the column of its clean text, for fields that may be changed.
        origin: name of the column of cluster ids; None to take items of one original as a cluster.
        official_rows: the published number of rows, where known.

    Raises:
        DataError: naming file, row and expectation.
    """
    ids, texts = item_ids(table, identifier), item_texts(table, task.fields)
    clean = item_originals(table, texts, [originals.get(name) for name in task.fields])
    examples = AdversarialExamples(
        task=task.name,
        split=split,
        ids=ids,
        texts=texts,
        labels=item_labels(table, label, task),
        levels=item_levels(table, level),
        methods=item_names(table, method) or [""] * len(ids),
        originals=clean,
        origins=item_names(table, origin) or item_origins(split, ids, clean),
        fingerprint="",
        official_rows=official_rows,
    )
    return fingerprinted(task, examples)


def fingerprinted(task: Task, examples: AdversarialExamples) -> AdversarialExamples:
    """An adversarial set of checked columns, with the fingerprint of its content."""
    one = examples
    columns = (one.ids, one.texts, one.labels, one.levels, one.methods, one.originals, one.origins)
    return replace(one, fingerprint=fingerprint(task.name, one.split, task.labels, *columns))


def item_ids(table: RawTable, column: str | None) -> list[str]:
    """Ids as text: the column's, or row numbers where it is absent or -1 throughout (unknown)."""
    values = table.columns.get(column) if column else None
    if values is None or all(value in (HIDDEN, str(HIDDEN)) for value in values):
        return [f"row-{row}" for row in range(1, len(table) + 1)]
    first: dict[str, int] = {}
    for row, value in enumerate(values, start=1):
        if not _is_name(value):
            raise _wrong(table.where, row, f"id {shown(value)} in column {column!r}", "text or an integer")
        if (earlier := first.setdefault(str(value), row)) != row:
            raise _wrong(table.where, row, f"id {shown(value)} was used in row {earlier}", "unique ids")
    return list(first)


def item_texts(table: RawTable, fields: Sequence[str]) -> list[Text]:
    """The shown texts; a null, another type, an absurd length and an item without text are refused."""
    for name in fields:
        for row, value in enumerate(table.columns[name], start=1):
            check_text(value, table.where, row, name)
    texts: list[Text] = list(zip(*(table.columns[name] for name in fields), strict=True))
    for row, text in enumerate(texts, start=1):
        if not any(part and not part.isspace() for part in text):
            raise _wrong(table.where, row, f"no text in {' and '.join(fields)}", "some")
    return texts


def check_text(value: object, where: str, row: int, name: str) -> None:
    """Refuse a cell that is not a text of sensible length."""
    if not isinstance(value, str):
        raise _wrong(where, row, f"{shown(value)} in column {name!r}", "text")
    if not _well_formed(value):
        raise _wrong(where, row, f"a lone surrogate in column {name!r}", "text that UTF-8 can hold")
    if "\0" in value:
        raise _wrong(where, row, f"a NUL character in column {name!r}", "text")
    if len(value) > LONGEST_TEXT:
        found = f"{len(value):,} characters in column {name!r} (is a quote left open?)"
        raise _wrong(where, row, found, f"at most {LONGEST_TEXT:,}")


def item_labels(table: RawTable, column: str, task: Task, hidden: bool = False) -> list[float | None]:
    """Class indices or scores, as numbers; None where unpublished.

    A class is given by its name, or by its index unless a class has a number for a name.

    Args:
        table: columns as read.
        column: the label column.
        task: whose classes are expected.
        hidden: whether -1 (and null) means an unpublished label; else both are refused.
    """
    if task.labels is None:  # -1 may be a score: it means "unpublished" only where there is nothing else
        hidden = hidden and all(value in (HIDDEN, str(HIDDEN), None) for value in table.columns[column])
    numeric_names = task.labels is not None and any(re.fullmatch(r"[+-]?\d+", name) for name in task.labels)
    known: dict[object, float | None] = {HIDDEN: None, str(HIDDEN): None, None: None} if hidden else {}
    if task.labels is not None:
        if not numeric_names:
            known |= {index: float(index) for index in range(len(task.labels))}
            known |= {
                f"{index}{end}": float(index) for index in range(len(task.labels)) for end in ("", ".0")
            }
        known |= {name: float(index) for index, name in enumerate(task.labels)}
    labels: list[float | None] = []
    for row, value in enumerate(table.columns[column], start=1):
        key = value
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            found = f"label {shown(value)} in column {column!r} is a {type(value).__name__}"
            raise _wrong(table.where, row, found, _expected(task))
        if numeric_names and isinstance(value, int | float) and value % 1 == 0:
            key = str(int(value))
        if key in known:
            labels.append(known[key])
        elif task.labels is None and (score := _score(value)) is not None:
            labels.append(score)
        else:
            raise _wrong(
                table.where, row, f"unknown label {shown(value)} in column {column!r}", _expected(task)
            )
    return labels


def item_levels(table: RawTable, column: str | None) -> list[Level]:
    """Attack levels; ``unknown`` where there is no such column."""
    values = table.columns.get(column or "", ["unknown"] * len(table))
    for row, value in enumerate(values, start=1):
        if value not in LEVELS:
            raise _wrong(table.where, row, f"level {shown(value)} in column {column!r}", ", ".join(LEVELS))
    return cast(list[Level], values)


def item_names(table: RawTable, column: str | None) -> list[str]:
    """Attack methods or cluster ids: texts or integers; none where there is no such column."""
    values = table.columns.get(column or "", [])
    for row, value in enumerate(values, start=1):
        if not _is_name(value):
            raise _wrong(table.where, row, f"{shown(value)} in column {column!r}", "a name")
    return [str(value) for value in values]


def item_originals(
    table: RawTable, texts: Sequence[Text], columns: Sequence[str | None]
) -> list[Text | None]:
    """The clean texts: per field the original where one is given, else the field as shown.

    Args:
        table: columns as read.
        texts: the shown texts.
        columns: by field, the column that holds its original; None, or one that is absent, where the field
            is never changed.

    Returns:
        One per item; None where no field has an original.
    """
    found = [(name or "", table.columns.get(name or "", [None] * len(table))) for name in columns]
    for name, values in found:
        for row, value in enumerate(values, start=1):
            if value is not None:
                check_text(value, table.where, row, name)
    originals: list[Text | None] = []
    for row, text in enumerate(texts):
        given = [values[row] for _, values in found]
        changed = any(value is not None for value in given)
        clean = tuple(part if value is None else value for part, value in zip(text, given, strict=True))
        originals.append(clean if changed else None)
    return originals


def origin(original: Text) -> str:
    """Cluster id of a clean source: a hash of its letters and digits.

    AdvGLUE prints the same benign sentence raw in one item and tokenised in another ("Berlin's",
    "Berlin ' s"); spacing, case and punctuation are therefore left out.
    """
    bare = [content(part) for part in original]
    return "source-" + hashlib.sha256(json.dumps(bare).encode()).hexdigest()[:16]


def content(text: str) -> str:
    """The letters and digits of a text, case folded: what makes two texts the same."""
    return re.sub(r"[\W_]+", "", text).casefold()


def item_origins(split: str, ids: Sequence[str], originals: Sequence[Text | None]) -> list[str]:
    """Cluster ids: one per clean source; an item without original is a cluster by itself."""
    return [
        f"{split}-{id}" if clean is None else origin(clean) for id, clean in zip(ids, originals, strict=True)
    ]


def fingerprint(*columns: object) -> str:
    """SHA-256 of the content, the same on every platform and for every file format."""
    digest = hashlib.sha256()
    for place, column in enumerate(columns):
        digest.update(b", " if place else b"[")
        for part in _json_parts(column):
            digest.update(part.encode())
    digest.update(b"]" if columns else b"[]")
    return digest.hexdigest()


def _json_parts(column: object, rows: int = 10_000) -> Iterator[str]:
    """A column as JSON, never all of it in one text."""
    if not isinstance(column, list | tuple):
        yield json.dumps(column, allow_nan=False)
        return
    for start in range(0, len(column) or 1, rows):
        part = json.dumps(column[start : start + rows], allow_nan=False)
        end = start + rows >= len(column)
        yield (", " if start else "[") + part[1:-1] + ("]" if end else "")


def shown(value: object) -> str:
    """A cell as an error message shows it: quoted, one line, short."""
    return one_line(repr(value), limit=60)


def _wrong(where: str, row: int, found: str, expected: str) -> DataError:
    return DataError(f"{where}, row {row}: {found}; expected {expected}")


def _is_name(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    return str(value) != "" and _well_formed(str(value))


def _well_formed(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _expected(task: Task) -> str:
    if task.labels is None:
        return "a finite number"
    return "one of " + ", ".join(f"{index} ({name})" for index, name in enumerate(task.labels))


def _score(value: Any) -> float | None:
    if isinstance(value, str) and "_" in value:  # Python's way to write 1,000, and nobody else's
        return None
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None
