"""``trilemma compare``: paired tests of two candidates."""

from pathlib import Path
from typing import Annotated

import typer

import trilemma
from trilemma.cli.options import Json
from trilemma.errors import TrilemmaError
from trilemma.terminal import output

COMPARED = (
    *("accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman", "robust_accuracy", "robust_f1"),
    *("attack_success_rate", "accuracy_drop", "flip_rate", "paired_clean_accuracy"),
)
"""The metrics that are computed from items, which a test holds to ``analysis/item_metrics.py``."""


def compare(
    a: Annotated[str, typer.Argument(help="A candidate.")],
    b: Annotated[str, typer.Argument(help="Another candidate.")],
    run: Annotated[Path | None, typer.Option(help="A run folder; default the newest in runs.")] = None,
    metric: Annotated[str, typer.Option(help=f"One of {', '.join(COMPARED)}.")] = "robust_accuracy",
    json: Json = False,
) -> None:
    """Test two candidates on the same items."""
    comparison = trilemma.Result.load(run or newest()).compare(a, b, metric=metric)
    if json:
        typer.echo(comparison.to_json(orient="records"))
    else:
        from trilemma.report.sheets import comparison_sheet
        from trilemma.report.terminal import show

        show(output(), [comparison_sheet(comparison)])


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
