"""AdvGLUE: which sets there are, and how their columns and annotated JSON files are read.

Wang et al., "Adversarial GLUE: A Multi-Task Benchmark for Robustness Evaluation of Language Models"
(NeurIPS 2021 Datasets and Benchmarks, arXiv 2111.02840). The published ``dev_ann.json`` and
``test_ann.json`` give each item's level, method and original; the copy on the Hugging Face Hub does
not, so its levels are ``unknown``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request

from trilemma.errors import DataError, one_line
from trilemma.tasks.columns import adversarial, shown
from trilemma.tasks.raw_table import RawTable, decode, parse_json, require_columns
from trilemma.tasks.task import AdversarialExamples, Level, Task
from trilemma.web import ask, without_secrets

METHODS: Mapping[Level, tuple[str, ...]] = {
    "word": ("TextBugger", "TextFooler", "BERT-ATTACK", "SememePSO", "SemAttack"),
    "sentence": ("SCPN", "T3", "AdvFever", "StressTest", "CheckList"),
    "human": ("CheckList", "StressTest", "ANLI", "AdvSQuAD"),
}
"""The 14 methods, by level. ``SemAttack`` is the data's name of the paper's CompAttack; CheckList and
StressTest occur at two levels."""

BENIGN = "glue"
"""The method of clean GLUE items, which ``test_ann.json`` holds too."""

DOWNLOAD_SECONDS = 60

LARGEST_DOWNLOAD = 256 << 20
"""Bytes; AdvGLUE's own files have about two million."""


@dataclass(frozen=True)
class Subset:
    """One published set: its name here and on the hub, its key in the JSON files, its rows."""

    name: str
    key: str
    dev_rows: int
    test_rows: int


SUBSETS: Mapping[str, tuple[Subset, ...]] = {
    "sst2": (Subset("adv_sst2", "sst2", 148, 1_420),),
    "qqp": (Subset("adv_qqp", "qqp", 78, 422),),
    "mnli": (
        Subset("adv_mnli", "mnli", 121, 766),
        Subset("adv_mnli_mismatched", "mnli-mm", 162, 1_098),
    ),
    "qnli": (Subset("adv_qnli", "qnli", 148, 968),),
    "rte": (Subset("adv_rte", "rte", 81, 304),),
}
"""AdvGLUE's sets by task; other tasks have none."""


def columns(task: Task) -> tuple[list[str], list[str]]:
    """Column names of a set: the required ones, and those that the hub's copy lacks."""
    return [*task.fields, "label"], [
        "idx",
        "data_construction",
        "method",
        *(f"original_{name}" for name in task.fields),
    ]


def from_table(task: Task, split: str, table: RawTable, official_rows: int | None) -> AdversarialExamples:
    """One set from its columns; without level and original columns, levels are ``unknown``.

    Raises:
        DataError: naming file, row and expectation.
    """
    originals = {name: f"original_{name}" for name in task.fields}
    return adversarial(
        task,
        split,
        table,
        identifier="idx",
        level="data_construction",
        method="method",
        originals=originals,
        official_rows=official_rows,
    )


def read_annotated(location: str | Path, task: Task) -> list[AdversarialExamples]:
    """Read AdvGLUE's own annotated JSON (``dev_ann.json``, ``test_ann.json``) for one task.

    Sets of a file called ``test*`` are named ``adv_<task>_test``, so that one study can have both; official
    row counts are known for ``dev*`` and ``test*``. Clean items in the file are left out.

    Args:
        location: path or http(s) URL.
        task: the task; an empty list is returned where AdvGLUE has nothing for it.

    Raises:
        DataError: for an unreachable address or file, or content that is not as expected.
    """
    name = PurePosixPath(urlsplit(str(location)).path).name if _is_url(location) else Path(location).name
    test = name.startswith("test")
    found = []
    for subset in SUBSETS.get(task.name, ()):
        where = without_secrets(f"{location}, {subset.key}", str(location))
        table = _item_columns(*_items(_document(location), subset.key, where), task)
        official = subset.test_rows if test else subset.dev_rows if name.startswith("dev") else None
        found.append(from_table(task, f"{subset.name}_test" if test else subset.name, table, official))
    return found


def _items(document: Any, key: str, where: str) -> tuple[list[dict[str, Any]], str]:
    """The adversarial items, and what an error message calls them."""
    if not isinstance(document, dict) or not isinstance(document.get(key), list):
        raise DataError(f"{where}: no list under {key!r}; expected AdvGLUE's dev_ann.json or test_ann.json")
    for row, item in enumerate(document[key], start=1):
        if not isinstance(item, dict):
            raise DataError(f"{where}, row {row}: a {type(item).__name__}; expected an object")
    kept = [item for item in document[key] if item.get("method") != BENIGN]
    if not kept:
        raise DataError(f"{where}: no adversarial item; expected at least one")
    dropped = len(document[key]) - len(kept)
    return kept, f"{where} (not counting {dropped} clean items)" if dropped else where


def _item_columns(items: Sequence[dict[str, Any]], where: str, task: Task) -> RawTable:
    required = [*task.fields, "label", "data_construction", "method"]
    for row, item in enumerate(items, start=1):
        if absent := [name for name in ("data_construction", "method") if name not in item]:
            raise DataError(
                f"{where}, row {row} lacks the column {absent[0]!r}: this is not one of AdvGLUE's "
                "annotated files (dev_ann.json, test_ann.json); write its items as JSON Lines and name that "
                "by `task` and `file`"
            )
        require_columns(f"{where}, row {row}", list(item), required)
    originals = [f"original_{name}" for name in task.fields]
    # An idx may repeat where clean items are numbered too, so it is used only if unique.
    if all("idx" in item for item in items) and len({shown(item["idx"]) for item in items}) == len(items):
        required.append("idx")
    return RawTable(where, {name: [item.get(name) for item in items] for name in (*required, *originals)})


def _document(location: str | Path) -> Any:
    """The parsed file; the last ones stay in memory, since each task reads its own part."""
    if _is_url(location):
        return _downloaded(str(location))
    path = Path(location)
    try:
        status = path.stat()
        return _parsed(str(path), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); expected AdvGLUE's annotated JSON"
        ) from error


@lru_cache(maxsize=2)
def _parsed(path: str, modified: int, size: int) -> Any:
    return parse_json(decode(Path(path).read_bytes(), path), path)


@lru_cache(maxsize=2)
def _downloaded(url: str) -> Any:
    where = without_secrets(url, url)
    try:
        answer = ask(Request(url), DOWNLOAD_SECONDS, LARGEST_DOWNLOAD, redirects=True)
        reason = f"status {answer.status} {one_line(answer.reason)}" if answer.status != 200 else ""
        if len(answer.body) > LARGEST_DOWNLOAD:
            reason = f"it has more than {LARGEST_DOWNLOAD >> 20} MiB"
    except TimeoutError:
        reason = f"it did not come within {DOWNLOAD_SECONDS} s"
    except (OSError, ValueError, HTTPException) as error:
        reason = one_line(error)
    if reason:
        said = without_secrets(reason, url)
        raise DataError(f"{where} cannot be read ({said}); download it once and give its path")
    return parse_json(decode(answer.body, where), where)


def _is_url(location: str | Path) -> bool:
    return str(location).startswith(("http://", "https://"))
