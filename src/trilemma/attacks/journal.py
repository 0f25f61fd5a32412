"""Results of an attack, written to a file as they come: a killed or failing run loses none of them."""

import json
from dataclasses import asdict
from pathlib import Path

from trilemma.attacks.attack import Attacked
from trilemma.errors import StoreError


class AttackJournal:
    """A file with one finished item per line; ``results`` are the finished items by index.

    Args:
        path: of the file; what an earlier run wrote there is read.
        items: how many there are; lines of other items are left out.
        key: says what is attacked with what; a journal with another key is started again.
    """

    def __init__(self, path: Path, items: int, key: str = "") -> None:
        self._path = path
        self.results: dict[int, Attacked] = {}
        text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
        head, _, rest = text.partition("\n")
        if head != json.dumps({"key": key}):
            self._write(json.dumps({"key": key}) + "\n", "w")
            return
        if not text.endswith("\n"):  # a run was killed while it wrote this line
            self._write("\n", "a")
        for line in rest.splitlines():
            try:
                row = json.loads(line)
                index, result = row.pop("index"), Attacked(**{**row, "text": tuple(row["text"])})
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # the line that was being written
            if index in range(items):
                self.results[index] = result

    def keep(self, index: int, result: Attacked) -> None:
        """Write one result to the file at once."""
        self._write(json.dumps({"index": index, **asdict(result)}) + "\n", "a")

    def _write(self, text: str, mode: str) -> None:
        try:
            with self._path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise StoreError(
                f"{self._path} cannot be written ({error.strerror}); free the disk or choose another folder"
            ) from error
