"""What may be written on a terminal or in a file that other programs open, and how."""

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def printable(text: str) -> str:
    """Text without control characters but line breaks and tabs: names cannot steer a terminal."""
    return re.sub(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]", "", text)


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Characters at which a spreadsheet takes a cell for a formula (OWASP, "CSV Injection")."""

_INVISIBLE = re.compile(r"[\s\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]+")
"""Spaces and other invisible characters."""


def harmless_cell(cell: str) -> str:
    """A cell that every spreadsheet reads as text: an apostrophe before what it would read as a formula."""
    # Some programs split at semicolons, so that the part after one is the beginning of a cell, too.
    for part in cell.split(";"):
        bare = _INVISIBLE.sub("", part)
        if part.startswith(_FORMULA) or bare.startswith((*_FORMULA, "\uff1d", "\uff0b", "\uff0d", "\uff20")):
            return "'" + cell.replace(";", ",")
    return cell


def print_lines(console: "Console", *texts: str, style: str = "") -> None:
    """Print texts as they are: no markup in them, and lines that a terminal breaks and a file does not."""
    for text in texts:
        console.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)


def output() -> "Console":
    """Standard output; a file or pipe has no width at which lines must break."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 1000
    return console
