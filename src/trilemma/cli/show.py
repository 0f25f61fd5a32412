"""``trilemma show``: the tables of a finished study, or of a saved profile."""

from typing import Annotated

import typer

from trilemma.cli import profile
from trilemma.cli.runs import AT, RunFolder, load
from trilemma.terminal import output


def show(
    run: RunFolder,
    table: Annotated[
        str | None, typer.Option(help="efficiency, performance or robustness in full; default a summary.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="efficiency by point or length; performance by task; robustness by level, method or task."
        ),
    ] = None,
    at: Annotated[str | None, typer.Option(help=AT)] = None,
    format: Annotated[
        str,
        typer.Option(
            help="table (the summary, or one table), or all tables as json, csv, markdown or latex."
        ),
    ] = "table",
) -> None:
    """Print the tables of a finished study, or a profile, forecast or sweep that was saved."""
    if run.is_file() or run.suffix == ".parquet":
        profile.show_file(run, output(), json=format == "json")
        return
    result = load(run)
    if format == "table":
        result.show(output(), table=table, by=by, at=at)
    else:
        typer.echo(result.render(format, table=table, by=by, at=at))
