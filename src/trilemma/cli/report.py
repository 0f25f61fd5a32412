"""``trilemma report``: the HTML report of a finished study, or of a saved profile, forecast or sweep."""

from pathlib import Path
from typing import Annotated

import typer

import trilemma
from trilemma.cli.options import RunFolder
from trilemma.errors import TrilemmaError


def report(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file; default report.html in the run folder, or beside the saved file."),
    ] = None,
    title: Annotated[str, typer.Option(help="Title; default the study's name.")] = "",
    at: Annotated[
        str | None,
        typer.Option(help="Operating point; default batch=1,length=128 or the nearest that was measured."),
    ] = None,
) -> None:
    """Write the HTML report of a finished study, or of a saved profile, forecast or sweep."""
    if run.suffix == ".parquet" or run.is_file():
        from trilemma.sweep_result import load_file

        if title or at is not None:
            raise TrilemmaError("--title and --at are for the report of a run")
        typer.echo(load_file(run).report(out or run.with_suffix(".html")))
        return
    typer.echo(trilemma.Result.load(run).report(out or run / "report.html", title, at))
