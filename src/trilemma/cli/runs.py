"""What the commands on a finished study share: the run folder that they read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trilemma.errors import TrilemmaError

if TYPE_CHECKING:
    from trilemma.result import Result

RunFolder = Annotated[
    Path,
    typer.Argument(help="A run folder, e.g. runs/demo, or a .parquet file that --out wrote.", metavar="RUN"),
]

AT = "Operating point; default batch=1,length=128 or the nearest that was measured."


def load(run: Path) -> "Result":
    """The result in a run folder."""
    from trilemma.result import Result

    return Result.load(run)


def newest() -> Path:
    """The run folder in ``runs`` that was finished last.

    Raises:
        TrilemmaError: if there is none.
    """
    finished = sorted(Path("runs").glob("*/records.parquet"), key=lambda path: path.stat().st_mtime)
    if not finished:
        raise TrilemmaError("there is no finished study in runs; name its folder with --run")
    typer.echo(f"run: {finished[-1].parent}", err=True)
    return finished[-1].parent
