"""``trilemma show``: the tables of a finished study, or of a saved profile."""

from typing import Annotated

import typer

import trilemma
from trilemma.cli.options import RunFolder
from trilemma.errors import TrilemmaError
from trilemma.terminal import output
from trilemma.units import join


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
    at: Annotated[
        str | None,
        typer.Option(help="Operating point; default batch=1,length=128 or the nearest that was measured."),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="table (the summary, or one table), or all tables as json, csv, markdown or latex."
        ),
    ] = "table",
) -> None:
    """Print the tables of a finished study, or a profile, forecast or sweep that was saved."""
    if run.is_file() or run.suffix == ".parquet":
        from trilemma.sweep_result import ClockSweep, load_file

        given = {"--table": table, "--by": by, "--at": at}
        if unused := [name for name, value in given.items() if value is not None]:
            raise TrilemmaError(f"{join(unused)} is for a study's tables; {run} holds a profile or a sweep")
        if format not in ("table", "json"):
            raise TrilemmaError(f"--format {format} is of a study's tables; a profile is printed, or json")
        found = load_file(run)
        if format == "table":
            found.show(output())
        elif isinstance(found, ClockSweep):
            raise TrilemmaError(f"{run} holds a sweep over clock frequencies, which is not printed as JSON")
        else:
            typer.echo(found.to_json())
        return
    result = trilemma.Result.load(run)
    if format == "table":
        result.show(output(), table=table, by=by, at=at)
    else:
        typer.echo(result.render(format, table=table, by=by, at=at))
