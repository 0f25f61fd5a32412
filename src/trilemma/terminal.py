"""What may be written on a terminal, and how."""

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def printable(text: str) -> str:
    """Text without control characters but line breaks and tabs: names cannot steer a terminal."""
    return re.sub(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]", "", text)


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
