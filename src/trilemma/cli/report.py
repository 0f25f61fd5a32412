"""``trilemma report``: the HTML report of a finished study, or of a saved profile, forecast or sweep."""

from pathlib import Path
from typing import Annotated

import typer

import trilemma
from trilemma.cli.options import RunFolder


def report(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file; default report.html in the run folder, or beside the saved file."),
    ] = None,
) -> None:
    """Write the HTML report of a finished study, or of a saved profile, forecast or sweep."""
    if run.suffix == ".parquet" or run.is_file():
        from trilemma.sweep_result import load_file

        typer.echo(load_file(run).report(out or run.with_suffix(".html")))
        return
    typer.echo(trilemma.Result.load(run).report(out or run / "report.html"))
