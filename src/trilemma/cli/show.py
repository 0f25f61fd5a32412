"""``trilemma show``: the tables of a finished study, or of a saved profile."""

from pathlib import Path
from typing import Annotated

import typer

import trilemma
from trilemma.cli.options import RunFolder, refuse_options
from trilemma.errors import TrilemmaError
from trilemma.terminal import output, print_lines


def show(
    context: typer.Context,
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
            help="table (the summary, or one table), all tables as json, markdown or latex, or csv (one "
            "table, or with --out a file of each)."
        ),
    ] = "table",
    out: Annotated[
        Path | None, typer.Option(help="With --format csv: the folder for a file of each table.")
    ] = None,
) -> None:
    """Print the tables of a finished study, or a profile, forecast or sweep that was saved."""
    if run.is_file() or run.suffix == ".parquet":
        from trilemma.sweep_result import ClockSweep, load_file

        found = load_file(run)
        what = "a sweep over clock frequencies" if isinstance(found, ClockSweep) else "a profile"
        known = "as a table" if isinstance(found, ClockSweep) else "as a table or json"
        refuse_options(context, f"{run} holds {what}, whole and without groups", but=("run", "format"))
        if format == "table":
            found.show(output())
        elif format == "json" and not isinstance(found, ClockSweep):
            typer.echo(found.to_json())
        else:
            raise TrilemmaError(f"{run} holds {what}, which is printed {known}, not as --format {format}")
        return
    result = trilemma.Result.load(run)
    if out is not None:
        if format != "csv":
            raise TrilemmaError("--out is for --format csv; without it redirect the output to a file")
        print_lines(output(), *map(str, result.write_csv(out, table, by, at)))
    elif format == "table":
        result.show(output(), table=table, by=by, at=at)
    else:
        typer.echo(result.render(format, table=table, by=by, at=at))
