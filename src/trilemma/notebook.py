"""What objects show of themselves in a notebook: paragraphs and plain tables of texts, as escaped HTML."""

from collections.abc import Sequence
from html import escape

from trilemma.terminal import printable


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(printable(text))}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table, with its title above it."""
    caption = f"<caption>{escape(printable(title))}</caption>" if title else ""
    titles = "".join(f"<th>{escape(printable(name))}</th>" for name in header)
    cells = ("".join(f"<td>{escape(printable(cell))}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table>{caption}<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
