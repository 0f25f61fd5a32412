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
    one_page: Annotated[
        Path | None,
        typer.Option(help="Write the report's head as one page instead: .pdf or .png; needs Chromium."),
    ] = None,
    figure: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            help="Write one figure instead: pareto, levels, methods, transfer, length, phases or roofline; "
            "as .svg or .png.",
            metavar="NAME FILE",
        ),
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

        if title or at or one_page or figure:
            raise TrilemmaError("--title, --at, --one-page and --figure are for the report of a run")
        typer.echo(load_file(run).report(out or run.with_suffix(".html")))
        return
    result = trilemma.Result.load(run)
    if one_page is not None:
        typer.echo(result.one_page(one_page, title, at))
    if figure is not None:
        typer.echo(result.figure(*figure, at))
    if one_page is None and figure is None:
        typer.echo(result.report(out or run / "report.html", title, at))
